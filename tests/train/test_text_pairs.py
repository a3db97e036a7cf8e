"""Parallel text is read side by side, and what is wrong with it is named with file and line."""

import pytest

from slipway.errors import Code, SlipwayError
from slipway.train.text_pairs import PairCount, text_pairs


@pytest.fixture
def files(tmp_path):
    def write(source, target):
        paths = tmp_path / "text.en", tmp_path / "text.de"
        for path, data in zip(paths, (source, target), strict=True):
            path.write_bytes(data)
        return [paths]

    return write


def test_lines_are_stripped_and_pairs_with_a_blank_side_are_left_out(files):
    count = PairCount()
    found = list(text_pairs(files(b" a \r\n\nc\nd", b"A\nB\n \nD\n"), count))
    assert found == [("a", "A"), ("d", "D")]
    assert (count.read, count.blank) == (4, 2)


def test_only_a_line_feed_ends_a_line(files):
    assert list(text_pairs(files("a\u2028b\x85c\n".encode(), b"A\n"))) == [("a\u2028b\x85c", "A")]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (b"a\nb\nc\n", b"A\n", "'.*text.en' has 3 lines, but '.*text.de' has 1: line N"),
        (b"a\n", b"A\nB\n", "'.*text.de' has 2 lines, but '.*text.en' has 1: line N"),
        (b"", b"A\n", "'.*text.de' has 1 lines, but '.*text.en' has 0"),
        (b"", b"", "'.*text.en' and '.*text.de' are empty"),
        (b"a\nb\xff\n", b"A\nB\n", "'.*text.en', line 2 is not valid UTF-8: byte 2 is 0xff"),
        (b"a\nb\n", b"A\n\xc3\n", "'.*text.de', line 2 is not valid UTF-8: byte 1 is 0xc3"),
        (b"a" * ((1 << 20) + 1), b"A", "'.*text.en', line 1 has more than 1048576 bytes"),
    ],
)
def test_damaged_text_is_refused_with_file_and_line(files, source, target, message):
    with pytest.raises(SlipwayError, match=message) as caught:
        list(text_pairs(files(source, target)))
    assert caught.value.code is Code.INVALID_ARG


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SlipwayError, match=r"none.en' does not exist") as caught:
        list(text_pairs([(tmp_path / "none.en", tmp_path / "none.de")]))
    assert caught.value.code is Code.NOT_FOUND
