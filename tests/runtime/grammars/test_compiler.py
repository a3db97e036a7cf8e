"""Any walk through the allowed tokens ends with a text that the grammar describes, for tokens of all kinds."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tokenizers import Tokenizer, decoders, models

from slipway.errors import Code, SlipwayError
from slipway.runtime.grammars import checking
from slipway.runtime.grammars.checking import CHECKS
from slipway.runtime.grammars.compiler import GrammarCompiler, Spelling
from slipway.runtime.grammars.source import read_grammar
from slipway.runtime.stop_texts import TokenBytes
from tests.kits.generators import byte_fallback_tokenizer, bytes_tokenizer, unigram_tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "é", 'q"\\']}, "maxItems": 3},
        "child": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS = [
    PERSON,
    {"type": "array", "items": {"type": "number", "minimum": -1.5, "maximum": 3}, "minItems": 2, "maxItems": 4},
    {"const": {"a": [1, None, True]}},
    {"oneOf": [{"type": "integer", "multipleOf": 7}, {"type": "string", "pattern": "^[a-c]{2}$"}]},
    {"type": "object", "properties": {"when": {"type": "string", "format": "date"}}, "required": ["when"]},
]
REGEXES = [r"[ab]{2,5}\d", r"(yes|no)( sir)?", r"/\"[^\"\\]{0,4}\"\n", r"^a+$|", r" x[é東]"]
CHOICES = [["yes", "no"], ["", " a", "a", "\x00\x7f\u2028", "😀", 'q"\\/\n']]
GRAMMARS = [
    ('start: "a" b\nb: "x" | "y" b', r"ay*x"),
    ('root ::= item ("," item)*\nitem ::= [0-9] | "(" item ")"', None),
]


WRITERS: dict[str, tuple[Callable[[Path], int], str]] = {
    "byte level": (bytes_tokenizer, "<|endoftext|>"),
    "byte fallback": (byte_fallback_tokenizer, "</s>"),
}


class Walker:
    """A tokenizer, and texts of allowed tokens drawn at random."""

    def __init__(self, path: Path, end: str) -> None:
        self.tokenizer = Tokenizer.from_file(str(path))
        self.end = self.tokenizer.token_to_id(end)
        self.tokens = TokenBytes(self.tokenizer)
        self.compiler = GrammarCompiler(
            self.tokens, vocabulary=self.tokenizer.get_vocab_size() + 3, ends=[self.end, 1 << 30]
        )

    def texts(self, count: int, **member: Any) -> list[str]:
        source = read_grammar(member)
        assert source is not None
        grammar = self.compiler.compile(source)
        return [self.walk(grammar, random.Random(seed)) for seed in range(count)]

    def walk(self, grammar: Any, chance: random.Random) -> str:
        state, ids = grammar.begin(), []
        while True:
            allowed = state.allowed().nonzero()[0].tolist()
            assert allowed, grammar.failure
            assert set(allowed) <= set(range(self.tokenizer.get_vocab_size()))
            token = chance.choice(allowed)
            if token == self.end:
                return str(self.tokenizer.decode(ids))
            ids.append(token)
            state.accept(token)


@pytest.fixture(scope="module", params=WRITERS)
def walker(request, tmp_path_factory) -> Walker:
    write, end = WRITERS[request.param]
    directory = tmp_path_factory.mktemp("tokenizer")
    write(directory)
    return Walker(directory / "tokenizer.json", end)


@pytest.mark.parametrize("place", range(len(SCHEMAS)))
def test_every_text_under_a_schema_parses_and_is_valid(walker, place):
    schema = SCHEMAS[place]
    for text in walker.texts(12, json_schema=schema):
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("place", range(len(REGEXES)))
def test_every_text_matches_its_regular_expression_as_a_whole(walker, place):
    for text in walker.texts(20, regex=REGEXES[place]):
        assert re.fullmatch(REGEXES[place], text), text


@pytest.mark.parametrize("place", range(len(CHOICES)))
def test_every_text_is_one_of_the_choices_and_every_choice_comes(walker, place):
    assert set(walker.texts(80, choice=CHOICES[place])) == set(CHOICES[place])


@pytest.mark.parametrize("place", range(len(GRAMMARS)))
def test_every_text_is_a_sentence_of_its_grammar(walker, place):
    grammar, pattern = GRAMMARS[place]
    for text in walker.texts(20, grammar=grammar):
        assert re.fullmatch(pattern or r"(\(*\d\)*)(,\(*\d\)*)*", text)
        assert text.count("(") == text.count(")")


def test_tokens_of_words_without_bytes_can_follow_a_grammar_that_needs_only_them(tmp_path):
    unigram_tokenizer(tmp_path, 48)
    words = Walker(tmp_path / "tokenizer.json", "</s>")
    assert set(words.texts(40, choice=["the cat", "dog"])) == {"the cat", "dog"}


def test_a_grammar_that_no_token_begins_is_refused(tmp_path):
    tokenizer = Tokenizer(models.BPE({"a": 0, "</s>": 1}, []))
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    one = Walker(tmp_path / "tokenizer.json", "</s>")
    assert one.texts(1, choice=["aa"]) == ["aa"]
    with pytest.raises(SlipwayError, match="cannot follow the list of choices: none of its tokens") as caught:
        one.texts(1, choice=["b"])
    assert caught.value.code is Code.INVALID_ARG


def test_a_text_that_cannot_go_on_fails_with_a_reason_and_allows_nothing(tmp_path):
    unigram_tokenizer(tmp_path, 48)
    words = Walker(tmp_path / "tokenizer.json", "</s>")
    source = read_grammar({"regex": "the[{]"})
    assert source is not None
    grammar = words.compiler.compile(source)
    state = grammar.begin()
    while (allowed := state.allowed()).any():
        state.accept(int(allowed.nonzero()[0][0]))
    assert grammar.failure == "none of its tokens continues the text"


def test_a_state_is_copied_and_continued_otherwise(walker):
    source = read_grammar({"regex": " ?[ab]x|[ab]y"})
    assert source is not None
    begun = walker.compiler.compile(source).begin()
    if walker.tokens.loses_first_space:
        begun.accept(walker.tokenizer.token_to_id("▁"))
    other = begun.copy()
    letter = next(token for token in begun.allowed().nonzero()[0].tolist() if walker.tokens.of(token) == b"a")
    begun.accept(letter)
    assert other.allowed()[letter]
    assert not begun.allowed()[letter]


def test_a_text_is_spelled_byte_for_byte_as_the_tokenizer_does_or_with_the_longest_tokens(walker):
    size = walker.tokenizer.get_vocab_size()
    known = [walker.tokens.of(token) for token in range(size)]
    spelling = Spelling(walker.tokens, known, without=[walker.end])
    for text in ("yes a", "é東🙂 no", " a", ""):
        ids = spelling.tokens(text)
        assert b"".join(known[token] for token in ids) == text.encode()
        assert walker.end not in ids
    if not walker.tokens.loses_first_space:
        assert spelling.tokens("the cat") == walker.tokenizer.encode("the cat", add_special_tokens=False).ids


def test_compiled_grammars_are_kept_up_to_a_bound(walker, monkeypatch):
    monkeypatch.setattr(CHECKS, "_known", {})
    monkeypatch.setattr(checking, "_ask", lambda _: {"part": {"lark_grammar": 'start: "a"'}})
    for number in range(20):
        walker.texts(1, choice=[f"{number}"])
    assert len(walker.compiler._compiled) <= 8
