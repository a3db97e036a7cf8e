"""Imports point down: the table of docs/architecture.md, held against the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "slipway"

# Row of each folder or module; a row may import the rows below it and itself. Siblings that share a row may not see
# each other.
ROWS = {
    "datatypes": 0,
    "cores": 0,
    "machine": 0.5,
    "problems": 0,
    "errors": 0.3,
    "core": 1,
    "config": 1.5,
    "repository": 2,
    "wire": 2,
    "transformer": 2.4,
    "checkpoints": 2.5,
    "backends": 3,
    "instances": 4,
    "drafting": 3.5,
    "runtime": 3.5,
    "scheduling": 5,
    "lint": 5,
    "engine": 6,
    "rest": 7,
    "rpc": 7,
    "server": 8,
    "convert": 8,
    "verify": 8,
    "cli": 9,
}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in ROWS)


def imported(path: Path) -> set[str]:
    """Return the first-level names below `slipway` that a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "slipway":
            parts = node.module.split(".")
            names.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("slipway."))
    return {name for name in names if name in ROWS}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    upward = {name for name in imported(path) if name != own and ROWS[name] >= ROWS[own]}
    assert not upward, f"{own} (row {ROWS[own]}) imports {sorted(upward)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{path} has {lines} lines"


def test_every_folder_has_a_row():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders <= ROWS.keys()
