"""Subwords are tensor2tensor's: golden ids of the public vocabularies, and no text is lost."""

import random
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.checkpoints.tensor2tensor.escaping import UNKNOWN, tokenize
from slipway.checkpoints.tensor2tensor.subwords import RESERVED, SubwordTextEncoder
from slipway.errors import Code, SlipwayError
from tests.checkpoints.tensor2tensor.public_data import VOCABULARY_8K, VOCABULARY_32K, needs_public_files

CHARACTERS = "\\_u;0123456789"
SMALL = SubwordTextEncoder([*RESERVED, *CHARACTERS, *"abcdefgh ", "abc", "bc_", "ab_", "xyz", "  _"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HARD_TEXT = st.text(st.sampled_from(list("\\_u;0123 \n\r\tabcxé\u2028")), max_size=40)


@pytest.fixture(scope="module")
def public():
    return {"32k": SubwordTextEncoder.load(VOCABULARY_32K), "8k": SubwordTextEncoder.load(VOCABULARY_8K)}


@needs_public_files
@pytest.mark.capability("2.6")
@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        ("32k", "Hello world", "26228 145 178"),
        ("32k", "Goodbye world", "32508 13966 36 178"),
        (
            "32k",
            "The quick brown fox jumps over the lazy dog.",
            "29 5241 30598 22 4165 521 13654 3599 244 4 4835 22451 20725 3",
        ),
        ("32k", "Wiederaufnahme der Sitzungsperiode", "31178 11 31549"),
        ("8k", "Hello world", "4928 4071 220"),
        ("8k", "Wiederaufnahme der Sitzungsperiode", "3515 562 1300 12 6786 2740 548 714 17"),
    ],
)
def test_public_vocabularies_give_the_golden_ids(public, name, text, ids):
    assert public[name].encode(text) == [int(index) for index in ids.split()]
    assert public[name].decode(public[name].encode(text)) == text


@needs_public_files
@pytest.mark.capability("2.6")
def test_ten_thousand_random_unicode_strings_survive(public):
    source = random.Random(7)
    ranges = [(0, 0x80), (0, 0x250), (0, 0xD800), (0xE000, 0x110000)]
    for _ in range(10_000):
        low, high = source.choice(ranges)
        text = "".join(chr(source.randrange(low, high)) for _ in range(source.randrange(12)))
        assert public["32k"].decode(public["32k"].encode(text)) == text


@needs_public_files
def test_sizes_are_those_of_the_public_files(public):
    assert {name: each.vocabulary_size for name, each in public.items()} == {"32k": 33708, "8k": 8190}


@needs_public_files
def test_a_saved_vocabulary_has_the_same_bytes(public, tmp_path):
    public["8k"].save(tmp_path / "vocabulary")
    assert (tmp_path / "vocabulary").read_bytes() == VOCABULARY_8K.read_bytes()


@given(st.one_of(TEXT, HARD_TEXT))
def test_any_text_survives_a_small_vocabulary(text):
    ids = SMALL.encode(text)
    assert SMALL.decode(ids) == text
    assert not {0, 1}.intersection(ids)


@given(st.lists(st.integers(0, SMALL.vocabulary_size - 1)))
def test_any_ids_decode_to_text_that_can_be_written(ids):
    assert SMALL.decode(ids).encode().decode() is not None


def test_the_longest_subtoken_wins_and_a_repeated_token_gives_the_same_ids():
    names = SMALL.subtokens
    for _ in range(2):
        assert [names[index] for index in SMALL.encode("abc")] == ["abc", "_"]
        assert [names[index] for index in SMALL.encode("abbc")] == ["a", "b", "bc_"]


def test_a_character_that_is_only_inside_a_longer_subtoken_is_spelled_out():
    assert [SMALL.subtokens[index] for index in SMALL.encode("xyz")] == ["xyz", "_"]
    assert SMALL.decode(SMALL.encode("zxy")) == "zxy"


def test_reserved_words_in_a_text_are_text():
    assert SMALL.decode(SMALL.encode("<pad><EOS>")) == "<pad><EOS>"


def test_words_are_letters_and_numbers_of_every_script():
    for code in range(sys.maxunicode + 1):
        word = unicodedata.category(chr(code))[0] in "LN"
        assert len(tokenize(f"a{chr(code)}")) == (1 if word else 2), hex(code)


def test_a_surrogate_is_refused_and_never_decoded():
    with pytest.raises(SlipwayError, match=r"not valid Unicode: it contains the surrogate U\+D83D"):
        SMALL.encode("ab \ud83d")
    ids = [SMALL.subtokens.index(c) for c in "\\55357;_"]
    assert SMALL.decode(ids) == UNKNOWN


@pytest.mark.parametrize("index", [-1, SMALL.vocabulary_size])
def test_an_id_outside_the_vocabulary_is_refused(index):
    with pytest.raises(SlipwayError, match=f"id {index} is outside the vocabulary"):
        SMALL.decode([2, index])


def test_tokens_are_remembered_within_a_bound():
    encoder = SubwordTextEncoder(SMALL.subtokens)
    encoder.encode("a" * 1000)
    assert not encoder._cache
    encoder.encode(" ".join(f"{number}" for number in range(140_000)))
    assert 0 < len(encoder._cache) <= 1 << 17


HEAD = b"'<pad>'\n'<EOS>'\n"
LETTERS = b"".join(b"'%s'\n" % c.encode() for c in CHARACTERS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (HEAD + LETTERS + b"abc_\n", r"line 17 is not in single quotes: 'abc_'"),
        (HEAD + b"'\n", "line 3 is not in single quotes"),
        (HEAD + LETTERS + b"'\xff'\n", r"line 17 is not valid UTF-8 \(byte 2\)"),
        (HEAD + LETTERS + b"''\n", "line 17 is an empty subtoken"),
        (HEAD + LETTERS + b"'ab'\n'c'\n'ab'\n", "line 19 repeats 'ab' of line 17"),
        (HEAD + b"\n" + LETTERS, "line 3 is not in single quotes"),
        (LETTERS + HEAD, r"line 1 has to be '<pad>'"),
        (HEAD, "needs each of these characters as a subtoken"),
        (b"'<pad>'\n", "line 2 has to be '<EOS>'"),
    ],
)
def test_a_file_that_is_not_a_vocabulary_is_refused_with_the_line(tmp_path, data, message):
    path = tmp_path / "vocab.x.100.subwords"
    path.write_bytes(data)
    with pytest.raises(SlipwayError, match=message) as caught:
        SubwordTextEncoder.load(path)
    assert caught.value.code is Code.INVALID_ARG
    assert str(path) in caught.value.message


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(SlipwayError, match=r"vocabulary '.*vocab.none' ?: the file does not exist") as caught:
        SubwordTextEncoder.load(tmp_path / "vocab.none")
    assert caught.value.code is Code.NOT_FOUND


def test_line_breaks_and_double_quotes_of_other_writers_are_read(tmp_path):
    path = tmp_path / "vocabulary"
    path.write_bytes((HEAD + LETTERS).replace(b"\n", b"\r\n") + b"\"'\"\r\n'\xc2\x85'")
    assert SubwordTextEncoder.load(path).subtokens[-2:] == ("'", "\x85")


@given(st.data())
def test_damaged_vocabularies_are_refused_or_still_work(tmp_path_factory, data):
    content = bytearray(HEAD + LETTERS + b"'abc_'\n'd'\n")
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        encoder = SubwordTextEncoder.load(path)
    except SlipwayError:
        return
    assert encoder.decode(encoder.encode("abcd é")) == "abcd é"
