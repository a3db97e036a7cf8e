"""The settings of tracing, global and per model, and their changes over the protocol. Pure.

A model's setting consists of what was specified for it and, for the rest, of the global one's; the global one falls
back to the options of the start. Source: Triton's extension_trace.md, tracer.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count as counter
from typing import Any, Final

from slipway.config.trace_settings import LEVELS, TENSORS, TIMESTAMPS, TRITON, TraceOptions
from slipway.errors import SlipwayError, invalid, shown, unsupported
from slipway.nearest import nearest_or_all

Given = Mapping[str, Sequence[str]]  # as the protocol has them: no value clears a setting

OFF: Final = "OFF"
_INT32: Final = 2**31 - 1
_UINT32: Final = 2**32 - 1
_CHANGEABLE: Final = {
    "trace_level": "levels",
    "trace_rate": "rate",
    "trace_count": "count",
    "log_frequency": "log_frequency",
}
_FIELDS: Final = tuple(_CHANGEABLE.values())  # in the order of `TraceSetting`
_FILE: Final = "trace file location can not be updated through network protocol"


@dataclass(slots=True)
class TraceSetting:
    """One setting, with its state: `count` is what remains of it, `seen` how many requests were considered, `began` and
    `completed` count its traces. Each setting has another `number`."""

    levels: tuple[str, ...]
    rate: int
    count: int
    log_frequency: int
    number: int = 0
    specified: frozenset[str] = frozenset()
    seen: int = 0
    began: int = 0
    completed: int = 0
    with_tensors: bool = field(init=False)
    with_times: bool = field(init=False)
    traces_all: bool = field(init=False)

    def __post_init__(self) -> None:
        self.with_tensors = TENSORS in self.levels
        self.with_times = TIMESTAMPS in self.levels
        self.traces_all = self.rate == 1 and self.count < 0 and bool(self.levels)

    def invalid_reason(self, options: TraceOptions) -> str:
        """Return why nothing is traced with this setting, "" if requests are."""
        if not self.levels:
            return "tracing is disabled"
        if self.rate == 0:
            return "sample rate must be non-zero"
        return "" if options.possible else "trace file name is not given"

    def sample(self, forced: bool) -> bool:
        """Return whether the next request is traced; a forced one is, whatever the rate and the count."""
        if not (self.rate and self.count):
            return forced
        self.seen += 1
        if self.seen % self.rate:
            return forced
        if self.count > 0:
            self.count -= 1
        return True


@dataclass(frozen=True, slots=True)
class Changes:
    """New values by field, and the fields to clear."""

    values: Mapping[str, Any] = field(default_factory=dict)
    cleared: frozenset[str] = frozenset()


class TraceSettings:
    """All settings of a server. `active` says whether any request may be traced; if not, none may be sampled."""

    def __init__(self, options: TraceOptions) -> None:
        self.options = options
        self._numbers = counter(1)
        self._default = TraceSetting(options.levels, options.rate, options.count, options.log_frequency)
        self._global = replace(self._default)
        self._models: dict[str, TraceSetting] = {}
        self.active = False
        self._settle()

    def of(self, model: str) -> TraceSetting:
        """Return the setting of a model, the global one if the model does not have one ("" never has)."""
        return self._models.get(model, self._global)

    def sample(self, model: str, *, forced: bool = False) -> TraceSetting | None:
        """Return the setting under which the next request of `model` is traced; None if it is not."""
        setting = self._models.get(model, self._global) if self._models else self._global
        if not setting.traces_all and not (setting.levels and setting.sample(forced)):
            return None
        setting.began += 1
        return setting

    def update(self, model: str, changes: Changes) -> None:
        """Change the setting of a model, or the global one (""); raise INVALID_ARG if nothing could be traced then."""
        changed = self._global
        models = dict(self._models)
        if model:
            models[model] = self._checked(self._changed(models.get(model), changed, changes))
        else:
            changed = self._checked(self._changed(changed, self._default, changes))
            models = {name: self._changed(setting, changed, Changes()) for name, setting in models.items()}
        self._global = changed
        self._models = {name: setting for name, setting in models.items() if setting.specified}
        self._settle()

    def shown(self, model: str) -> dict[str, tuple[str, ...]]:
        """Return a setting as the protocol shows it."""
        setting, options = self.of(model), self.options
        found = {
            "trace_level": setting.levels or (OFF,),
            "trace_rate": (str(setting.rate),),
            "trace_count": (str(setting.count),),
        }
        if options.mode == TRITON:
            found |= {"log_frequency": (str(setting.log_frequency),), "trace_file": (options.file,)}
        found["trace_mode"] = (options.mode,)
        return found | {name: (value,) for name, value in options.shown}

    def _changed(self, current: TraceSetting | None, fallback: TraceSetting, changes: Changes) -> TraceSetting:
        before = current.specified if current is not None else frozenset()
        specified = (before | changes.values.keys()) - changes.cleared
        values = {name: getattr(current, name) for name in before} | dict(changes.values)
        levels, rate, count, log_frequency = (
            values[name] if name in specified else getattr(fallback, name) for name in _FIELDS
        )
        return TraceSetting(levels, rate, count, log_frequency, next(self._numbers), frozenset(specified))

    def _checked(self, setting: TraceSetting) -> TraceSetting:
        """Return a setting that is off or with which something is traced; raise INVALID_ARG for any other."""
        reason = setting.invalid_reason(self.options)
        if setting.levels and (reason or not setting.count):
            raise invalid(f"Attempting to set invalid trace setting :{reason}")
        return setting

    def _settle(self) -> None:
        settings = (self._global, *self._models.values())
        self.active = self.options.possible and any(setting.levels for setting in settings)


def read_changes(given: Given, current: Given) -> Changes:
    """Return the changes that a client wants; raise `SlipwayError` with Triton's texts.

    `current` are the settings as shown: what cannot be changed may be sent as it is, except the file, as in Triton.
    """
    if "trace_file" in given:
        raise unsupported(_FILE)
    values: dict[str, Any] = {}
    cleared = set()
    for name, texts in given.items():
        field_name = _CHANGEABLE.get(name)
        if field_name is None:
            _refuse_unless_same(name, texts, current)
        elif not texts:
            cleared.add(field_name)
        elif name == "trace_level":
            values[field_name] = _levels(texts)
        elif len(texts) > 1:
            raise invalid(f"expect only 1 value for '{name}'")
        else:
            values[field_name] = _number(name, texts[0])
    return Changes(values, frozenset(cleared))


def _refuse_unless_same(name: str, texts: Sequence[str], current: Given) -> None:
    if name not in current:
        hint = nearest_or_all(name, dict.fromkeys((*_CHANGEABLE, *current)))
        raise invalid(f"unknown trace setting '{shown(name)}'{hint}")
    if tuple(texts) != tuple(current[name]):
        raise unsupported(f"'{name}' can not be updated through network protocol")


def _levels(texts: Sequence[str]) -> tuple[str, ...]:
    for text in texts:
        if text not in (OFF, *LEVELS):
            raise invalid(f"invalid trace level '{shown(text)}', expected {OFF}, {' or '.join(LEVELS)}")
    if OFF in texts:
        if len(texts) > 1:
            raise invalid("Expect only one trace level 'OFF' is specified")
        return ()
    return tuple(level for level in LEVELS if level in texts)


def _number(name: str, text: str) -> int:
    low, named_high = (-1, _INT32) if name == "trace_count" else (0, _UINT32)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise invalid(f"Unable to parse '{name}', got: {shown(text)}")
    value = int(text) if len(text) < 20 else _UINT32 + 1
    if name == "trace_count" and -_INT32 <= value < low:
        raise invalid(f"Unable to parse '{name}'. Expecting value >= {low}, got: {shown(text)}")
    if not low <= value <= _INT32:
        raise _out_of_range(name, low, named_high, text)
    return value


def _out_of_range(name: str, low: int, high: int, text: str) -> SlipwayError:
    return invalid(f"Unable to parse '{name}', value is out of range [ {low}, {high} ], got: {shown(text)}")
