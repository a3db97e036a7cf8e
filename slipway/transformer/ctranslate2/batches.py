"""Group rows that may share one call of the library, and report their progress while it runs.

A call bans the same tokens for all its rows. Everything else may differ, because the library's callback ends each row.
Pure: knows no library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from slipway.transformer.decoding.hypothesis import GeneratedSequence, power_penalty
from slipway.transformer.generation import Decoding, GenerationListener, Hypothesis, Search


class StepResult(Protocol):
    """The library's report on one row's next token (`ctranslate2.GenerationStepResult`)."""

    batch_id: int
    token_id: int
    log_prob: float


@dataclass(frozen=True, slots=True)
class SuppressedTokens:
    """The tokens that no row of a call may generate: `tokens` never, `end_id` not before `min_tokens`."""

    tokens: tuple[int, ...] = ()
    end_id: int | None = None  # None: the end token is not banned
    min_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BeamOptions:
    """The beam search of a call. It has no callback, so all its rows end by the same rule."""

    width: int
    length_penalty: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class CallGroup:
    """The rows of one call, by index."""

    rows: tuple[int, ...]
    bans: SuppressedTokens
    max_tokens: int  # the longest row's
    beam: BeamOptions | None = None


def groups(decodings: Sequence[Decoding], prompts: Sequence[int]) -> list[CallGroup]:
    """Split rows into as few calls as possible with exact results for each; leave out rows that may generate nothing.

    `prompts` are the lengths of a decoder-only model's prompts, 0 if there is an encoder.

    Rows without a minimum go together even if their end tokens differ. So do rows that may not end before their
    maximum, even if their lengths differ: the end token is banned for as long as they run.
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
]  # plus whether the end token is always banned, and the prompt's length


def _key(decoding: Decoding, prompt: int) -> _Key:
    """Return a key that is equal for rows that may share a call.

    If prompts differ in length, the library feeds the part that is longer than the shortest as if it were generated.
    That is right for greedy search, unless the shortest prompt has one token (then it also reports the others' prompts
    as generated), but not for beams.
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
    """Turns the library's steps into tokens and hypotheses for a listener, and ends finished rows."""

    def __init__(self, group: CallGroup, decodings: Sequence[Decoding], listener: GenerationListener) -> None:
        self._lines = [GeneratedSequence(row, decodings[row], listener) for row in group.rows]

    def __call__(self, step: StepResult) -> bool:
        """Pass on one token; return True when its row is finished, so that it leaves the batch."""
        return not self._lines[step.batch_id].accept(step.token_id, step.log_prob, step.log_prob)


def hypotheses(finished: Sequence[tuple[tuple[int, ...], float]], beam: BeamOptions) -> list[Hypothesis]:
    """Return the hypotheses that a beam search found, best first; a score is the total divided by length ** penalty."""
    return [Hypothesis(ids, score * power_penalty(len(ids), beam.length_penalty), score) for ids, score in finished]
