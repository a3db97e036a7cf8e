"""Rows that may share one call of the library, and what is heard of them while it runs.

A call bans the same tokens for all its rows; everything else may differ, because each row is ended from the library's
callback. Pure: knows no library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from slipway.transformer.decoding.hypothesis import GeneratedSequence, power_penalty
from slipway.transformer.generation import Decoding, GenerationListener, Hypothesis, Search


class StepResult(Protocol):
    """What the library reports of one row's next token (`ctranslate2.GenerationStepResult`)."""

    batch_id: int
    token_id: int
    log_prob: float


@dataclass(frozen=True, slots=True)
class SuppressedTokens:
    """What no row of a call may generate: `tokens` never, `end_id` before `min_tokens`."""

    tokens: tuple[int, ...] = ()
    end_id: int | None = None  # None: no end token is banned
    min_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BeamOptions:
    """The beam search of a call: it has no callback, so its rows end by the same rule."""

    width: int
    length_penalty: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class CallGroup:
    """Rows of one call, by index."""

    rows: tuple[int, ...]
    bans: SuppressedTokens
    max_tokens: int  # the longest row's
    beam: BeamOptions | None = None


def groups(decodings: Sequence[Decoding], prompts: Sequence[int]) -> list[CallGroup]:
    """Split rows into as few calls as are exact for each; a row that may generate nothing is in none.

    `prompts` are the lengths of a decoder-only model's prompts, 0 where there is an encoder.

    Rows without a minimum go together whatever they end with; so do rows that may never end before their
    maximum, whatever their length: the end token is banned for longer than they live.
    """
    by_key: dict[_Key, list[int]] = {}
    for index, (decoding, prompt) in enumerate(zip(decodings, prompts, strict=True)):
        if decoding.max_tokens > 0:
            by_key.setdefault(_key(decoding, prompt), []).append(index)
    result = []
    for (bans, beam, forced, _), rows in by_key.items():
        longest = max(decodings[row].max_tokens for row in rows)
        exact = replace(bans, min_tokens=longest) if forced else bans
        result.append(CallGroup(tuple(rows), exact, longest, beam))
    return result


_Key = tuple[
    SuppressedTokens, BeamOptions | None, bool, int
]  # with whether the end token is banned throughout, and the prompt's length


def _key(decoding: Decoding, prompt: int) -> _Key:
    """Return what rows of one call have in common.

    Of prompts of different lengths the library feeds what is longer than the shortest as if it were generated: right
    for greedy search, unless the shortest has one token (then it reports the others' prompts too), not for a beam.
    """
    tokens, forced = banned_tokens(decoding), decoding.min_tokens >= decoding.max_tokens
    if decoding.search is Search.HUGGING_FACE:
        beam = BeamOptions(decoding.beam_width, decoding.length_penalty, decoding.max_tokens)
        return (
            SuppressedTokens(tokens, decoding.end_id, min(decoding.min_tokens, decoding.max_tokens)),
            beam,
            False,
            prompt,
        )
    prompt = min(prompt, 2)
    if decoding.min_tokens <= 0:
        return SuppressedTokens(tokens), None, False, prompt
    return SuppressedTokens(tokens, decoding.end_id, 0 if forced else decoding.min_tokens), None, forced, prompt


def banned_tokens(decoding: Decoding) -> tuple[int, ...]:
    """Return the single tokens among the bad words; token 0 is never banned (FasterTransformer pads with it)."""
    return tuple(sorted({word[0] for word in decoding.bad_words if len(word) == 1 and word[0] > 0}))


class StepCallback:
    """Turns the library's steps into a listener's tokens and hypotheses; says when a row is finished."""

    def __init__(self, group: CallGroup, decodings: Sequence[Decoding], listener: GenerationListener) -> None:
        self._lines = [GeneratedSequence(row, decodings[row], listener) for row in group.rows]

    def __call__(self, step: StepResult) -> bool:
        """Pass on one token; return True when its row is finished, which has it leave the batch."""
        return not self._lines[step.batch_id].accept(step.token_id, step.log_prob, step.log_prob)


def hypotheses(finished: Sequence[tuple[tuple[int, ...], float]], beam: BeamOptions) -> list[Hypothesis]:
    """Return what a beam search found, best first; a score is the total divided by length ** penalty."""
    return [Hypothesis(ids, score * power_penalty(len(ids), beam.length_penalty), score) for ids, score in finished]
