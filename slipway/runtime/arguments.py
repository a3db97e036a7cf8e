"""The decoding arguments of a request: optional inputs with types, limits and defaults.

One table defines the inputs in config.pbtxt, the defaults from generation_config.json, and the values read when
serving. The names follow FasterTransformer where it has the argument. Independent of engines and protocols.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slipway.errors import invalid
from slipway.transformer.generation import Decoding, Search

Values = dict[str, float]  # by field name of `Decoding`; integers stay int


@dataclass(frozen=True, slots=True)
class Argument:
    """One optional input, [rows, 1]. `field` is its name in `Decoding`; `least` and `most` are inclusive limits."""

    name: str
    datatype: str
    field: str
    least: float
    most: float = math.inf


_MOST_BEAMS: Final = 64
NUM_RETURN: Final = "num_return_sequences"
FORCED: Final = "forced_first_id"  # a token id: the target language of M2M100 and mBART
_OWN: Final = (NUM_RETURN, FORCED)  # not fields of `Decoding`, or in another form there
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
# The default in transformers: beam scores are per token. Unused without beams.
BASE: Final[Values] = {"length_penalty": 1.0, NUM_RETURN: 1}


def default_values(parameters: Mapping[str, str]) -> Values:
    """Return the defaults that a config's parameters set; raise INVALID_ARG naming every invalid one."""
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
    """Return the values for each row: those in the request override `defaults`.

    Raise INVALID_ARG naming every input that does not have one value per row or has a value out of range.
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
    """Return the `Decoding` of a row, limited to `most_tokens`, the number that its positions allow."""
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
    """Override the defaults with a request's values: requesting beams disables default sampling, and vice versa."""
    beams = given.get("beam_width", 1) > 1
    samples = given.get("top_k", 0) > 1 or given.get("top_p", 0) > 0
    if beams and samples:
        raise invalid("beam_width above 1 cannot be combined with runtime_top_k or runtime_top_p")
    kept = dict(defaults)
    if beams:
        kept |= {"top_k": 0, "top_p": 0.0}
    if samples:
        kept["beam_width"] = 1
    if "top_k" in given or "top_p" in given:  # setting one of the two disables the default of the other
        kept |= {"top_k": 0, "top_p": 0.0}
    values = kept | given
    if values.get(NUM_RETURN, 1) > values.get("beam_width", 1):
        raise invalid(
            f"num_return_sequences is {values[NUM_RETURN]:g}, but beam_width is only "
            f"{values.get('beam_width', 1):g}: each beam returns one sequence"
        )
    return values


def _allowed(argument: Argument, value: float) -> float:
    """Return the value in the type that `Decoding` expects; raise ValueError with the limits if it is out of range."""
    if not (argument.least <= value <= argument.most) or math.isinf(value):  # NaN is refused too
        most = f" to {argument.most:g}" if math.isfinite(argument.most) else " or more"
        raise ValueError(f"{value:g} is out of range, expected {argument.least:g}{most}")
    if argument.datatype == "BOOL":
        return bool(value)
    return value if argument.datatype == "FP32" else int(value)
