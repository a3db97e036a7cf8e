"""A text ends before its first stop text, wherever its pieces begin and end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.runtime.stop_scanner import StopScanner


def scanned(pieces: list[str], *stops: str) -> tuple[str, bool]:
    scanner = StopScanner(stops)
    found = "".join(scanner.push(piece) for piece in pieces)
    return found + scanner.rest(), scanner.stopped


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two", ("three",), ("one two", False)),
        ("one two three", ("two",), ("one ", True)),
        ("aaab", ("aab",), ("a", True)),
        ("abcabd", ("abd",), ("abc", True)),
        ("abc", ("bc", "abcX"), ("a", True)),
        ("a\n\nb", ("\n\n",), ("a", True)),
        ("🙂🙃", ("🙃",), ("🙂", True)),
        ("ends with sto", ("stop",), ("ends with sto", False)),
        ("x", ("x",), ("", True)),
        ("x", ("",), ("x", False)),
    ],
)
def test_the_text_before_a_stop_text_is_the_same_whole_and_letter_by_letter(text, stops, expected):
    assert scanned([text], *stops) == expected
    assert scanned(list(text), *stops) == expected


def test_what_may_begin_a_stop_text_waits_and_nothing_comes_after_it():
    scanner = StopScanner(["END"])
    assert [scanner.push(piece) for piece in ("aE", "N", "b", "EN", "D", "c")] == ["a", "", "ENb", "", "", ""]
    assert (scanner.stopped, scanner.rest()) == (True, "")


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.data())
def test_any_way_to_cut_a_text_into_pieces_gives_what_letters_give(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    places = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert scanned(pieces, *stops) == scanned(list(text), *stops)


def test_an_included_stop_text_is_released_whole_however_the_text_is_cut():
    text = "it can stop, or stop"
    for cut in range(1, 9):
        scanner = StopScanner(["stop", "other"], included=True)
        pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
        assert "".join(map(scanner.push, pieces)) == "it can stop"
        assert scanner.stopped
