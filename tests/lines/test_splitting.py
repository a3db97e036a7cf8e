"""Blocks to lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.lines.splitting import LineSplitter, RefusedLine, as_line


def split(blocks, max_bytes=1000, **options):
    splitter = LineSplitter(max_bytes, **options)
    lines = [line for block in blocks for line in splitter.feed(block)] + splitter.end()
    assert splitter.lines == len(lines)
    return lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\n\nb\n", [b"a", b"", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\rb\r\r\n", [b"a\rb\r"]),
        (b"a\r", [b"a"]),
        ("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n".encode(), ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg".encode()]),
        (b"a\0b\n", [b"a\0b"]),
    ],
)
def test_only_line_feeds_end_lines_and_a_return_before_them_is_removed(text, lines):
    assert split([text]) == lines
    assert split([text[place : place + 1] for place in range(len(text))]) == lines


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(1, 12))
def test_the_lines_do_not_depend_on_the_blocks(parts, size):
    text = b"\n".join(parts)
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    assert split(blocks, 5) == split([text], 5)
    assert len(split([text])) == text.count(b"\n") + (not text.endswith(b"\n") and bool(text))


@given(st.lists(st.text(max_size=5), max_size=9))
def test_valid_text_is_passed_on_unchanged(lines):
    kept = [line.replace("\n", "").rstrip("\r") for line in lines]
    assert split(["".join(f"{line}\n" for line in kept).encode()]) == [line.encode() for line in kept]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_over_the_limit_is_refused_and_those_around_it_are_not(size):
    text = b"12345\n123456\n" + b"x" * 50 + b"\n12345"
    lines = split([text[start : start + size] for start in range(0, len(text), size)], 5)
    assert [lines[0], lines[3]] == [b"12345", b"12345"]
    assert [line.reason for line in lines[1:3]] == [
        f"the line has {length} bytes, more than --max_line_bytes=5" for length in (6, 50)
    ]


def test_bytes_that_are_not_text_are_replaced_and_counted():
    splitter = LineSplitter(100)
    assert splitter.feed(b"good\nb\xffd\n\xc3") == [b"good", "b\ufffdd".encode()]
    assert splitter.feed(b"\xa4\n\xc3\n") == ["\u00e4".encode(), "\ufffd".encode()]
    assert (splitter.repaired, splitter.first) == (2, 2)


def test_bytes_that_are_not_text_are_sent_on_request():
    assert split([b"b\xffd\n"], strict=False) == [b"b\xffd"]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([b"a"], b"a"),
        ([b"a", b"b"], b"a\tb"),
        ([b"a\nb\r\nc\rd"], b"a b c d"),
        ([b""], b""),
        (["a\u2028b".encode()], "a\u2028b".encode()),
    ],
)
def test_a_result_is_one_line(values, line):
    assert as_line(values) == line


def test_a_refusal_says_why():
    assert RefusedLine("too long").reason == "too long"
