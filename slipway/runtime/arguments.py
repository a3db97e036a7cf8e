"""The decoding arguments of a request: optional inputs and parameters with types, limits and defaults.

One table defines the inputs in config.pbtxt, the defaults from generation_config.json, and the values read when
serving. The names follow FasterTransformer where it has the argument; those of transformers and OpenAI are aliases.
Independent of engines and protocols.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Final

import numpy as np

from slipway.errors import invalid, shown
from slipway.runtime.grammars.source import GRAMMAR_NAMES
from slipway.runtime.token_lists import LISTS
from slipway.transformer.generation import Decoding, Search, TransformersRules

MOST_UNKNOWN: Final = 8  # names in one message: finding the nearest one takes 0.1 ms
Values = dict[str, float]  # by field name of `Decoding` and `TransformersRules`; integers stay int


@dataclass(frozen=True, slots=True)
class Argument:
    """One setting of a request: an optional input [rows, 1], or a parameter that holds for all rows. `field` is its
    name in `Decoding` or `TransformersRules`; `least` and `most` are inclusive limits; `aliases` are other names as a
    parameter."""

    name: str
    datatype: str
    field: str
    least: float
    most: float = math.inf
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All its names."""
        return (self.name, *self.aliases)


_MOST_BEAMS: Final = 64
NUM_RETURN: Final = "num_return_sequences"
FORCED: Final = "forced_first_id"  # a token id: the target language of M2M100 and mBART
TOTAL: Final = "max_total"  # max_length of transformers: includes the prompt or, after an encoder, the start token
LEAST_TOTAL: Final = "min_total"
SAMPLES: Final = "do_sample"
IGNORES_END: Final = "ignore_eos"
NEVER: Final = "never"  # a value of early_stopping
STOP: Final = "stop"  # texts [rows, n]
MOST_STOPS: Final = 256  # for a row
LONGEST_STOP: Final = 1024  # characters
STOP_NAMES: Final = (STOP, "stop_strings")
ARGUMENTS: Final = (
    Argument(
        "max_output_len", "UINT32", "max_tokens", 1, aliases=("max_new_tokens", "max_tokens", "max_completion_tokens")
    ),
    Argument("min_length", "UINT32", "min_tokens", 0, aliases=("min_new_tokens", "min_tokens")),
    Argument("beam_width", "UINT32", "beam_width", 1, _MOST_BEAMS, ("num_beams",)),
    Argument("runtime_top_k", "UINT32", "top_k", 0, aliases=("top_k",)),
    Argument("runtime_top_p", "FP32", "top_p", 0, 1, ("top_p",)),
    Argument("temperature", "FP32", "temperature", 0),
    Argument("repetition_penalty", "FP32", "repetition_penalty", 1e-4),
    Argument("presence_penalty", "FP32", "presence_penalty", -1e4),
    Argument("len_penalty", "FP32", "length_penalty", -1e4, aliases=("length_penalty",)),
    Argument("early_stopping", "BOOL", "early_stopping", 0, 1),
    Argument("random_seed", "UINT64", "seed", 0, aliases=("seed",)),
    Argument(NUM_RETURN, "UINT32", NUM_RETURN, 1, _MOST_BEAMS, ("n",)),
    Argument(FORCED, "UINT32", FORCED, 0, aliases=("forced_bos_token_id",)),
    Argument(SAMPLES, "BOOL", SAMPLES, 0, 1),
    Argument("no_repeat_ngram_size", "UINT32", "no_repeat_ngram_size", 0),
    Argument("min_p", "FP32", "min_p", 0, 1),
)
# Settings that are not inputs, only parameters of a request and defaults in the config.
PARAMETERS: Final = (
    Argument("max_length", "UINT32", TOTAL, 1),
    Argument("min_total_length", "UINT32", LEAST_TOTAL, 0),
    Argument("encoder_no_repeat_ngram_size", "UINT32", "encoder_no_repeat_ngram_size", 0),
    Argument("encoder_repetition_penalty", "FP32", "encoder_repetition_penalty", 1e-4),
    Argument("typical_p", "FP32", "typical_p", 1e-4, 1),
    Argument("top_h", "FP32", "top_h", 0, 1),
    Argument("epsilon_cutoff", "FP32", "epsilon_cutoff", 0, 1),
    Argument("eta_cutoff", "FP32", "eta_cutoff", 0, 1),
    Argument("frequency_penalty", "FP32", "frequency_penalty", -1e4),
    Argument("output_presence_penalty", "FP32", "output_presence_penalty", -1e4),
    Argument("ignore_eos", "BOOL", IGNORES_END, 0, 1),
    Argument("renormalize_logits", "BOOL", "renormalize_logits", 0, 1),
    Argument("remove_invalid_values", "BOOL", "remove_invalid_values", 0, 1),
)
SETTINGS: Final = (*ARGUMENTS, *PARAMETERS)
# Fields that compare the generated text with the source text, and their values that have no effect.
OF_SOURCE_TEXT: Final = {"encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0}
_RULES: Final = frozenset(each.name for each in fields(TransformersRules))
_DECODING: Final = frozenset(each.name for each in fields(Decoding))
# The defaults in transformers: beam scores are per token, which is unused without beams, and one sequence is returned.
BASE: Final[Values] = {"length_penalty": 1.0, NUM_RETURN: 1}
_TOP_K: Final = 50  # the default in transformers for sampling
# Parameters that are not for the model: Triton's own and the streaming flag of other interfaces. Neither are forwarded
# headers, whose names contain hyphens.
_PASSED_OVER: Final = ("id", "stream")


def default_values(parameters: Mapping[str, str]) -> Values:
    """Return the defaults that a config's parameters set; raise INVALID_ARG naming every invalid one."""
    values, problems = dict(BASE), []
    for argument in SETTINGS:
        text = parameters.get(argument.name)
        if text is None:
            continue
        try:
            values |= _read(argument, text)
        except ValueError as error:
            problems.append(f"parameter '{argument.name}' is '{text}': {error}")
    if problems:
        raise invalid("; ".join(problems))
    return values


def parameter_arrays(parameters: str) -> dict[str, np.ndarray]:
    """Return a request's parameters (a JSON object) as arrays by name, except those that are not for the model."""
    return {
        name: np.array(value)
        for name, value in json.loads(parameters or "{}").items()
        if name not in _PASSED_OVER and "-" not in name and not name.startswith("triton_")
    }


def check_names(names: Sequence[str], others: Sequence[str]) -> None:
    """Raise INVALID_ARG naming what is neither a setting nor in `others`, with the nearest known one; of many names,
    the first `MOST_UNKNOWN`."""
    known = [*(name for argument in SETTINGS for name in argument.names), *STOP_NAMES, *GRAMMAR_NAMES, *LISTS, *others]
    problems = []
    for name in [name for name in names if name not in known][:MOST_UNKNOWN]:
        near = get_close_matches(shown(name), known, n=1)
        advice = f"did you mean '{near[0]}'?" if near else f"known ones are {', '.join(sorted(set(known)))}"
        problems.append(f"parameter '{shown(name)}' is unknown: {advice}")
    if problems:
        raise invalid("; ".join(problems))


def given_name(inputs: Mapping[str, Any], field: str) -> str:
    """Return the name under which a request sets a field, "" if it does not set it."""
    return next((name for each in SETTINGS if each.field == field for name in each.names if name in inputs), "")


def read_values(inputs: Mapping[str, np.ndarray], rows: int, defaults: Values) -> list[Values]:
    """Return the values for each row: those in the request override `defaults`.

    Raise INVALID_ARG naming every input that does not have one value per row or has a value out of range.
    """
    given: list[Values] = [{} for _ in range(rows)]
    problems = []
    for argument in SETTINGS:
        names = [name for name in argument.names if name in inputs]
        if not names:
            continue
        if len(names) > 1:
            problems.append(f"'{names[0]}' and '{names[1]}' are the same setting: set only one of them")
            continue
        array = inputs[names[0]]
        if array.size not in (1, rows):
            problems.append(f"input '{names[0]}' has {array.size} values for {rows} rows, expected one per row")
            continue
        try:
            column = [_read(argument, each) for each in array.reshape(-1).tolist()]
        except ValueError as error:
            problems.append(f"input '{names[0]}': {error}")
            continue
        for row, values in enumerate(given):
            values.update(column[row if len(column) == rows else 0])
    if problems:
        raise invalid("; ".join(problems))
    return [_combined(values, defaults) for values in given]


def stop_texts(inputs: Mapping[str, np.ndarray], rows: int) -> list[tuple[str, ...]] | None:
    """Return the stop texts of each row, None if the request has none."""
    array = next((inputs[name] for name in STOP_NAMES if name in inputs), None)
    if array is None:
        return None
    table = array.reshape(rows, -1) if rows and array.ndim > 1 and len(array) == rows else [array.reshape(-1)] * rows
    try:
        texts = [tuple(filter(None, (_text(each) for each in row.tolist()))) for row in table]
    except UnicodeDecodeError as error:
        raise invalid(f"input '{STOP}' is not valid UTF-8: {error}") from error
    if len(table[0] if len(table) else ()) > MOST_STOPS:  # each is looked for after every token
        raise invalid(f"input '{STOP}' has {len(table[0])} texts for a row, but at most {MOST_STOPS} are allowed")
    if any(len(text) > LONGEST_STOP for row in texts for text in row):
        raise invalid(f"a text of input '{STOP}' has more than {LONGEST_STOP} characters")
    return texts


def decoding_of(
    values: Values,
    *,
    most_tokens: int,
    start_id: int,
    end_ids: Sequence[int],
    rules: TransformersRules = TransformersRules(),  # noqa: B008  a frozen value
) -> Decoding:
    """Return the `Decoding` of a row: `values` override `rules`, and the length is limited to `most_tokens`, the number
    that its positions allow."""
    known: dict[str, Any] = {name: value for name, value in values.items() if name in _DECODING}
    changed: dict[str, Any] = {name: value for name, value in values.items() if name in _RULES}
    if not _draws(values):  # transformers applies the temperature and the filters only when it samples
        known |= {"temperature": 1.0, "top_k": 0, "top_p": 0.0}
        changed |= {"top_h": 0.0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
    return Decoding(
        **known | {"max_tokens": min(int(values["max_tokens"]), most_tokens)},
        start_id=start_id,
        end_id=end_ids[0] if end_ids else -1,
        search=Search.HUGGING_FACE if values.get("beam_width", 1) > 1 else Search.SAMPLE,
        forced=(int(values[FORCED]),) if FORCED in values else (),
        stop_words=tuple((end,) for end in end_ids[1:]),
        rules=replace(rules, end_ids=tuple(end_ids), **changed),
    )


def _combined(given: Values, defaults: Values) -> Values:
    """Override the defaults with a request's values: requesting beams disables default sampling, and vice versa."""
    beams = given.get("beam_width", 1) > 1
    greedy = given.get(SAMPLES) is False or given.get("temperature") == 0
    samples = not greedy and (given.get("top_k", 0) > 1 or given.get("top_p", 0) > 0 or bool(given.get(SAMPLES)))
    if beams and samples:
        raise invalid("beam_width above 1 cannot be combined with runtime_top_k or runtime_top_p")
    kept = dict(defaults)
    if beams:
        kept |= {"top_k": 0, "top_p": 0.0}
    if samples:
        kept["beam_width"] = 1
    if given.get(SAMPLES):
        kept.setdefault("top_k", _TOP_K)
    elif "top_k" in given or "top_p" in given:  # setting one of the two disables the default of the other
        kept |= {"top_k": 0, "top_p": 0.0}
    for one, other in (("max_tokens", TOTAL), ("min_tokens", LEAST_TOTAL)):
        if one in given or other in given:
            kept.pop(one, None)
            kept.pop(other, None)
    values = kept | given
    if greedy:
        values |= {"top_k": 0, "top_p": 0.0, "temperature": 1.0}
    elif given.get(SAMPLES) and not values["top_k"] and not values.get("top_p"):
        values["top_p"] = 1.0  # from the whole vocabulary
    if NUM_RETURN not in given and not _draws(values):  # a default applies only to the search that it was set for
        values[NUM_RETURN] = min(values[NUM_RETURN], max(1, values.get("beam_width", 1)))
    _check_count(values)
    return values


def _draws(values: Values) -> bool:
    beams = values.get("beam_width", 1) > 1
    return not beams and (values.get("top_k", 0) > 1 or values.get("top_p", 0) > 0)


def _check_count(values: Values) -> None:
    if not _draws(values) and values.get(NUM_RETURN, 1) > values.get("beam_width", 1):
        raise invalid(
            f"num_return_sequences is {values[NUM_RETURN]:g}, but beam_width is only "
            f"{values.get('beam_width', 1):g}: each beam returns one sequence"
        )


def _read(argument: Argument, value: Any) -> Values:
    """Return the fields that a value sets; raise ValueError with the limits if it is out of range."""
    if argument.field == "early_stopping":
        text = _text(value)
        never = text == NEVER
        return {"never_early": never, "early_stopping": False if never else _allowed(argument, value)}
    return {argument.field: _allowed(argument, value)}


def _allowed(argument: Argument, given: Any) -> float:
    """Return the value in the type that `Decoding` expects; raise ValueError with the limits if it is out of range."""
    words = {"true": 1.0, "false": 0.0} if argument.datatype == "BOOL" else {}
    value = words[given.lower()] if isinstance(given, str) and given.lower() in words else float(given)
    if not (argument.least <= value <= argument.most) or math.isinf(value):  # NaN is refused too
        most = f" to {argument.most:g}" if math.isfinite(argument.most) else " or more"
        raise ValueError(f"{value:g} is out of range, expected {argument.least:g}{most}")
    if argument.datatype == "BOOL":
        return bool(value)
    if argument.datatype == "FP32":
        return value
    if value != int(value):
        raise ValueError(f"{value:g} is not a whole number")
    return int(given) if isinstance(given, int) else int(value)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
