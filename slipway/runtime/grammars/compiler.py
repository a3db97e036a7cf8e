"""Grammars compiled for the tokens of one model: which tokens may come next (`generation.TextGrammar`).

Knows tokens as bytes, and the library llguidance, which is imported when a grammar is compiled.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slipway.errors import invalid, unsupported
from slipway.runtime.grammars.checking import CHECKS, LIMITS, SCHEMA_OPTIONS, require_library
from slipway.runtime.grammars.source import OPTIONS, GrammarSource
from slipway.transformer.generation import SequenceRequest

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from slipway.runtime.stop_texts import TokenBytes

_KEPT: Final = 8  # compiled grammars of one model; one has at most some tens of megabytes
_MOST_CERTAIN: Final = 512  # characters; the library asks again for the rest
_STUCK: Final = "NoExtension"  # the beginning of the library's message
_NO_DETAILS: Final = " <non-verbose/>"
_MOST_SHOWN: Final = 300  # characters of the library's message


class CompiledGrammar:
    """The grammar of one row, also if it is sampled several times. `failure` says why a text could not be completed
    under it, "" if all could."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self.failure = ""

    def begin(self) -> MatchedText:
        """Return the state before the first token of a text."""
        return MatchedText(self, self._matcher.deep_copy(), self._vocabulary)


class MatchedText:
    """A `generation.GrammarState`: the beginning of a text, as far as it has been generated."""

    def __init__(self, grammar: CompiledGrammar, matcher: LLMatcher, vocabulary: int) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> np.ndarray:
        """Return bool [vocabulary]: the tokens that may come next; none if the text cannot go on."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            return self._failed()
        found = np.unpackbits(bits, bitorder="little")[: self._vocabulary].view(np.bool_)
        return found if found.any() else self._failed()

    def accept(self, token: int) -> None:
        """Continue the text by a token."""
        if not self._matcher.consume_token(token):
            self._failed()

    def copy(self) -> MatchedText:
        """Return the same state, to be continued otherwise."""
        return MatchedText(self._grammar, self._matcher.deep_copy(), self._vocabulary)

    def _failed(self) -> np.ndarray:
        reason = " ".join(self._matcher.get_error().split()).removesuffix(_NO_DETAILS)[:_MOST_SHOWN]
        stuck = not reason or reason.startswith(_STUCK)
        self._grammar.failure = "none of its tokens continues the text" if stuck else reason
        return np.zeros(self._vocabulary, np.bool_)


class GrammarCompiler:
    """Compiles grammars for the tokens of a model, of which `ends` end a text. May be used from any thread."""

    def __init__(self, tokens: TokenBytes, *, vocabulary: int, ends: Sequence[int]) -> None:
        self._tokens = tokens
        self._vocabulary = vocabulary
        self._ends = [token for token in ends if token < vocabulary]
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[GrammarSource, LLMatcher] = OrderedDict()
        self._lock = Lock()

    def compile(self, source: GrammarSource) -> CompiledGrammar:
        """Return the grammar for one row; raise INVALID_ARG for one that no text of these tokens can follow, and as
        `GrammarChecks.part` does."""
        if not self._ends:
            raise unsupported("grammars need an end token in the model's vocabulary")
        require_library()
        part = dict(CHECKS.part(source))
        with self._lock:
            matcher = self._compiled.get(source)
            if matcher is None:
                matcher = self._compiled[source] = self._new(source, part)
                while len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(source)
        return CompiledGrammar(matcher, self._vocabulary)

    def _new(self, source: GrammarSource, part: dict[str, Any]) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        if self._tokenizer is None:
            self._tokenizer = self._opened()
        limits = LLParserLimits(**LIMITS, verbose_errors=False)
        matcher = LLMatcher(self._tokenizer, self._written(part), log_level=0, limits=limits)
        grammar = CompiledGrammar(matcher, self._vocabulary)
        grammar.begin().allowed()
        if grammar.failure:
            raise invalid(f"this model cannot follow the {source.kind.value}: {grammar.failure}")
        return matcher

    def _written(self, part: dict[str, Any]) -> str:
        if isinstance(part.get("json_schema"), dict):
            part["json_schema"] = {**part["json_schema"], OPTIONS: dict(SCHEMA_OPTIONS)}
        parts = [part]
        if self._tokens.loses_first_space:  # so the tokens have one more than the text
            parts = [{"lark_grammar": 'start: " " @text'}, {"name": "text", **part}]
        return json.dumps({"grammars": parts})

    def _opened(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        return LLTokenizer(
            _Vocabulary(self._tokens, self._vocabulary, self._ends),
            n_vocab=self._vocabulary,
            eos_token=list(self._ends),
        )


class Spelling:
    """Writes texts in the tokens of a model, byte for byte: as its tokenizer does where that adds nothing (a space at
    the beginning), else with the longest tokens that fit."""

    def __init__(self, tokens: TokenBytes, known: Sequence[bytes], *, without: Sequence[int]) -> None:
        self._tokens = tokens
        self._known = known
        self._ids = {text: token for token, text in reversed(list(enumerate(known))) if text}
        for token in without:
            if self._ids.get(known[token]) == token:
                del self._ids[known[token]]
        self._longest = max(map(len, self._ids), default=0)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, or of its beginning if the model has none for what follows."""
        data = text.encode()
        own = self._tokens.encoded(text)
        if all(token < len(self._known) for token in own) and b"".join(self._known[token] for token in own) == data:
            return own
        found: list[int] = []
        while data:
            lengths = range(min(self._longest, len(data)), 0, -1)
            length = next((length for length in lengths if data[:length] in self._ids), 0)
            if not length:
                break
            found.append(self._ids[data[:length]])
            data = data[length:]
        return found


class _Vocabulary:
    """The tokens of a model in the form that LLTokenizer takes."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: TokenBytes, vocabulary: int, ends: Sequence[int]) -> None:
        self.tokens = [tokens.of(token) for token in range(vocabulary)]
        self.special_token_ids = sorted({*ends, *(token for token in tokens.special if token < vocabulary)})
        self.eos_token_id = ends[0]
        self._spelling = Spelling(tokens, self.tokens, without=self.special_token_ids)

    def __call__(self, text: str) -> list[int]:
        """Return the tokens of a text that is certain to come next: the model has to write it with them."""
        return self._spelling.tokens(text[:_MOST_CERTAIN])


def failure_of(row: SequenceRequest) -> str:
    """Return why the text of a row could not be completed under its grammar, "" if it could."""
    rules = None if row.decoding is None else row.decoding.rules
    return "" if rules is None or rules.grammar is None else rules.grammar.failure


def check_followed(rows: Sequence[SequenceRequest]) -> None:
    """Raise INVALID_ARG if the text of one of the rows could not be completed under its grammar."""
    failure = next(filter(None, map(failure_of, rows)), "")
    if failure:
        raise invalid(f"the text could not be completed as requested: {failure}")
