"""How a tensor2tensor model is decoded: the settings of `--decode_hparams`, which an export keeps in decoding.json.

The names and defaults are tensor2tensor's (`utils/decoding.py`). A setting is honoured, has one value that can be
honoured here, or changes nothing in a translation.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Final

from slipway.checkpoints.tensor2tensor.hparams import LARGEST_FLOAT
from slipway.errors import invalid, shown, unsupported
from slipway.foreign_json import parse_foreign

MOST_BEAMS: Final = 64
BATCH_OF_FILE: Final = 32  # tensor2tensor's batch size for files if `batch_size` is 0

_LOG: Final = logging.getLogger("slipway.checkpoints")
# Settings of other searches and of models of other kinds, with the only value that a translation has.
ONLY_VALUES: Final[Mapping[str, Any]] = {
    "eos_penalty": 0.0,
    "block_size": 0,
    "guess_and_check_top_k": 0,
    "guess_and_check_epsilon": -1,
    "insertion_parallel": False,
    "min_length_ratio": 0.0,
    "num_decodes": 1,
    "identity_output": False,
    "force_decode_length": False,
    "multiproblem_task_id": -1,
}
# Images, summaries, and files that are named by flags here.
WITHOUT_EFFECT: Final = frozenset(
    "save_images log_results decode_to_file decode_reference decode_in_memory decode_timeout_mins summaries_log_dir "
    "display_decoded_images frames_per_second skip_eos_postprocess border_percent max_display_outputs "
    "max_display_decodes vgg_ckpt_path mlperf_decode_step mlperf_threshold mlperf_success".split()
)
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class DecodeHParams:
    """The settings, under tensor2tensor's names. A sequence gets at most its input's padded length plus `extra_length`
    tokens; a `max_input_size` above 0 cuts inputs to so many tokens, with the end token."""

    beam_size: int = 4
    alpha: float = 0.6
    extra_length: int = 100
    return_beams: bool = False
    write_beam_scores: bool = False
    batch_size: int = 0
    max_input_size: int = -1
    num_samples: int = -1
    delimiter: str = "\n"
    shards: int = 1
    shard_id: int = 0
    shards_start_offset: int = 0
    shard_google_format: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}, expected {least} to {most}"
            for name, least, most in (("beam_size", 1, MOST_BEAMS), ("shard_id", 0, max(self.shards, 1) - 1))
            if not least <= getattr(self, name) <= most
        ]
        at_least = {"extra_length": 0, "batch_size": 0, "max_input_size": -1, "num_samples": -1, "shards": 1}
        problems += [
            f"{name} is {getattr(self, name)}, expected {least} or more"
            for name, least in (*at_least.items(), ("shards_start_offset", 0))
            if getattr(self, name) < least
        ]
        if not math.isfinite(self.alpha):
            problems.append(f"alpha is {self.alpha}, expected a finite number")
        if not self.delimiter:
            problems.append("delimiter is empty")
        if problems:
            raise invalid(f"decoding: {'; '.join(problems)}")


_TYPES: Final = {each.name: str(each.type) for each in fields(DecodeHParams)}


def override_decoding(settings: DecodeHParams, text: str) -> DecodeHParams:
    """Return `settings` with the values of "beam_size=4,alpha=0.6" (`--decode_hparams`).

    Raise INVALID_ARG naming every unknown setting, with the nearest known one, and every value of the wrong type;
    UNSUPPORTED for a value that cannot be honoured.
    """
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):  # a delimiter may be a space
        name, sign, value = part.partition("=")
        given[name.strip()] = value if sign else None
    return _read(settings, given, _parse, "--decode_hparams")


def decoding_to_json(settings: DecodeHParams, **facts: Any) -> str:
    """Return the text of decoding.json: the settings, and the `facts` that an export adds, as one object."""
    return json.dumps({**asdict(settings), **facts}, indent=2, ensure_ascii=False) + "\n"


def decoding_from_json(
    text: str | bytes, source: str, facts: Iterable[str] = ()
) -> tuple[DecodeHParams, dict[str, Any]]:
    """Return the settings in a decoding.json, and the values of the keys `facts` that it has."""
    values = parse_foreign(text, f"{source}: not valid JSON")
    if not isinstance(values, dict):
        raise invalid(f"{source}: expected a JSON object")
    found = {name: values.pop(name) for name in facts if name in values}
    return _read(DecodeHParams(), values, _fitting, source), found


def _read(
    settings: DecodeHParams, given: Mapping[str, Any], read: Callable[[Any, str], Any], source: str
) -> DecodeHParams:
    changes: dict[str, Any] = {}
    problems, impossible, ignored = [], [], []
    for name, value in given.items():
        if name in WITHOUT_EFFECT:
            ignored.append(name)
            continue
        kind = _TYPES.get(name) or (type(ONLY_VALUES[name]).__name__ if name in ONLY_VALUES else "")
        if not kind:
            problems.append(f"'{shown(name)}' is unknown{_nearest(name)}")
            continue
        try:
            found = read(value, kind)
        except ValueError:
            problems.append(f"'{name}' is {shown(repr(value))}, expected {_KINDS[kind]}")
            continue
        if name in _TYPES:
            changes[name] = found
        elif found != ONLY_VALUES[name]:
            impossible.append(f"'{name}' is {found}, but only {ONLY_VALUES[name]} is supported")
    if problems:
        raise invalid(f"{source}: {'; '.join(problems)}")
    if impossible:
        raise unsupported(f"{source}: {'; '.join(impossible)}")
    if ignored:
        _LOG.warning("%s: ignored, without effect here: %s", source, ", ".join(ignored))
    return replace(settings, **changes)


_KINDS: Final = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def _parse(value: Any, kind: str) -> Any:
    """Return a value on a command line in the type `kind`; raise ValueError if it is not one."""
    if value is None:
        raise ValueError(kind)
    if kind == "bool":
        if value.strip().lower() not in _TRUTH:
            raise ValueError(value)
        return _TRUTH[value.strip().lower()]
    if kind == "str":
        return value.replace("\\n", "\n").replace("\\t", "\t")
    return int(value) if kind == "int" else float(value)


def _fitting(value: Any, kind: str) -> Any:
    """Return a JSON value if it is of the type `kind`; raise ValueError if it is not."""
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_FLOAT),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
    }
    if not fits[kind]:
        raise ValueError(value)
    try:
        return float(value) if kind == "float" else value
    except OverflowError:  # a whole number of hundreds of digits
        raise ValueError(value) from None


def _nearest(name: str) -> str:
    close = get_close_matches(name, [*_TYPES, *ONLY_VALUES, *WITHOUT_EFFECT], 1)
    return f": did you mean '{close[0]}'?" if close else f": known settings are {', '.join(_TYPES)}"
