"""The structure of the converter: a common floor, and wings that do not import each other, except that the readers of
images are built on two others: the generators of text, and what processes images."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import slipway.convert

ROOT = Path(slipway.convert.__file__).parent
WINGS = ("encoders", "generation", "module", "page_elements", "reading", "tensor2tensor", "vision")
BUILT_ON = {"reading": {"generation", "vision"}}
CHOOSES_THE_WING = "conversion.py"
CHOSEN = {*WINGS} - {"module"}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent.name != "models")


def wings_seen(path: Path) -> set[str]:
    modules = [node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {wing for wing in WINGS for module in modules if module.startswith(f"slipway.convert.{wing}")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_wing_imports_itself_and_the_floor_and_the_floor_imports_no_wing(path):
    own = path.parent.name
    allowed = CHOSEN if path.name == CHOOSES_THE_WING else {own} | BUILT_ON.get(own, set())
    assert wings_seen(path) <= allowed
