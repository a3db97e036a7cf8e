"""Send text lines or JSON tensors to a running server and print the responses."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from slipway.cli.answers import as_json_line, text_writer, write_answer
from slipway.cli.client import Answer, CommandClient, open_client
from slipway.cli.client_key import requested_key
from slipway.cli.description import InputTensor, ModelDescription
from slipway.cli.explanation import write_explanation
from slipway.cli.infer_parser import DEFAULT_BATCH, check_combination, gives_tensors, infer_parser
from slipway.cli.model_flags import apply_flags, help_lines, split_flags
from slipway.cli.output import fold
from slipway.cli.request_file import read_request
from slipway.cli.tls import Tls
from slipway.core.explanation import EXPLAIN
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, invalid


def run(arguments: Sequence[str]) -> int:
    """Send the requests in order and print each response as it arrives; return 0 if all succeeded."""
    if _asks_for_model_help(arguments):
        return _model_help(arguments)
    parser = infer_parser()
    words, flags = split_flags(arguments, parser)
    options = parser.parse_args(words)
    check_combination(parser, options)
    if options.request is not None:
        if flags:
            parser.error(f"unrecognized arguments: {' '.join(each.word for each in flags)}")
        return _send_file(options)
    if options.model is None:
        raise invalid("MODEL is missing: slipway infer MODEL --text ...")
    client = _client(options)
    model = client.describe(options.model, options.model_version)
    call = _Call(client, model, partial(apply_flags, flags, model, parser), options.explain)
    call.flags(1)  # an unknown one is refused before a file is opened
    output = options.output_file.open("w", encoding="utf-8") if options.output_file else nullcontext(sys.stdout)
    with output as stream:
        if gives_tensors(options):
            _send_tensors(call, options, stream)
        else:
            _send_texts(call, options, stream)
    return 0


@dataclass(frozen=True, slots=True)
class _Call:
    """A model on a server, and the inputs and parameters that the flags set for a number of rows."""

    client: CommandClient
    model: ModelDescription
    flags: Callable[[int], tuple[dict[str, InputTensor], dict[str, Any]]]
    explain: bool

    def answers(self, inputs: Mapping[str, InputTensor], rows: int) -> Iterator[Answer]:
        """Yield the responses to a request: several, as they arrive, if the model is decoupled, else one."""
        more, parameters = self.flags(rows)
        twice = sorted(more.keys() & inputs.keys())
        if twice:
            raise invalid(f"input '{twice[0]}' is given twice: with the other inputs and as a flag")
        if self.explain:
            parameters |= {EXPLAIN: True}
        if self.model.decoupled:
            yield from self.client.stream(self.model, {**more, **inputs}, parameters)
        else:
            yield self.client.infer(self.model, {**more, **inputs}, parameters)


def _send_tensors(call: _Call, options: argparse.Namespace, stream: TextIO) -> None:
    text = options.inputs if options.inputs is not None else _read(options.input_file)
    inputs = _json_inputs(call.model, text)
    rows = max((len(each.array) for each in inputs.values() if each.array.ndim > 1), default=1)
    for answer in call.answers(inputs, rows):
        write_answer(stream, answer, as_json=options.json or bool(options.output_file))
    _explain(call.client, options)


def _send_texts(call: _Call, options: argparse.Namespace, stream: TextIO) -> None:
    write = text_writer(as_json=options.json, file=options.output_file)
    texts = options.text or _read(options.input_file).splitlines()
    for batch in _batches(texts, call.model, DEFAULT_BATCH if options.batch is None else options.batch):
        answers = call.answers({call.model.text_input: call.model.text_array(batch)}, len(batch))
        if call.model.decoupled:
            write(stream, batch[0], answers)
            _explain(call.client, options)
            continue
        [answer] = answers
        for row, text in enumerate(batch):
            write(stream, text, [{name: _row(array, row, len(batch)) for name, array in answer.items()}])
        _explain(call.client, options)


def _client(options: argparse.Namespace, url: str | None = None, protocol: str = "grpc") -> CommandClient:
    files = (options.ca_certificate, options.client_certificate, options.client_key)
    used = options.ssl or options.insecure or any(files)
    tls = Tls(used, *files, verified=not options.insecure)
    address, spoken = options.url or url, options.protocol or protocol
    return open_client(address, spoken, tls, wait_s=options.wait, headers=requested_key(options))


def _asks_for_model_help(arguments: Sequence[str]) -> bool:
    """Return whether the command is `slipway infer MODEL --help`."""
    return len(arguments) > 1 and not arguments[0].startswith("-") and bool({"-h", "--help"} & set(arguments[1:]))


def _model_help(arguments: Sequence[str]) -> int:
    """Print the usage, and the inputs and flags of the model if the server can be reached."""
    parser = infer_parser(needs_input=False)
    parser.print_help()
    rest, _ = split_flags([each for each in arguments if each not in ("-h", "--help")], parser)
    options = parser.parse_args(rest)
    try:
        model = _client(options).describe(options.model, options.model_version)
    except SlipwayError as error:
        print(f"\ninputs of '{options.model}' are unknown: {error.message}")
        return 0
    print(f"\ninputs of '{model.name}':")
    lines = list(help_lines(model))
    for name, datatype in model.inputs.items():
        if name not in model.optional:
            print(f"  {name} {datatype}")
    if lines:
        print(f"\nflags of '{model.name}', which hold for every text of a request:")
        print(fold("\n".join(lines)))
    return 0


def _send_file(options: argparse.Namespace) -> int:
    """Send the request in a file; print its response, or every response of a stream."""
    request = read_request(_read(options.request), options.params)
    if options.test_growth and not request.streams:
        raise invalid("--test-growth needs a request that streams, with 'stream_api' true in its 'config'")
    protocol = options.protocol or request.protocol
    client = _client(options, request.url or None, protocol)
    model, version = options.model or request.model, options.model_version
    parameters = {EXPLAIN: True} if options.explain else None
    if not request.streams:
        answer = client.infer(client.describe(model, version), request.tensors, parameters)
        _print_whole(answer, as_json=options.json)
        _explain(client, options)
        return 0
    if protocol != "grpc":
        raise invalid(f"streaming needs protocol grpc, not {protocol}")
    tokens: list[int] = []
    for answer in client.stream(ModelDescription(model, {}, {}, 0, version=version), request.tensors, parameters):
        before, tokens = tokens, _tokens(answer)
        print(as_json_line({"tokens": tokens}) if options.json else f"tokens {tokens}\n", end="", flush=True)
        if options.test_growth and (len(tokens) != len(before) + 1 or tokens[: len(before)] != before):
            raise invalid(f"the stream went from {len(before)} to {len(tokens)} tokens, expected one more")
    _explain(client, options)
    return 0


def _explain(client: CommandClient, options: argparse.Namespace) -> None:
    """Print the explanation of the last request, if the command asks for it."""
    if options.explain:
        write_explanation(sys.stdout, client.explanation, as_json=options.json)


def _tokens(answer: Answer) -> list[int]:
    """Return the tokens of the first row's best hypothesis so far."""
    missing = {"output_ids", "sequence_length"} - answer.keys()
    if missing:
        raise invalid(f"a streamed response lacks {' and '.join(sorted(missing))}: this model's tokens cannot be shown")
    return [int(token) for token in answer["output_ids"][0, 0, : int(answer["sequence_length"][0, 0])]]


