"""Flags that belong to a model and not to the command, such as `--max-new-tokens 20`: split off the command line, then
held against what the server reports about the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import numpy as np

from slipway.cli.description import InputTensor, ModelDescription
from slipway.cli.parser import CommandParser
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, invalid
from slipway.runtime.arguments import SAMPLES, SETTINGS, STOP, STOP_NAMES
from slipway.runtime.grammars.source import GRAMMARS
from slipway.runtime.token_lists import LISTS

_PREFIX: Final = "--"
_CLOSE: Final = 0.8  # of 1; a flag of the command may be proposed for a typing mistake only
_WORDS: Final = {"true": True, "1": True, "false": False, "0": False}
_SWITCHES: Final = frozenset(name for each in SETTINGS if each.datatype == "BOOL" for name in each.names)
_EXPECTED: Final = {  # by the kind of the datatype's numpy dtype
    "b": "true or false",
    "i": "a whole number",
    "u": "a whole number of 0 or more",
}
_LARGEST_PARAMETER: Final = 2**63 - 1  # the protocol sends whole numbers as int64


@dataclass(frozen=True, slots=True)
class GivenFlag:
    """A flag as it was written; `text` is None if it had no value."""

    word: str
    text: str | None

    @property
    def name(self) -> str:
        """The name of the parameter."""
        return self.word.removeprefix(_PREFIX).replace("-", "_")


@dataclass(frozen=True, slots=True)
class ModelFlag:
    """A flag that a model accepts: its names, without dashes in front, and the datatype of its values. `is_input` says
    that it is sent as the input of the first name, else as a parameter of the request."""

    names: tuple[str, ...]
    datatype: str
    is_input: bool

    @property
    def words(self) -> list[str]:
        """The names as they are written on the command line."""
        return [_PREFIX + name.replace("_", "-") for name in self.names]


def split_flags(words: Sequence[str], parser: CommandParser) -> tuple[list[str], list[GivenFlag]]:
    """Return the words of the command itself, and the flags that it does not know, with their values."""
    rest: list[str] = []
    flags: list[GivenFlag] = []
    given = list(words)
    while given:
        word = given.pop(0)
        name, equals, value = word.partition("=")
        if word == _PREFIX:
            return [*rest, word, *given], flags
        if not name.startswith(_PREFIX) or parser.knows(name):
            rest.append(word)
        elif equals:
            flags.append(GivenFlag(name, value))
        else:
            flags.append(
                GivenFlag(name, given.pop(0) if given and _is_value(GivenFlag(name, None), given[0]) else None)
            )
    return rest, flags


def _is_value(flag: GivenFlag, word: str) -> bool:
    if flag.name in _SWITCHES:
        return word.lower() in _WORDS
    return not word.startswith(_PREFIX)


def flags_of(model: ModelDescription) -> list[ModelFlag]:
    """Return the flags that a model accepts: its optional inputs; and the decoding parameters, under all their names,
    if it is a model that `slipway convert` wrote and that generates text."""
    settings = SETTINGS if SAMPLES in model.inputs else ()
    decoding = [ModelFlag(each.names, each.datatype, each.name in model.inputs) for each in settings]
    if settings:
        decoding.append(ModelFlag(STOP_NAMES, "BYTES", STOP in model.inputs))
        decoding += [ModelFlag(each.names, each.datatype, is_input=False) for each in GRAMMARS]
        decoding += [ModelFlag((name,), "BYTES", is_input=False) for name in LISTS]
    known = {name for each in decoding for name in each.names}
    others = [name for name in model.inputs if name in model.optional and name not in known]
    return [*decoding, *(ModelFlag((name,), model.inputs[name], is_input=True) for name in others)]


def apply_flags(
    flags: Sequence[GivenFlag], model: ModelDescription, parser: CommandParser, rows: int
) -> tuple[dict[str, InputTensor], dict[str, Any]]:
    """Return the inputs and the request parameters that the flags set for a request of `rows` rows; raise INVALID_ARG
    naming the nearest flag of the model or the command if one is unknown."""
    accepted = {name.replace("-", "_"): each for each in flags_of(model) for name in each.names}
    values: dict[tuple[str, ...], list[Any]] = {}
    for flag in flags:
        if flag.name not in accepted:
            raise _unknown(flag, model, parser)
        accepting = accepted[flag.name]
        values.setdefault(accepting.names, []).append(_value(flag, accepting))
    inputs, parameters = {}, {}
    for flag in flags:
        accepting = accepted[flag.name]
        found = values[accepting.names]
        if accepting.is_input:
            inputs[accepting.names[0]] = _tensor(accepting, found, model, rows)
        elif len(found) > 1:
            raise invalid(f"{flag.word} is given {len(found)} times; model '{model.name}' accepts one value")
        else:
            parameters[accepting.names[0]] = found[0]
    return inputs, parameters


def help_lines(model: ModelDescription) -> Iterator[str]:
    """Yield a line for each flag that the model accepts."""
    for each in flags_of(model):
        first, *others = each.words
        also = f" (or {', '.join(others)})" if others else ""
        yield f"  {first} {each.datatype}{also}"


def _unknown(flag: GivenFlag, model: ModelDescription, parser: CommandParser) -> SlipwayError:
    words = [word for each in flags_of(model) for word in each.words]
    near = get_close_matches(flag.word, words, n=1)
    near = get_close_matches(flag.word, [*near, *parser.long_options()], n=1, cutoff=_CLOSE) or near
    if near:
        advice = f"did you mean {near[0]}?"
    else:
        advice = f"it accepts {', '.join(words)}" if words else "it does not accept any"
    return invalid(f"model '{model.name}' does not have a parameter {flag.word}: {advice}")


def _value(flag: GivenFlag, accepting: ModelFlag) -> Any:
    datatype = accepting.datatype
    if flag.text is None:
        if datatype == "BOOL":
            return True
        raise invalid(f"{flag.word} needs a value ({datatype})")
    try:
        if datatype == "BYTES":
            return flag.text
        if datatype == "BOOL":
            return _WORDS[flag.text.lower()]
        return _number(flag.text, accepting)
    except (ValueError, KeyError):
        expected = _EXPECTED.get(BY_NAME[datatype].numpy.kind, "a number")
        raise invalid(f"{flag.word} is '{flag.text}', expected {expected}") from None


def _number(text: str, flag: ModelFlag) -> float:
    """Return the value; raise ValueError if it is of another kind, INVALID_ARG if it is too small or too large."""
    dtype = BY_NAME[flag.datatype].numpy
    if dtype.kind not in "iu":
        return float(text)
    value, limits = int(text), np.iinfo(dtype)
    if value < 0 and dtype.kind == "u":
        raise ValueError(text)
    if not limits.min <= value <= limits.max:
        raise invalid(f"{flag.words[0]} is {value}, which is not a value of {flag.datatype}")
    if not flag.is_input and value > _LARGEST_PARAMETER:
        raise invalid(f"{flag.words[0]} is {value}; as a parameter it may be at most {_LARGEST_PARAMETER}")
    return value


def _tensor(flag: ModelFlag, values: Sequence[Any], model: ModelDescription, rows: int) -> InputTensor:
    """Return the values as an input, repeated for each row of a batch."""
    name = flag.names[0]
    datatype, sizes = model.inputs[name], model.shapes[name]
    given = [value.encode() if isinstance(value, str) else value for value in values]
    array = np.array(given, BY_NAME[datatype].numpy)
    if len(sizes) < 2:
        return InputTensor(datatype, array)
    return InputTensor(datatype, np.tile(array.reshape(*([1] * (len(sizes) - 1)), -1), (rows, *[1] * (len(sizes) - 1))))
