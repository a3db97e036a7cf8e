"""Each message in docs/troubleshooting.md is one that the code can give, word for word."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import DOCS, ROOT

ROW = re.compile(r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \|$", re.MULTILINE)
HOLE = "\0"
LEAST = 15  # characters of a template besides its holes
MESSAGES = ROW.findall((DOCS / "troubleshooting.md").read_text(encoding="utf-8"))


def template(node: ast.AST) -> str:
    """Return the text of a string or f-string, with a hole for each value that is put into it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(each.value if isinstance(each, ast.Constant) else HOLE for each in node.values)
    return re.sub(r"%[sdg]", HOLE, node.value)


@pytest.fixture(scope="module")
def templates():
    nodes = (node for path in ROOT.glob("slipway/**/*.py") for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    strings = (
        node
        for node in nodes
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    )
    return {template(node) for node in strings}


def is_part(message: str, text: str) -> bool:
    """Return whether a message, in which `...` stands for anything, is in a template or is the whole of one."""
    parts = message.split("...")
    if max(parts, key=len) in text and re.search(".*?".join(map(re.escape, parts)), text):
        return True
    first, *others = literal = text.split(HOLE)
    if not message.startswith(first) or not others or len("".join(literal)) < LEAST:
        return False
    return re.fullmatch(".*".join(map(re.escape, literal)), message) is not None


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_in_the_code(message, templates):
    assert any(is_part(message, text) for text in templates)


def test_messages_are_found_and_a_wrong_one_would_not_be(templates):
    assert len(MESSAGES) > 30
    assert not any(is_part("Request for unknown model: '...' was not found", text) for text in templates)
