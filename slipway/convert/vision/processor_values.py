"""The typed values of a preprocessor_config.json. Every error begins with the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeGuard

from slipway.convert.directory import whole_number
from slipway.errors import SlipwayError, invalid, shown

MOST_SIDE: Final = 1 << 13  # pixels of a network's input; the largest known ones have 4096
_LARGEST: Final = 1e30
_SIZES: Final = (
    {"height", "width"},
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"longest_edge"},
    {"max_height", "max_width"},
)
_SIZE_KEYS: Final = sorted(set().union(*_SIZES))
_RESAMPLE: Final = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers


@dataclass(frozen=True, slots=True)
class ProcessorValues:
    """The settings of one processor, defaults included; `file` is the path for messages."""

    file: str
    values: Mapping[str, Any]

    def replaced(self, **values: Any) -> ProcessorValues:
        """Return the same settings with other values for some keys."""
        return ProcessorValues(self.file, {**self.values, **values})

    def get(self, key: str) -> Any:
        """Return a value as it is in the file, None if it is not set."""
        return self.values.get(key)

    def flag(self, key: str) -> bool:
        """Return a truth value, False if it is not set."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "should be true or false")
        return bool(value)

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.values.get(key)
        if not _is_number(value):
            raise self.wrong(key, "should be a number")
        return float(value)

    def channels(self, key: str) -> list[float]:
        """Return one number per channel; a single number counts for all three."""
        value = self.values.get(key)
        numbers: list[Any] = [value] * 3 if not isinstance(value, list | tuple) else list(value)
        if len(numbers) != 3 or not all(map(_is_number, numbers)):
            raise self.wrong(key, "should be three numbers, one per channel")
        return [float(each) for each in numbers]

    def deviations(self, key: str) -> list[float]:
        """Return one number per channel, none of which is 0."""
        numbers = self.channels(key)
        if 0 in numbers:
            raise self.wrong(key, "should not contain 0: every value is divided by it")
        return numbers

    def resample(self) -> int:
        """Return Pillow's number of a resampling filter."""
        number = whole_number(self.values.get("resample"), f"{self.file}: 'resample'")
        if not 0 <= number < len(_RESAMPLE):
            known = ", ".join(f"{index} ({name})" for index, name in enumerate(_RESAMPLE))
            raise self.wrong("resample", f"should be one of Pillow's filters: {known}")
        return number

    def size(self, key: str, *, square: bool = True, longest: int | None = None) -> dict[str, int]:
        """Return a size with one of the known sets of keys. One number is a square's side if `square`, else the shorter
        side, with `longest` as the limit of the longer one; two numbers are height and width."""
        value = self.values.get(key)
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise self.wrong(key, "should be a height and a width")
            value = dict(zip(("height", "width"), value, strict=True))
        elif not isinstance(value, dict):
            names = ("height", "width") if square else ("shortest_edge",)
            value = {**dict.fromkeys(names, value), **({} if longest is None or square else {"longest_edge": longest})}
        size = {name: each for name, each in value.items() if each is not None}
        self._check_names(key, size)
        return {name: self._side(key, name, each) for name, each in size.items()}

    def side(self, key: str) -> int:
        """Return one length in pixels."""
        value = self.values.get(key)
        if isinstance(value, dict | list | tuple):
            raise self.wrong(key, "should be one number of pixels")
        return self.size(key)["height"]

    def rectangle(self, key: str) -> dict[str, int]:
        """Return a size that has a height and a width."""
        size = self.size(key)
        if size.keys() != _SIZES[0]:
            raise self.wrong(key, "should have 'height' and 'width'")
        return size

    def wrong(self, key: str, expected: str) -> SlipwayError:
        """Return the error that a value should be something else."""
        return invalid(f"{self.file}: '{key}' {expected}, but is {shown(repr(self.values.get(key)))}")

    def _check_names(self, key: str, size: Mapping[str, Any]) -> None:
        for name in size.keys() - set(_SIZE_KEYS):
            near = get_close_matches(name, _SIZE_KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the keys of a size are {', '.join(_SIZE_KEYS)}"
            raise invalid(f"{self.file}: '{key}' has the unknown key '{shown(name)}': {hint}")
        if set(size) not in _SIZES:
            sets = "; ".join(" with ".join(sorted(each)) for each in _SIZES)
            raise self.wrong(key, f"should have one of these sets of keys: {sets}")

    def _side(self, key: str, name: str, value: Any) -> int:
        side = whole_number(value, f"{self.file}: '{name}' of '{key}'")
        if not 1 <= side <= MOST_SIDE:
            raise self.wrong(key, f"should be between 1 and {MOST_SIDE:,} pixels")
        return side


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
