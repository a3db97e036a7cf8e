"""Problems as values: a closed set of rules, named once, and errors that carry what they say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from slipway.errors import Code, refused
from slipway.problems import Problem, Rule

ROOT = Path(__file__).parent.parent / "slipway"
OUTSIDE = [path for path in ROOT.rglob("*.py") if path != ROOT / "problems.py"]


def made(tree):
    """Return the names of the rules that a module makes problems or findings of, without those it only compares."""
    names = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        asks = isinstance(node, ast.Compare) or (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "frozenset"
        )
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Rule":
            names.add(node.attr)
        if not asks:
            waiting.extend(ast.iter_child_nodes(node))
    return names


def test_every_rule_is_made_somewhere():
    modules = [path for path in OUTSIDE if "verify" not in path.parts]  # which only compares rules
    names = {name for path in modules for name in made(ast.parse(path.read_text()))}
    assert names == {rule.name for rule in Rule}


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_spells_a_rule_out(path):
    constants = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    assert not {rule.value for rule in Rule} & {value for value in constants if isinstance(value, str)}


def test_a_rule_is_its_id_and_has_a_sentence():
    assert all(rule == rule.value == str(rule) == rule.name.lower().replace("_", "-") for rule in Rule)
    assert all(rule.sentence for rule in Rule)


def test_an_error_says_and_carries_its_problems():
    problems = (Problem(Rule.DIMS_INVALID, "one", ("input",), "fix it"), Problem(Rule.FIELD_MISSING, "two"))
    error = refused(*problems)
    assert (error.code, error.message, error.problems) == (Code.INVALID_ARG, "one; two", problems)
    assert error.without_frames().problems == problems
    assert str(refused(*problems, separator="\n")) == "one\ntwo"
