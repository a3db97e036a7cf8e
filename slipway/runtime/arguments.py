"""How a request says how its rows are decoded: the optional inputs, their types and limits, and their defaults.

One table for what is written into config.pbtxt, what a checkpoint's generation_config.json sets, and what is read at
serving time. The names are FasterTransformer's where it has one. Knows no engine and no protocol.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slipway.errors import invalid
from slipway.transformer.generation import Decoding, Search

Values = dict[str, float]  # by `Decoding`'s names; whole numbers stay int


@dataclass(frozen=True, slots=True)
class Argument:
    """One optional input, [rows, 1]. `field` is what `Decoding` calls it; `least` and `most` are allowed."""

    name: str
    datatype: str
    field: str
    least: float
    most: float = math.inf


_MOST_BEAMS: Final = 64
NUM_RETURN: Final = "num_return_sequences"
FORCED: Final = "forced_first_id"  # the target language of M2M100 and mBART, a token id
_OWN: Final = (NUM_RETURN, FORCED)  # what `Decoding` lacks, or has in another form
ARGUMENTS: Final = (
    Argument("max_output_len", "UINT32", "max_tokens", 1),
    Argument("min_length", "UINT32", "min_tokens", 0),
    Argument("beam_width", "UINT32", "beam_width", 1, _MOST_BEAMS),
    Argument("runtime_top_k", "UINT32", "top_k", 0),
    Argument("runtime_top_p", "FP32", "top_p", 0, 1),
    Argument("temperature", "FP32", "temperature", 1e-4),
    Argument("repetition_penalty", "FP32", "repetition_penalty", 1e-4),
    Argument("presence_penalty", "FP32", "presence_penalty", -1e4),
    Argument("len_penalty", "FP32", "length_penalty", -1e4),
    Argument("early_stopping", "BOOL", "early_stopping", 0, 1),
    Argument("random_seed", "UINT64", "seed", 0),
    Argument(NUM_RETURN, "UINT32", NUM_RETURN, 1, _MOST_BEAMS),
    Argument(FORCED, "UINT32", FORCED, 0),
)
# transformers' own default: scores of beams are per token. Of no meaning without beams.
BASE: Final[Values] = {"length_penalty": 1.0, NUM_RETURN: 1}


def default_values(parameters: Mapping[str, str]) -> Values:
    """Return the defaults that a config's parameters set; raise INVALID_ARG naming every one that is not a number."""
    values, problems = dict(BASE), []
    for argument in ARGUMENTS:
        text = parameters.get(argument.name)
        if text is None:
            continue
        try:
            values[argument.field] = _allowed(argument, float(text))
        except ValueError as error:
            problems.append(f"parameter '{argument.name}' is '{text}': {error}")
    if problems:
        raise invalid("; ".join(problems))
    return values


def read_values(inputs: Mapping[str, np.ndarray], rows: int, defaults: Values) -> list[Values]:
    """Return the values of each row: those of the request over `defaults`.

    Raise INVALID_ARG naming every input that does not have one value per row, or has one that is not allowed.
    """
    given: list[Values] = [{} for _ in range(rows)]
    problems = []
    for argument in ARGUMENTS:
        array = inputs.get(argument.name)
        if array is None:
            continue
        if array.size not in (1, rows):
            problems.append(f"input '{argument.name}' has {array.size} values for {rows} rows, expected one per row")
            continue
        try:
            column = [_allowed(argument, each) for each in array.reshape(-1).tolist()]
        except ValueError as error:
            problems.append(f"input '{argument.name}': {error}")
            continue
        for row, values in enumerate(given):
            values[argument.field] = column[row if len(column) == rows else 0]
    if problems:
        raise invalid("; ".join(problems))
    return [_combined(values, defaults) for values in given]


def decoding_of(values: Values, *, most_tokens: int, start_id: int, end_ids: Sequence[int]) -> Decoding:
    """Return how a row is decoded. `most_tokens` is what its positions allow; more was refused before."""
    fields: dict[str, Any] = {name: value for name, value in values.items() if name not in _OWN}
    return Decoding(
        **fields | {"max_tokens": min(int(values["max_tokens"]), most_tokens)},
        start_id=start_id,
        end_id=end_ids[0],
        search=Search.HUGGING_FACE if values.get("beam_width", 1) > 1 else Search.SAMPLE,
        forced=(int(values[FORCED]),) if FORCED in values else (),
        stop_words=tuple((end,) for end in end_ids[1:]),
    )


def _combined(given: Values, defaults: Values) -> Values:
    """Put a request's values over the defaults: who asks for beams wants no sampling, and the other way round."""
    beams = given.get("beam_width", 1) > 1
    samples = given.get("top_k", 0) > 1 or given.get("top_p", 0) > 0
    if beams and samples:
        raise invalid("beam_width above 1 and runtime_top_k or runtime_top_p exclude each other")
    kept = dict(defaults)
    if beams:
        kept |= {"top_k": 0, "top_p": 0.0}
    if samples:
        kept["beam_width"] = 1
    if "top_k" in given or "top_p" in given:  # one alone means that one alone
        kept |= {"top_k": 0, "top_p": 0.0}
    values = kept | given
    if values.get(NUM_RETURN, 1) > values.get("beam_width", 1):
        raise invalid(
            f"num_return_sequences is {values[NUM_RETURN]:g} and beam_width {values.get('beam_width', 1):g}: there "
            "are as many sequences as beams"
        )
    return values


def _allowed(argument: Argument, value: float) -> float:
    """Return the value as the type that `Decoding` has; raise ValueError saying what is allowed."""
    if not (argument.least <= value <= argument.most) or math.isinf(value):  # NaN is refused too
        most = f" to {argument.most:g}" if math.isfinite(argument.most) else " or more"
        raise ValueError(f"{value:g} is not allowed, only {argument.least:g}{most}")
    if argument.datatype == "BOOL":
        return bool(value)
    return value if argument.datatype == "FP32" else int(value)
