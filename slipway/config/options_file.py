"""The TOML file of `--config`: a key for each flag, an array where a flag is repeated. Knows no flag's meaning.

Tables have no meaning: a file is as flat as a command line. Each value is turned into the text that would follow the
flag, so a value means the same wherever it stands. Errors name the file and the line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from slipway.config.flags import BOOLEAN, Kind

_MAX_FILE: Final = 256 << 10  # bytes
_KINDS: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
    dict: "a table",
    list: "an array",
}


@dataclass(frozen=True, slots=True)
class FileReading:
    """What a file sets: flags with their text, where each stands, and what is wrong."""

    given: list[tuple[str, str]] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_options_file(
    path: Path, kinds: Mapping[str, Kind], repeatable: Collection[str], refused: Collection[str]
) -> FileReading:
    """Return what a file sets of the flags in `kinds`; those in `refused` have to stand elsewhere."""
    reading = FileReading()
    try:
        text = _text(path)
        document = tomllib.loads(f"{text}\n")  # without the newline, an error in the last line lacks its place
    except (ValueError, RecursionError) as error:  # also tomllib.TOMLDecodeError, which names line and column
        reason = "its arrays are nested too deeply" if isinstance(error, RecursionError) else error
        reading.problems.append(f"--config: '{path}': {reason}")
        return reading
    for key, value in document.items():
        place = f"'{path}'{_line(text, key)}"
        if key in refused:
            reading.problems.append(f"{place}: '{key}' has no meaning in a file")
        elif key not in kinds:
            reading.problems.append(f"{place}: unknown key '{key}'{_hint(key, value, kinds)}")
        else:
            try:
                texts = list(_texts(value, kinds[key], is_repeatable=key in repeatable))
            except ValueError as error:
                reading.problems.append(f"{place}: '{key}' {error}")
            else:
                reading.given.extend((key, each) for each in texts)
                reading.places[key] = place
    return reading


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE:
        raise ValueError(f"the file is larger than {_MAX_FILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8: {error.reason} at byte {error.start}") from None


def _texts(value: Any, kind: Kind, *, is_repeatable: bool) -> Iterator[str]:
    """Yield the texts that would follow the flag; raise `ValueError` for a value of another type."""
    if isinstance(value, list):
        if not is_repeatable:
            raise ValueError("takes one value, not an array")
        if not value and kind.mask is not None:  # secrets: without them, what they protect would be open
            raise ValueError("is an empty array: give it a value, or remove the key")
        for each in value:
            yield _text_of(each, kind)
    else:
        yield _text_of(value, kind)


def _text_of(value: Any, kind: Kind) -> str:
    if isinstance(value, bool):
        if kind is not BOOLEAN:
            raise ValueError(f"expects {kind.placeholder}, not a boolean")
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"expects {kind.placeholder}, not {_KINDS.get(type(value), 'a date or time')}")


def _hint(key: str, value: Any, kinds: Collection[str]) -> str:
    dashed = key.replace("_", "-")
    names = [dashed]
    while isinstance(value, dict) and value:  # a table, or a key with dots
        part, value = next(iter(value.items()))
        names.append(f"{names[-1]}-{part.replace('_', '-')}")
    close = [name for name in names if name in kinds] or get_close_matches(dashed, kinds, 1)
    return f"; did you mean '{close[-1]}'?" if close else "; 'slipway serve --help' lists the flags"


def _line(text: str, key: str) -> str:
    """Return ", line N" for the line on which a key of the document stands, "" if it is not written as usual."""
    written = "|".join(re.escape(each) for each in (key, f'"{key}"', f"'{key}'"))
    for match in re.finditer(rf"^[ \t]*(?:\[+[ \t]*)?(?:{written})[ \t]*[=.\]]", text, re.MULTILINE):
        try:
            before = tomllib.loads(text[: match.start()])
        except tomllib.TOMLDecodeError:  # within a text of several lines
            continue
        if key not in before:
            return f", line {text.count(chr(10), 0, match.start()) + 1}"
    return ""
