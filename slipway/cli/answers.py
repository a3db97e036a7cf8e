"""How `slipway infer` prints responses: for people, as JSON lines, or as one plain line per text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import orjson

from slipway.cli.client import Answer
from slipway.cli.output import output_width

Writer = Callable[[TextIO, str, Iterable[Answer]], None]  # the responses to one text, as they arrive

_SHOWN = 8  # values of an array


def text_writer(*, as_json: bool, file: Path | None) -> Writer:
    """Return the function that writes the responses to a text."""
    if as_json or (file is not None and file.suffix in (".json", ".jsonl")):
        return _write_json
    return _write_plain if file is not None else _write_readable


def write_answer(stream: TextIO, outputs: Answer, *, as_json: bool, indent: str = "") -> None:
    """Write a response: a line of JSON, or a line per output that shows as many numbers as fit."""
    if as_json:
        stream.write(as_json_line({name: _json_value(array) for name, array in outputs.items()}))
    else:
        stream.writelines(f"{_readable(f'{indent}{name}', array)}\n" for name, array in outputs.items())
    stream.flush()  # the next one may take its time


def as_json_line(values: dict[str, Any]) -> str:
    """Return one line of JSON; numbers have as many digits as their datatype carries."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode() + "\n"


def _write_json(stream: TextIO, text: str, answers: Iterable[Answer]) -> None:
    for outputs in answers:
        stream.write(as_json_line({"text": text, **{name: _json_value(array) for name, array in outputs.items()}}))
        stream.flush()


def _write_plain(stream: TextIO, text: str, answers: Iterable[Answer]) -> None:
    """Write responses of one string as a plain line, so that N texts yield N lines; write others as JSON."""
    gathered = list(answers)
    if all(_is_string(outputs) for outputs in gathered):
        line = "".join(_word(array.item()) for outputs in gathered for array in outputs.values())
        stream.write(line.replace("\n", " ") + "\n")
    else:
        _write_json(stream, text, gathered)


def _is_string(outputs: Answer) -> bool:
    arrays = list(outputs.values())
    return len(arrays) == 1 and arrays[0].dtype == np.object_ and arrays[0].size == 1


def _write_readable(stream: TextIO, text: str, answers: Iterable[Answer]) -> None:
    stream.write(f"{text}\n")
    stream.flush()
    for outputs in answers:
        write_answer(stream, outputs, as_json=False, indent="  ")


def _readable(name: str, array: np.ndarray) -> str:
    shape = "x".join(map(str, array.shape)) or "scalar"
    values = [_word(value) for value in array.ravel()[:_SHOWN].tolist()]
    line = _joined(name, shape, values, array.size)
    while array.dtype != np.object_ and len(values) > 1 and len(line) > output_width():
        values.pop()
        line = _joined(name, shape, values, array.size)
    return line


def _joined(name: str, shape: str, values: Sequence[str], size: int) -> str:
    return " ".join([name, f"[{shape}]", *values, *(["..."] if size > len(values) else [])])


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _json_value(array: np.ndarray) -> Any:
    if array.dtype.kind == "O":
        return _strings(array.tolist())
    return np.ascontiguousarray(array, np.float32 if array.dtype.kind == "V" else None)  # JSON has no bfloat16


def _strings(value: Any) -> Any:
    return [_strings(each) for each in value] if isinstance(value, list) else _word(value)
