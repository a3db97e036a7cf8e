"""Find every place where the text of a config.pbtxt cannot be parsed, not only the first.

The parser of `config/parse.py` finds the mistakes; a field that it refuses is blanked out and the rest parsed again.
Unfilled templates are found first, because the parser reports only their "$". Knows no rules about values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from tritonclient.grpc import model_config_pb2

from slipway.config.parse import UNKNOWN, ConfigError, parse_config
from slipway.lint.document import TEMPLATE, Document, Entry, scan
from slipway.lint.finding import Edit, Finding, Severity
from slipway.problems import Rule

MAX_MISTAKES: Final = 20  # a file with more is not a config.pbtxt
SURE: Final = 0.8  # minimum similarity of a name that replaces an unknown one

_TEMPLATE: Final = re.compile(TEMPLATE)
_UNCLOSED: Final = 'Expected "}"'  # later errors would repeat this one
_POOL: Final = model_config_pb2.DESCRIPTOR.pool


@dataclass(frozen=True, slots=True)
class Reading:
    """A text with its outline; `config` is None if the text cannot be parsed."""

    document: Document
    config: model_config_pb2.ModelConfig | None
    findings: tuple[Finding, ...] = ()


def read_text(text: str, model: str, file: Path) -> Reading:
    """Return the config in `text`, or everything that keeps it from being parsed."""
    reader = _Reader(scan(text), model, file)
    templates = list(reader.templates())
    try:
        config = parse_config(text, file.name)
    except ConfigError as error:
        places = {(finding.line, finding.column) for finding in templates}  # where the parser reports only "$"
        mistakes = [each for each in reader.mistakes(error) if (each.line, each.column) not in places]
        return Reading(reader.document, None, (*templates, *mistakes))
    return Reading(reader.document, config if not templates else None, tuple(templates))


class _Reader:
    """Parses one file and makes the findings."""

    def __init__(self, document: Document, model: str, file: Path) -> None:
        self.document = document
        self._model = model
        self._file = file

    def templates(self) -> Iterator[Finding]:
        """Yield the first `${...}` templates outside comments."""
        for match in islice(_TEMPLATE.finditer(self._uncommented()), MAX_MISTAKES):
            key = _key(self.document.chain(match.start()))
            message = f"'{key}' still contains the template {match[0]}"
            fix = f"replace it with the value of {key}"
            yield self._finding(Rule.TEMPLATE_UNFILLED, match.start(), message, fix=fix)

    def _uncommented(self) -> str:
        """Return the text with its comments blanked out, so that everything else keeps its position."""
        text, parts, end = self.document.text, [], 0
        for start, stop in self.document.comments():
            parts += [text[end:start], " " * (stop - start)]
            end = stop
        return "".join([*parts, text[end:]])

    def mistakes(self, error: ConfigError) -> Iterator[Finding]:
        """Yield the first mistake, blank out its field, and continue until the rest can be parsed."""
        text = self.document.text
        for _ in range(MAX_MISTAKES):
            offset = self.document.offset_of(error.line, error.column) if error.line else 0
            yield self._mistake(error, offset)
            chain = self.document.chain(offset)
            blanked = _blank(text, chain[-1]) if chain and error.line else text
            if blanked == text or _UNCLOSED in error.message:
                return
            text = blanked
            try:
                parse_config(text, self._file.name)
            except ConfigError as following:
                error = following
            else:
                return

    def _mistake(self, error: ConfigError, offset: int) -> Finding:
        cause = error.cause
        for rule, pattern in UNKNOWN.items():
            found = pattern.search(cause)
            if found is not None:
                return self._unknown(rule, offset, cause[found.start() :], found)
        if not error.line:
            fix = "rewrite the file; `slipway config create` creates one from the model file"
            return Finding(Severity.ERROR, Rule.SYNTAX_ERROR, self._model, self._file, cause, fix=fix)
        fix = (
            "close the bracket that is open here" if _UNCLOSED in cause else "correct the value or the punctuation here"
        )
        return self._finding(Rule.SYNTAX_ERROR, offset, cause, fix=fix)

    def _unknown(self, rule: Rule, offset: int, cause: str, found: re.Match[str]) -> Finding:
        """Return the finding for an unknown name; a sure match makes renaming it safe."""
        nearest, sure = nearest_name(found["given"], _names(rule, found["type"]))
        edits = (Edit(offset, offset + len(found["given"]), nearest),) if sure else ()
        fix = f"write {nearest} instead of {found['given']}" if nearest else f"remove {found['given']}"
        return self._finding(rule, offset, cause, fix=fix, edits=edits)

    def _finding(
        self, rule: Rule, offset: int, message: str, *, fix: str = "", edits: tuple[Edit, ...] = ()
    ) -> Finding:
        line, column = self.document.place(offset)
        return Finding(Severity.ERROR, rule, self._model, self._file, message, line, column, fix, edits)


def nearest_name(given: str, names: Sequence[str]) -> tuple[str, bool]:
    """Return the name that was probably meant ("" for none), and whether the match is sure."""
    endings = [name for name in names if name.endswith(f"_{given.upper()}")]  # FP32 for TYPE_FP32, CPU for KIND_CPU
    if len(endings) == 1:
        return endings[0], True
    close = difflib.get_close_matches(given, names, n=2, cutoff=SURE)
    if len(close) == 1:
        return close[0], True
    near = close or difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return (near[0], False) if near else ("", False)


def _names(rule: Rule, type_name: str) -> list[str]:
    if rule is Rule.UNKNOWN_VALUE:
        enum: EnumDescriptor = _POOL.FindEnumTypeByName(type_name)
        return [value.name for value in enum.values]
    message: Descriptor = _POOL.FindMessageTypeByName(type_name)
    return [each.name for each in message.fields]


def _key(chain: Sequence[Entry]) -> str:
    """Return the dotted name of the innermost entry, with the `key` of map entries."""
    names: list[str] = []
    for entry in chain:
        names.append(entry.name)
        for value in entry.values:
            names += [inner.values[0].text.strip("\"'") for inner in value.entries if inner.name == "key"][:1]
    return ".".join(names) or "the file"


def _blank(text: str, entry: Entry) -> str:
    hidden = re.sub(r"[^\n]", " ", text[entry.start : entry.end])
    return text[: entry.start] + hidden + text[entry.end :]
