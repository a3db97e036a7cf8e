"""Reads config.ini: the values of all sections are checked together, so that one error names every problem.

The original's converters print every key of a Hugging Face configuration with str(), so values may be `None`, `True`
or the text of a dictionary; only the requested keys are parsed. Knows no model family.
"""

from __future__ import annotations

import configparser
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slipway.errors import invalid

CONFIG: Final = "config.ini"
DATA_TYPES: Final = ("fp32", "fp16", "bf16")

_BOOLEANS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False} | {
    "off": False
}
_LARGEST: Final = 2**31 - 1  # the original reads 32-bit integers
_LOG: Final = logging.getLogger("slipway.checkpoints")


@dataclass(slots=True)
class Section:
    """One section. For a value that is missing or invalid, a problem is recorded and a placeholder returned."""

    name: str
    values: Mapping[str, str]
    problems: list[str]
    used: set[str] = field(default_factory=set)

    def text(self, *keys: str, default: str = "") -> str:
        """Return the value of the first of `keys` that is present; the text `None` counts as absent."""
        self.used.update(keys)
        for key in keys:
            value = self.values.get(key, "").strip()
            if value not in ("", "None"):
                return value
        return default

    def integer(self, *keys: str, default: int | None = None, low: int = 1, high: int = _LARGEST) -> int:
        """Return a whole number from `low` to `high`; record a problem if it is invalid, or missing without default."""
        text = self.text(*keys)
        if not text and default is not None:
            return default
        try:
            value = int(text)
        except ValueError:
            self.problem(f"{keys[0]} is '{text}', expected a whole number" if text else f"{keys[0]} is missing")
            return low
        if not low <= value <= high:
            self.problem(f"{keys[0]} is {value}, expected {low} to {high}")
            return low
        return value

    def number(self, key: str, *, default: float) -> float:
        """Return a positive number; record a problem if it is not one."""
        text = self.text(key)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0.0 < value < float("inf"):
            self.problem(f"{key} is '{text}', expected a positive number")
            return default
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return a truth value, written as the original's readers accept it (`True`, `1`, `yes`, ...)."""
        text = self.text(key).lower()
        if text and text not in _BOOLEANS:
            self.problem(f"{key} is '{text}', expected true or false")
        return _BOOLEANS.get(text, default)

    def data_type(self) -> str:
        """Return `weight_data_type`; if absent or unknown, return fp32 with a warning, as in the original."""
        text = self.text("weight_data_type").lower()
        if text in DATA_TYPES:
            return text
        what = f"weight_data_type '{text}' is unknown" if text else "weight_data_type is missing"
        _LOG.warning("%s [%s]: %s, the files are read as fp32", CONFIG, self.name, what)
        return "fp32"

    def problem(self, text: str) -> None:
        """Record a problem of this section."""
        self.problems.append(f"[{self.name}] {text}")


class Ini:
    """A parsed config.ini, and its problems so far."""

    def __init__(self, sections: Mapping[str, Mapping[str, str]], source: str) -> None:
        self.source = source
        self.problems: list[str] = []
        self._sections = {name: Section(name, values, self.problems) for name, values in sections.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._sections

    def section(self, name: str) -> Section:
        """Return a section, empty if the file does not have it."""
        return self._sections.setdefault(name, Section(name, {}, self.problems))

    @property
    def names(self) -> list[str]:
        """The names of all sections that are not empty."""
        return [name for name, section in self._sections.items() if section.values]

    def finish(self, inert: frozenset[str]) -> None:
        """Warn of every key that was not read and is not `inert`; raise INVALID_ARG naming all problems."""
        unknown = [
            f"[{section.name}] {key}"
            for section in self._sections.values()
            for key in section.values
            if key not in section.used and key not in inert
        ]
        if unknown:
            _LOG.warning("%s: ignored: %s", self.source, ", ".join(unknown))
        if self.problems:
            raise invalid(
                f"'{self.source}' does not describe a valid model:\n  " + "\n  ".join(dict.fromkeys(self.problems))
            )


def read_ini(path: Path) -> Ini:
    """Parse a config.ini; raise INVALID_ARG when it is missing or not an INI file."""
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, allow_no_value=True, inline_comment_prefixes=(";",)
    )
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except OSError as error:
        raise invalid(f"cannot read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"'{path}' is not a text file: byte {error.start} is not valid UTF-8") from error
    except configparser.Error as error:
        raise invalid(f"'{path}' is not an INI file: {str(error).splitlines()[0]}") from error
    except AttributeError:  # the parser's own fault, where a key without a value is followed by an indented line
        raise invalid(f"'{path}' is not an INI file: a key without a value has a second line") from None
    sections = {name: {key: value or "" for key, value in parser.items(name)} for name in parser.sections()}
    return Ini(sections, str(path))
