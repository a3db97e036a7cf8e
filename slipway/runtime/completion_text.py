"""The text of one row while its tokens come, cut before the first stop text, with the log-probability of each token.

It ends the generation too, when a stop text is complete (`generation.StopTexts`), and learns the log-probabilities
(`generation.StepObserver`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from slipway.runtime.pieces import TextPieces
from slipway.runtime.stop_scanner import StopScanner
from slipway.runtime.stop_texts import StopTextsOfRow, TokenBytes

STOP: Final = "stop"
LENGTH: Final = "length"
_LEAST: Final = -9999.0  # as OpenAI reports what is next to impossible; JSON has no infinity


@dataclass(frozen=True, slots=True)
class TextStops:
    """What ends a text beside the model's end tokens, and whether it is part of it."""

    texts: Sequence[str] = ()
    tokens: Sequence[int] = ()
    included: bool = False


def finite(log_probability: float) -> float:
    """Return a log-probability as JSON can have it, also in place of NaN."""
    return max(_LEAST, log_probability)


class CompletionText:
    """`width` is the number of best tokens to report at each step; None if no log-probabilities are wanted."""

    def __init__(
        self, pieces: TextPieces, tokens: TokenBytes, *, stops: TextStops, ends: Sequence[int], width: int | None
    ) -> None:
        self._pieces = pieces
        self._tokens = tokens
        self._scanner = StopScanner(stops.texts, included=stops.included)
        # The text leaves special tokens out, but they may be stop texts.
        self._in_bytes = StopTextsOfRow(tuple(stop.encode() for stop in stops.texts), tokens)
        self._ends = frozenset(ends).union(stops.tokens)
        self._cut = frozenset() if stops.included else self._ends
        self._silent = frozenset(ends) | self._cut  # without a log-probability
        self._logs = width is not None
        self.width = width or 0
        self._length = 0  # of the text so far, with what is held back
        self._released = 0
        self._text = ""  # released, not taken yet
        self._entries: list[dict[str, Any]] = []  # of tokens not yet delivered
        self._step: tuple[float, Sequence[int], Sequence[float]] = (_LEAST, (), ())

    def step(self, log_probability: float, ids: Sequence[int], log_probabilities: Sequence[float]) -> None:
        """Keep what is reported about the next token."""
        self._step = (log_probability, ids, log_probabilities)

    def push(self, token: int) -> None:
        """Add a token."""
        if self._logs and token not in self._silent:
            self._entries.append(self._entry(token))
        if token not in self._cut:
            self._add(self._pieces.push(token))

    def met(self, ids: Sequence[int]) -> bool:
        """Return whether a stop text is complete with the last of `ids`."""
        return self._scanner.stopped or self._in_bytes.met(ids)

    def take(self) -> dict[str, Any] | None:
        """Return the text that has been released since the last call, None if there is none."""
        if not self._text:
            return None
        taken: dict[str, Any] = {"text": self._text}
        self._text = ""
        if self._logs:
            ready = [each for each in self._entries if each["offset"] < self._released]
            self._entries = self._entries[len(ready) :]
            taken["logprobs"] = ready
        return taken

    def close(self, ids: Sequence[int]) -> dict[str, Any]:
        """Return the rest of the text of the generated `ids`, and why it ends."""
        reason = STOP if ids and (ids[-1] in self._ends or self.met(ids)) else LENGTH
        if not self._scanner.stopped:
            self._add(self._pieces.rest(ids[:-1] if ids and ids[-1] in self._cut else ids))
        if self._scanner.stopped:
            reason = STOP
            self._entries = [each for each in self._entries if each["offset"] < self._released]
        else:
            held = self._scanner.rest()
            self._text += held
            self._released += len(held)
        closing: dict[str, Any] = {"text": self._text, "finish_reason": reason, "tokens": len(ids)}
        if self._logs:
            closing["logprobs"] = self._entries
        return closing

    def _add(self, piece: str) -> None:
        self._length += len(piece)
        released = self._scanner.push(piece)
        self._text += released
        self._released += len(released)

    def _entry(self, token: int) -> dict[str, Any]:
        log_probability, ids, best = self._step
        top = [self._named(each, figure) for each, figure in zip(ids, best, strict=True)]
        return {**self._named(token, log_probability), "offset": self._length, "top": top}

    def _named(self, token: int, log_probability: float) -> Mapping[str, Any]:
        data = self._tokens.of(token)
        return {"token": data.decode(errors="replace"), "bytes": list(data), "logprob": finite(log_probability)}