def _print_whole(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        write_answer(sys.stdout, answer, as_json=True)
        return
    for name, array in answer.items():
        print(f"{name}:\n{array}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise invalid(f"'{path}' is not valid UTF-8: {error.reason} at byte {error.start}") from None


def _batches(texts: Sequence[str], model: ModelDescription, limit: int) -> Iterator[Sequence[str]]:
    size = 1 if model.decoupled else max(1, min(limit, model.most_rows or limit))  # one stream per text
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _json_inputs(model: ModelDescription, text: str) -> dict[str, InputTensor]:
    try:
        given = json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise invalid(f"the inputs are not valid JSON: {error}") from None
    if not isinstance(given, dict):
        raise invalid('the inputs must be an object of tensors by name, such as {"x": [[1, 2]]}')
    unknown = given.keys() - model.inputs.keys()
    if unknown:
        raise invalid(f"model '{model.name}' has no input '{min(unknown)}'; inputs: {', '.join(model.inputs)}")
    return {name: _tensor(name, values, model.inputs[name]) for name, values in given.items()}


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; raise INVALID_ARG if a name occurs twice, as all but the last value would be lost."""
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise invalid(f"input '{repeated[0]}' is given twice")
    return dict(pairs)


def _tensor(name: str, values: Any, datatype: str) -> InputTensor:
    try:
        array = np.array(values, dtype=BY_NAME[datatype].numpy)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"input '{name}' does not contain {datatype} values: {error}") from None
    return InputTensor(datatype, array)


def _row(array: np.ndarray, row: int, rows: int) -> np.ndarray:
    """Return one text's part of an output; a model without a batch axis gets one text per request."""
    return array[row] if rows > 1 or (array.ndim > 1 and len(array) == 1) else array
