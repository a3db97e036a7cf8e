"""The runtime arguments of a request: one value per row, checked by a table of rules, all problems reported at once.

Source: FasterTransformer `docs/t5_guide.md`, `DynamicDecodeLayer`, `TopPSamplingLayer`. Values that are clipped there
are clipped here, with a warning that is logged once; values that would spoil a computation (NaN) are refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from slipway.core.request import InferRequest
from slipway.errors import SlipwayError, invalid

_LOG: Final = logging.getLogger("slipway.fastertransformer")
MAX_TOP_K: Final = 1024
MAX_LISTED: Final = 8  # how many problems an error lists


@dataclass(frozen=True, slots=True)
class CheckedValue:
    """The result of a rule: the value to use, and the reason why it was refused or changed."""

    value: float
    problem: str = ""
    warning: str = ""


Rule = Callable[[float], CheckedValue]


def _finite(value: float) -> CheckedValue:
    return CheckedValue(value) if math.isfinite(value) else CheckedValue(value, problem="expected a finite number")


def _between(low: float, high: float) -> Rule:
    def rule(value: float) -> CheckedValue:
        fits = low <= value <= high  # false for NaN
        return CheckedValue(value) if fits else CheckedValue(value, problem=f"expected {low:g} to {high:g}")

    return rule


def _above(low: float) -> Rule:
    def rule(value: float) -> CheckedValue:
        fits = math.isfinite(value) and value > low
        return CheckedValue(value) if fits else CheckedValue(value, problem=f"expected a finite number above {low:g}")

    return rule


def _clipped(low: float, high: float) -> Rule:
    def rule(value: float) -> CheckedValue:
        if math.isnan(value):
            return CheckedValue(value, problem=f"expected {low:g} to {high:g}")
        near = min(max(value, low), high)
        return CheckedValue(near, warning="" if near == value else f"is clipped to {low:g} to {high:g}")

    return rule


def _share(otherwise: float) -> Rule:
    """Return the rule that replaces values outside (0, 1] with `otherwise`."""

    def rule(value: float) -> CheckedValue:
        if math.isnan(value):
            return CheckedValue(value, problem="expected a number in (0, 1]")
        if 0.0 < value <= 1.0:
            return CheckedValue(value)
        return CheckedValue(otherwise, warning=f"is outside (0, 1], {otherwise:g} is used")

    return rule


_LARGEST: Final = 3e38  # of float32

RULES: Final[Mapping[str, Rule]] = {
    "runtime_top_k": _clipped(0, MAX_TOP_K),
    "runtime_top_p": _clipped(0.0, 1.0),
    "temperature": _between(0.0, _LARGEST),
    "repetition_penalty": _above(0.0),
    "presence_penalty": _finite,
    "len_penalty": _finite,
    "beam_search_diversity_rate": _finite,
    "min_length": _between(0, 2**31 - 1),
    "top_p_decay": _share(1.0),
    "top_p_min": _share(0.5),
}


@dataclass(slots=True)
class Arguments:
    """The arguments of one request with `rows` rows. `check` raises the problems that were collected."""

    request: InferRequest
    rows: int
    warned: set[str]  # shared by all requests of a model: each warning is logged once
    problems: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.request.inputs

    def array(self, name: str) -> np.ndarray | None:
        """Return an input as the client sent it, None if it is absent."""
        tensor = self.request.inputs.get(name)
        return None if tensor is None else tensor.array

    def column(self, name: str, default: float) -> list[float]:
        """Return one checked value per row; `default` for all if the argument is absent."""
        values = self._values(name)
        if values is None:
            return [default] * self.rows
        rule = RULES.get(name)
        return values if rule is None else [self._ruled(name, row, value, rule) for row, value in enumerate(values)]

    def whole(self, name: str, default: int) -> list[int]:
        """Return one whole number per row."""
        return [int(value) for value in self.column(name, default)]

    def first(self, name: str, default: int) -> int:
        """Return the value of row 0, which applies to the whole request."""
        values = self._values(name)
        return default if not values else int(values[0])

    def refuse(self, name: str, problem: str, row: int | None = None) -> None:
        """Record a problem with an argument."""
        where = "" if row is None else f" of row {row}"
        self.problems.append(f"'{name}'{where} {problem}")

    def too_large(self, each: int, made_of: str, most: int) -> str:
        """Return why an answer of `each` elements per row would be too large, "" if it would not."""
        elements = self.rows * each
        if elements <= most:
            return ""
        return f"{self.rows} rows of {made_of} make {elements} output elements, at most {most} are allowed"

    def check_tokens(self, name: str, beams: int, width: int, most: int) -> None:
        """Record a problem if the answer, rows of beams of tokens, would have more than `most` elements."""
        problem = self.too_large(beams * width, f"{beams} beams of {width} tokens", most)
        if problem:
            self.refuse(name, f"is too large: {problem}")

    def check(self) -> None:
        """Raise INVALID_ARG with all problems found so far."""
        if self.problems:
            raise self.error()

    def error(self) -> SlipwayError:
        """Return the error for the problems."""
        shown = "; ".join(self.problems[:MAX_LISTED])
        more = len(self.problems) - MAX_LISTED
        return invalid(f"{self.request.log_prefix}{shown}" + (f"; and {more} more" if more > 0 else ""))

    def _values(self, name: str) -> list[float] | None:
        array = self.array(name)
        if array is None:
            return None
        values: list[float] = array.ravel().tolist()
        if len(values) == 1 and self.rows > 1:
            return values * self.rows
        if len(values) != self.rows:
            self.refuse(name, f"has {len(values)} values for {self.rows} rows")
            return [0] * self.rows
        return values

    def _ruled(self, name: str, row: int, value: float, rule: Rule) -> float:
        ruling = rule(value)
        if ruling.problem:
            self.refuse(name, f"is {value:g}, {ruling.problem}", row)
        elif ruling.warning and name not in self.warned:
            self.warned.add(name)
            _LOG.warning(
                "'%s' of a request for model '%s' is %g and %s", name, self.request.model_name, value, ruling.warning
            )
        return ruling.value
