"""Calls of tools as models write them between the marks of their family: JSON, and three forms around it.

Pure. Each reader takes the text between the marks and returns the calls in it, or raises ValueError for anything that
is not one or more complete calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

_ARGUMENTS: Final = ("arguments", "parameters")
_BESIDE: Final = frozenset(("name", "type", "id", *_ARGUMENTS))
_BETWEEN: Final = re.compile(r"[\s;,]*")
_NAME: Final = r"[A-Za-z0-9_.-]+"
_MISTRAL: Final = re.compile(rf"\s*({_NAME})\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\])?\s*(?=\{{)")
_GEMMA: Final = re.compile(rf"\s*call:({_NAME})\s*(?=\{{)")
_GEMMA_KEY: Final = re.compile(r"\s*([^:{}\[\],]+?)\s*:")
_GEMMA_WORD: Final = re.compile(r"[^,{}\[\]<]+")
_ESCAPE: Final = "<escape>"
# DeepSeek's marks: those around all calls, those around each, and the one after the kind or name of a function.
_BAR: Final = "\N{FULLWIDTH VERTICAL LINE}"
DEEPSEEK_CALLS: Final = (f"<{_BAR}tool▁calls▁begin{_BAR}>", f"<{_BAR}tool▁calls▁end{_BAR}>")
DEEPSEEK_CALL: Final = (f"<{_BAR}tool▁call▁begin{_BAR}>", f"<{_BAR}tool▁call▁end{_BAR}>")
DEEPSEEK_BREAK: Final = f"<{_BAR}tool▁sep{_BAR}>"
_DEEPSEEK: Final = re.compile(
    rf"\s*{DEEPSEEK_CALL[0]}(?:function{DEEPSEEK_BREAK}\s*)?({_NAME})\s*"
    rf"(?:{DEEPSEEK_BREAK}|```json)(.*?)(?:```\s*)?{DEEPSEEK_CALL[1]}",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call: the function's name, and its arguments as a JSON object in text."""

    name: str
    arguments: str


def read_json_calls(text: str) -> list[ToolCall]:
    """Read objects with a name and arguments, one after the other or in lists."""
    calls: list[ToolCall] = []
    place = _after_blanks(text, 0)
    while place < len(text):
        value, place = _decoded(text, place)
        calls += [_call(each) for each in (value if isinstance(value, list) else [value])]
        place = _after_blanks(text, place)
    return _some(calls)


def read_mistral_calls(text: str) -> list[ToolCall]:
    """Read a list of objects, or a name that is followed by `[ARGS]` and an object."""
    named = _MISTRAL.match(text)
    if named is None:
        return read_json_calls(text)
    return [ToolCall(named[1], _written(_whole(text[named.end() :])))]


def read_gemma_calls(text: str) -> list[ToolCall]:
    """Read `call:NAME{key:value,...}`, whose texts stand between two `<escape>`."""
    named = _GEMMA.match(text)
    if named is None:
        raise ValueError("not a call")
    value, end = _gemma_value(text, named.end())
    if text[end:].strip():
        raise ValueError("text after the arguments")
    return [ToolCall(named[1], _written(value))]


def read_deepseek_calls(text: str) -> list[ToolCall]:
    """Read calls that each have marks of their own."""
    calls, place = [], 0
    while found := _DEEPSEEK.match(text, place):
        calls.append(ToolCall(found[1], _written(_whole(found[2]))))
        place = found.end()
    if text[place:].strip():
        raise ValueError("text beside the calls")
    return _some(calls)


def _some(calls: list[ToolCall]) -> list[ToolCall]:
    if not calls:
        raise ValueError("no call")
    return calls


def _call(value: Any) -> ToolCall:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value.keys() <= _BESIDE:
        raise ValueError("not a call")
    given = [value[name] for name in _ARGUMENTS if name in value]
    if len(given) > 1:
        raise ValueError("arguments given twice")
    arguments = given[0] if given else {}
    if isinstance(arguments, str):  # JSON in a text, as OpenAI writes it
        arguments = _whole(arguments)
    return ToolCall(value["name"], _written(arguments))


def _written(arguments: Any) -> str:
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are not an object")  # noqa: TRY004  all faults are ValueErrors
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    text.encode()  # an escape may stand for half a character; this raises a ValueError
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _decoded(text: str, place: int) -> tuple[Any, int]:
    """Return the JSON value at a place and where it ends."""
    try:
        return _DECODER.raw_decode(text, place)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(text: str) -> Any:
    """Return the one JSON value that a text is."""
    text = text.strip()
    value, end = _decoded(text, 0)
    if end < len(text):
        raise ValueError("text after the value")
    return value


def _after_blanks(text: str, place: int) -> int:
    found = _BETWEEN.match(text, place)
    return found.end() if found else place


def _gemma_value(text: str, place: int) -> tuple[Any, int]:
    """Return the value at a place and where it ends."""
    try:
        return _gemma_part(text, place)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _gemma_part(text: str, place: int) -> tuple[Any, int]:
    if text.startswith(_ESCAPE, place):
        end = text.index(_ESCAPE, place + len(_ESCAPE))
        return text[place + len(_ESCAPE) : end], end + len(_ESCAPE)
    if text.startswith("{", place):
        members: dict[str, Any] = {}
        for start in (items := _GemmaItems(text, place + 1, "}")):
            key = _GEMMA_KEY.match(text, start)
            if key is None or key[1] in members:
                raise ValueError("a member without a name of its own")
            members[key[1].replace(_ESCAPE, "")], items.place = _gemma_part(text, key.end())
        return members, items.place
    if text.startswith("[", place):
        elements: list[Any] = []
        for start in (items := _GemmaItems(text, place + 1, "]")):
            value, items.place = _gemma_part(text, start)
            elements.append(value)
        return elements, items.place
    word = _GEMMA_WORD.match(text, place)
    if word is None:
        raise ValueError("a value is missing")
    return _whole(word[0]), word.end()


class _GemmaItems:
    """The places of the elements between brackets; whoever reads one sets `place` to its end, and after the last one it
    is the end of the brackets."""

    def __init__(self, text: str, place: int, close: str) -> None:
        self._text = text
        self._close = close
        self.place = place

    def __iter__(self) -> Iterator[int]:
        if self._text.startswith(self._close, self.place):
            self.place += 1
            return
        while True:
            yield self.place
            following = self._text[self.place : self.place + 1]
            self.place += 1
            if following == self._close:
                return
            if following != ",":
                raise ValueError("the brackets are not closed")
