"""No text of the project recommends a flag of tritonserver that is refused here or has no effect."""

import ast
import re
from pathlib import Path

import slipway
from slipway.config.unserved import KINDS

SOURCE = Path(slipway.__file__).parent


def test_no_text_names_a_flag_that_is_refused_or_without_effect():
    named = [
        f"{path.relative_to(SOURCE)}:{node.lineno}: --{flag}"
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for flag in re.findall(r"--([a-z][a-z0-9-]*)", node.value)
        if flag in KINDS
    ]
    assert named == []
