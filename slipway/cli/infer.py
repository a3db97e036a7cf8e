"""Send text lines or JSON tensors to a running server and print the responses."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import orjson

from slipway.cli.client import Answer, InputTensor, ModelDescription, open_client
from slipway.cli.parser import CommandParser
from slipway.cli.request_file import read_request
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, invalid
from slipway.runtime.arguments import ARGUMENTS, SAMPLES

BATCH = 16


def run(arguments: Sequence[str]) -> int:
    """Send the requests in order and print each response as it arrives; return 0 if all succeeded."""
    if _asks_for_model_help(arguments):
        return _model_help(arguments)
    options = _parser().parse_args(arguments)
    if options.request is not None:
        return _send_file(options)
    if options.model is None:
        raise invalid("MODEL is missing: slipway infer MODEL --text ...")
    client = open_client(options.url, options.protocol or "grpc")
    model = client.describe(options.model, options.model_version)
    output = options.output_file.open("w", encoding="utf-8") if options.output_file else nullcontext(sys.stdout)
    with output as stream:
        if options.inputs is not None or (options.input_file and options.input_file.suffix == ".json"):
            text = options.inputs if options.inputs is not None else _read(options.input_file)
            answer = client.infer(model, _json_inputs(model, text), options.model_version)
            _print_answer(stream, answer, as_json=options.json or bool(options.output_file))
            return 0
        texts = options.text or _read(options.input_file).splitlines()
        write = _line_writer(options)
        for batch in _batches(texts, model, options.batch):
            answer = client.infer(model, {model.text_input: model.text_array(batch)}, options.model_version)
            for row, text in enumerate(batch):
                write(stream, text, {name: _row(array, row, len(batch)) for name, array in answer.items()})
    return 0


def _parser() -> argparse.ArgumentParser:
    usage = "%(prog)s [MODEL] (--text TEXT | --inputs JSON | --input-file FILE |\n"
    usage += "                     --request FILE) [options]"  # argparse would make one line of the group
    parser = CommandParser(prog="slipway infer", usage=usage, description=__doc__)
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="name of a loaded model (default: the one in the --request file)"
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--text", action="append", help="text for the model's string input (repeatable)")
    given.add_argument("--inputs", metavar="JSON", help="tensors by name, such as '{\"x\": [[1, 2]]}'")
    given.add_argument(
        "--input-file",
        metavar="FILE",
        type=Path,
        help="file with one text per line, or with tensors by name if it ends in .json",
    )
    given.add_argument(
        "--request", metavar="FILE", type=Path, help="JSON request file of FasterTransformer's issue_request.py"
    )
    parser.add_argument(
        "--params", metavar="JSON", default="", help="changes to merge into the --request file before it is sent"
    )
    parser.add_argument(
        "-t", "--test-growth", action="store_true", help="fail unless every streamed response adds exactly one token"
    )
    parser.add_argument(
        "--output-file",
        metavar="FILE",
        type=Path,
        help="file for the responses, one line per text (default: standard output)",
    )
    parser.add_argument("--json", action="store_true", help="print responses as JSON, one line per text")
    parser.add_argument(
        "--url", metavar="HOST:PORT", help="address of the server (default: localhost:8001, or localhost:8000 for HTTP)"
    )
    parser.add_argument(
        "--protocol",
        choices=("grpc", "http"),
        help="protocol; http needs the extra 'http' (default: grpc, or the one in the --request file)",
    )
    parser.add_argument(
        "--model-version", metavar="N", default="", help="version of the model (default: set by its version policy)"
    )
    parser.add_argument(
        "--batch", metavar="ROWS", type=int, default=BATCH, help=f"maximum texts per request (default: {BATCH})"
    )
    return parser


def _asks_for_model_help(arguments: Sequence[str]) -> bool:
    """Return whether the command is `slipway infer MODEL --help`."""
    return len(arguments) > 1 and not arguments[0].startswith("-") and bool({"-h", "--help"} & set(arguments[1:]))


def _model_help(arguments: Sequence[str]) -> int:
    """Print the usage, and the inputs of the model if the server can be reached."""
    parser = _parser()
    parser.print_help()
    rest = [each for each in arguments if each not in ("-h", "--help")]
    needless = () if "--request" in rest or any(each in rest for each in ("--text", "--inputs")) else ("--text", "")
    options = parser.parse_args([*rest, *needless])
    try:
        model = open_client(options.url, options.protocol or "grpc").describe(options.model, options.model_version)
    except SlipwayError as error:
        print(f"\ninputs of '{options.model}' are unknown: {error.message}")
        return 0
    print(f"\ninputs of '{model.name}':")
    # Models converted by this version accept other names as request parameters.
    others = {each.name: each.aliases for each in ARGUMENTS} if SAMPLES in model.inputs else {}
    for name, datatype in model.inputs.items():
        also = f"; other names as a parameter: {', '.join(others[name])}" if others.get(name) else ""
        print(f"  {name} {datatype}{' (optional)' if name in model.optional else ''}{also}")
    return 0


def _send_file(options: argparse.Namespace) -> int:
    """Send the request in a file; print its response, or every response of a stream."""
    request = read_request(_read(options.request), options.params)
    protocol = options.protocol or request.protocol
    client = open_client(options.url or request.url or None, protocol)
    model, version = options.model or request.model, options.model_version
    if not request.streams:
        answer = client.infer(client.describe(model, version), request.tensors, version)
        _print_whole(answer, as_json=options.json)
        return 0
    if protocol != "grpc":
        raise invalid(f"streaming needs protocol grpc, not {protocol}")
    tokens: list[int] = []
    for answer in client.stream(model, request.tensors, version):
        before, tokens = tokens, _tokens(answer)
        print(_json({"tokens": tokens}) if options.json else f"tokens {tokens}", end="" if options.json else "\n")
        if options.test_growth and (len(tokens) != len(before) + 1 or tokens[: len(before)] != before):
            raise invalid(f"the stream went from {len(before)} to {len(tokens)} tokens, expected one more")
    return 0


def _tokens(answer: Answer) -> list[int]:
    """Return the tokens of the first row's best hypothesis so far."""
    missing = {"output_ids", "sequence_length"} - answer.keys()
    if missing:
        raise invalid(f"a streamed response lacks {' and '.join(sorted(missing))}: this model's tokens cannot be shown")
    return [int(token) for token in answer["output_ids"][0, 0, : int(answer["sequence_length"][0, 0])]]


