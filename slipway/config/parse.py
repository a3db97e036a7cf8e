"""Parse config.pbtxt and JSON overrides into ModelConfig, with errors that say where the problem is and what to do.

The protobuf parsers do the work. Input that they would choke on (size, nesting) is refused first, and the error for an
unknown field suggests the nearest name in its message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Final

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import model_config_pb2

from slipway.errors import Code, SlipwayError
from slipway.problems import Problem, Rule

MAX_BYTES = 4 << 20  # the text parser takes a second for 1 MB of numbers; a step of an ensemble is about 120 bytes
MAX_MESSAGE = 400  # the parsers quote the offending input, however long it is
MAX_DEPTH = 64  # ModelConfig itself nests 7 deep

# What protobuf's parser says about unknown names.
UNKNOWN: Final = {
    Rule.UNKNOWN_FIELD: re.compile(r'Message type "(?P<type>[\w.]+)" has no field named "(?P<given>\w+)"'),
    Rule.UNKNOWN_VALUE: re.compile(r'Enum type "(?P<type>[\w.]+)" has no value named (?P<given>\w+)'),
}
# The closing quote is optional: otherwise each quote of an unclosed string would be tried as the start of a string.
_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|[{}<>\[\]]""")


class ConfigError(SlipwayError):
    """A configuration that cannot be read. The message is the `place` (file name, with line and column if known, and a
    colon) and the `cause`. `line` and `column` count from 1; 0 means unknown."""

    def __init__(self, place: str, cause: str, line: int = 0, column: int = 0) -> None:
        rule = next((rule for rule, pattern in UNKNOWN.items() if pattern.search(cause)), Rule.SYNTAX_ERROR)
        message = f"{place} {cause}"
        super().__init__(Code.INVALID_ARG, message, problems=[Problem(rule, message)])
        self.cause = cause
        self.line = line
        self.column = column


def parse_config(text: str, file_name: str) -> model_config_pb2.ModelConfig:
    """Return the configuration written in `text` (protobuf text format); raise `ConfigError` naming `file_name`."""
    _check_size(text, file_name)
    _check_depth(_braces(text), file_name)
    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise _located(error, file_name) from None
    except (RecursionError, UnicodeError, ValueError) as error:
        raise ConfigError(f"{file_name}:", _shorten(str(error))) from None
    return config


def parse_config_json(text: str) -> model_config_pb2.ModelConfig:
    """Return the configuration written in `text` (proto-JSON; quoted integers are accepted); raise `ConfigError`."""
    _check_size(text, "config")
    _check_depth(_braces(text), "config")
    if not text.lstrip().startswith("{"):  # the parser accepts an empty list as an empty message
        raise ConfigError("config:", "expected a JSON object")
    config = model_config_pb2.ModelConfig()
    try:
        json_format.Parse(text, config, max_recursion_depth=MAX_DEPTH)
    except (json_format.ParseError, RecursionError) as error:
        message = str(error).partition("\n")[0]  # the rest is a list of names in another spelling
        raise ConfigError("config:", f"{_shorten(message)}{_suggestion(message)}") from None
    return config


def _check_size(text: str, file_name: str) -> None:
    if len(text) > MAX_BYTES:
        raise ConfigError(file_name, f"has {len(text)} characters, more than the {MAX_BYTES} allowed")


def _braces(text: str) -> Iterator[tuple[str, int]]:
    """Yield each bracket outside of strings and comments with its position."""
    for token in _TOKEN.finditer(text):
        if token[0] in "{}<>[]":
            yield token[0], token.start()


def _check_depth(braces: Iterator[tuple[str, int]], file_name: str) -> None:
    depth = 0
    for brace, _ in braces:
        depth += 1 if brace in "{<[" else -1
        if depth > MAX_DEPTH:
            raise ConfigError(file_name, f"nests more than {MAX_DEPTH} levels deep")


def _located(error: text_format.ParseError, file_name: str) -> ConfigError:
    message = str(error)
    line, column = error.GetLine() or 0, error.GetColumn() or 0
    cause = re.sub(r"^\d+:\d+ : ", "", message)
    place = f"{file_name}:{line}:{column}:" if line else f"{file_name}:"
    return ConfigError(place, f"{_shorten(cause)}{_suggestion(cause)}", line, column)


def _shorten(message: str) -> str:
    """Return `message`, without its middle if it is long: the cause is at one of its ends."""
    half = MAX_MESSAGE // 2
    return message if len(message) <= MAX_MESSAGE else f"{message[:half]} ... {message[-half:]}"


def _suggestion(message: str) -> str:
    """Return a sentence that suggests field names if `message` is about an unknown field, else ""."""
    found = UNKNOWN[Rule.UNKNOWN_FIELD].search(message)
    if found is None:
        return ""
    descriptor = _messages().get(found["type"])
    names = [field.name for field in descriptor.fields] if descriptor else []
    nearest = difflib.get_close_matches(found["given"], names, n=1, cutoff=0.5)
    return f" Did you mean '{nearest[0]}'?" if nearest else f" Known fields: {', '.join(sorted(names))}."


def _messages() -> dict[str, Descriptor]:
    """Return the message types reachable from ModelConfig, by full name."""
    found: dict[str, Descriptor] = {}
    waiting = [model_config_pb2.ModelConfig.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in found:
            found[descriptor.full_name] = descriptor
            waiting.extend(field.message_type for field in descriptor.fields if field.message_type)
    return found
