"""The architecture, held against the code: imports point down and form no circles, and names mean one thing.

Every import counts, also one inside a function or for type checkers only: put off, a circle is still a circle.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
ROOT = PROJECT / "slipway"

# Row of each folder or module; a row may import the rows below it and itself. Siblings that share a row may not see
# each other.
ROWS = {
    "datatypes": 0,
    "cores": 0,
    "durations": 0,
    "nearest": 0,
    "machine": 0.5,
    "affinity": 0.5,
    "problems": 0,
    "errors": 0.3,
    "foreign_json": 0.4,
    "installation": 0.7,
    "openvino_library": 0.5,
    "core": 1,
    "config": 1.5,
    "regions": 1.5,
    "repository": 2,
    "wire": 2,
    "response_cache": 2,
    "tracing": 1.8,
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
    "stopping": 0.9,
    "supervisor": 0.9,
    "certificates": 0.9,
    "api_keys": 0.9,
    "documents": 0.8,
    "client": 7,
    "server": 8.5,
    "proxy": 8,
    "chat": 0.8,
    "convert": 8,
    "train": 8,
    "lines": 8,
    "verify": 8,
    "attack": 8,
    "program": 9,
    "cli": 9,
}
WITHOUT_ROW = {"__init__", "__main__"}

# Names that two public classes may share, and why.
SHARED_NAMES = {
    "TritonPythonModel": "every model.py has one: Triton's entrance to a Python model",
}


def module_name(path: Path) -> str:
    """Return the dotted name of a module's file."""
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
# What `python -m` runs is an entrance to the command line, above all rows.
MODULES = sorted(module for module in FILES.keys() - {"slipway"} if not module.endswith(".__main__"))


@cache
def tree(module: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imported(module: str) -> set[str]:
    """Return the modules of the project that a module imports, anywhere in its text."""
    names: set[str] = set()
    package = module if FILES[module].stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            members = (f"{source}.{alias.name}" for alias in node.names)
            names.update(member if member in FILES else source for member in members)
    return (names & FILES.keys()) - {module}


def row_name(module: str) -> str:
    """Return the folder or first-level module that has the row."""
    return module.split(".")[1] if "." in module else "__init__"


def circles(graph: Mapping[str, set[str]]) -> Iterator[frozenset[str]]:
    """Yield the largest sets of modules that all reach one another (Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[frozenset[str]]:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for following in graph[node]:
            if following not in number:
                yield from visit(following)
                lowest[node] = min(lowest[node], lowest[following])
            elif following in stack:
                lowest[node] = min(lowest[node], number[following])
        if lowest[node] == number[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                yield frozenset(members)

    for node in graph:
        if node not in number:
            yield from visit(node)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    own = row_name(module)
    names = {row_name(each) for each in imported(module)} - {own} - WITHOUT_ROW
    upward = {name for name in names if ROWS[name] >= ROWS[own]}
    assert not upward, f"{own} (row {ROWS[own]}) imports {sorted(upward)}"


def test_imports_form_no_circles():
    found = list(circles({module: imported(module) for module in FILES}))
    assert not found, [sorted(circle) for circle in found]


def test_a_circle_is_found_wherever_it_closes():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a", "e"}}
    assert set(circles(graph)) == {frozenset("abc"), frozenset("de")}


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_readable_in_one_sitting(module):
    lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{module} has {lines} lines"


def test_the_rows_are_those_of_the_folders_and_modules_that_are_there():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert folders | modules == ROWS.keys() | WITHOUT_ROW


def test_the_documents_table_has_the_same_rows():
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) \| (`[^|]+`) \|", text, re.MULTILINE)
    named = {name: float(row) for row, names in rows for name in re.findall(r"`(\w+)(?:/|\.py)`", names)}
    assert named == ROWS


def test_no_two_public_classes_share_a_name():
    places = defaultdict(list)
    for module in FILES:
        for node in tree(module).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    shared = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert shared.keys() >= SHARED_NAMES.keys(), "a name that nothing shares any more needs no reason"
    unexplained = {name: shared[name] for name in shared.keys() - SHARED_NAMES.keys()}
    assert not unexplained, unexplained