def _print_whole(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        _print_answer(sys.stdout, answer, as_json=True)
        return
    for name, array in answer.items():
        print(f"{name}:\n{array}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise invalid(f"'{path}' is not valid UTF-8: {error.reason} at byte {error.start}") from None


def _batches(texts: Sequence[str], model: ModelDescription, limit: int) -> Iterator[Sequence[str]]:
    size = max(1, min(limit, model.most_rows or limit))
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _json_inputs(model: ModelDescription, text: str) -> dict[str, InputTensor]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise invalid(f"the inputs are not valid JSON: {error}") from None
    if not isinstance(given, dict):
        raise invalid('the inputs must be an object of tensors by name, such as {"x": [[1, 2]]}')
    unknown = given.keys() - model.inputs.keys()
    if unknown:
        raise invalid(f"model '{model.name}' has no input '{min(unknown)}'; inputs: {', '.join(model.inputs)}")
    return {name: _tensor(name, values, model.inputs[name]) for name, values in given.items()}


def _tensor(name: str, values: Any, datatype: str) -> InputTensor:
    try:
        array = np.array(values, dtype=BY_NAME[datatype].numpy)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"input '{name}' does not contain {datatype} values: {error}") from None
    return InputTensor(datatype, array)


def _row(array: np.ndarray, row: int, rows: int) -> np.ndarray:
    """Return one text's part of an output; a model without a batch axis gets one text per request."""
    return array[row] if rows > 1 or (array.ndim > 1 and len(array) == 1) else array


def _line_writer(options: argparse.Namespace) -> Any:
    if options.json or (options.output_file and options.output_file.suffix in (".json", ".jsonl")):
        return _write_json
    return _write_plain if options.output_file else _write_readable


def _write_json(stream: TextIO, text: str, outputs: Answer) -> None:
    stream.write(_json({"text": text, **{name: _json_value(array) for name, array in outputs.items()}}))


def _write_plain(stream: TextIO, text: str, outputs: Answer) -> None:
    """Write a response of one string as a plain line, so that N texts yield N lines; write others as JSON."""
    arrays = list(outputs.values())
    if len(arrays) == 1 and arrays[0].dtype == np.object_ and arrays[0].size == 1:
        stream.write(_word(arrays[0].item()).replace("\n", " ") + "\n")
    else:
        _write_json(stream, text, outputs)


def _write_readable(stream: TextIO, text: str, outputs: Answer) -> None:
    stream.write(f"{text}\n")
    _print_answer(stream, outputs, as_json=False, indent="  ")


def _print_answer(stream: TextIO, outputs: Answer, *, as_json: bool, indent: str = "") -> None:
    if as_json:
        stream.write(_json({name: _json_value(array) for name, array in outputs.items()}))
        return
    for name, array in outputs.items():
        shape = "x".join(map(str, array.shape)) or "scalar"
        stream.write(f"{indent}{name} [{shape}] {_readable(array)}\n")


def _readable(array: np.ndarray, shown: int = 8) -> str:
    values: Iterable[Any] = array.ravel()[:shown].tolist()
    words = [_word(value) for value in values]
    return " ".join(words) + (" ..." if array.size > shown else "")


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _json(values: dict[str, Any]) -> str:
    """Return one line of JSON; numbers have as many digits as their datatype carries."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode() + "\n"


def _json_value(array: np.ndarray) -> Any:
    if array.dtype.kind == "O":
        return _strings(array.tolist())
    return np.ascontiguousarray(array, np.float32 if array.dtype.kind == "V" else None)  # JSON has no bfloat16


def _strings(value: Any) -> Any:
    return [_strings(each) for each in value] if isinstance(value, list) else _word(value)
