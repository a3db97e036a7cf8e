"""Which figures the rules are defined for. Who makes a row has checked and clipped what a client sent; this finds
the mistakes that would otherwise be NaN scores or endless loops."""

from __future__ import annotations

from math import isfinite

from slipway.errors import internal
from slipway.transformer.generation import Decoding


def check(index: int, decoding: Decoding) -> None:
    """Raise an internal error that names everything of row `index` that is out of range."""
    shares = {"top_p_decay": decoding.top_p_decay, "top_p_min": decoding.top_p_min}
    finite = {
        "length_penalty": decoding.length_penalty,
        "diversity": decoding.diversity,
        "presence_penalty": decoding.presence_penalty,
    }
    counts = {"max_tokens": (decoding.max_tokens, 1), "beam_width": (decoding.beam_width, 1)}
    counts |= {"min_tokens": (decoding.min_tokens, 0), "top_k": (decoding.top_k, 0)}
    problems = [f"{name} is {value}, at least {least}" for name, (value, least) in counts.items() if value < least]
    problems += [f"{name} is {value}, in (0, 1]" for name, value in shares.items() if not 0 < value <= 1]
    problems += [f"{name} is {value}, finite" for name, value in finite.items() if not isfinite(value)]
    if not 0 <= decoding.top_p <= 1:
        problems.append(f"top_p is {decoding.top_p}, in [0, 1]")
    if not (isfinite(decoding.temperature) and decoding.temperature >= 0):
        problems.append(f"temperature is {decoding.temperature}, finite and not negative")
    if not (isfinite(decoding.repetition_penalty) and decoding.repetition_penalty > 0):
        problems.append(f"repetition_penalty is {decoding.repetition_penalty}, finite and positive")
    if problems:
        raise internal(f"row {index} cannot be decoded; what is expected follows each figure: {'; '.join(problems)}")
