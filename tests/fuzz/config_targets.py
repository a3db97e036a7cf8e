"""Targets: configurations, options, requests in files, and what a server answers to our client."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any, Final

from slipway.cli.client import CommandClient
from slipway.cli.event_stream import read_events, refusal_text
from slipway.cli.request_file import read_request
from slipway.cli.tls import Address, Tls
from slipway.config.normalise import normalise
from slipway.config.options import parse_options
from slipway.config.parse import parse_config, parse_config_json
from slipway.config.signature import build_signature
from slipway.config.validate import validate
from slipway.convert.encoders.declared import parse_input
from slipway.convert.module.io_config import choose_inputs, parse_model_io
from slipway.lint.document import scan
from slipway.lint.syntax import read_text
from tests.fuzz.target import Target, in_directory, text_of

_CONFIG: Final = (
    b"input [ {", b"output {", b"name: ", b"dims: [", b"data_type: TYPE_FP32", b"max_batch_size: ", b"} ]", b"}",
    b"dynamic_batching { }", b"parameters { key: ", b"ensemble_scheduling { step {", b"instance_group [{ count: ",
    b"sequence_batching {", b"version_policy: { specific { versions: [", b"reshape: { shape: [ ] }", b"#", b"'",
)  # fmt: skip
_JSON: Final = (
    b'"name":',
    b'"request":',
    b'"config":',
    b'"data":',
    b'"shape":',
    b'"dtype":',
    b'"inputs":',
    b'"error":',
)
_FLAGS: Final = (b"--model-repository=", b"--backend-config=", b"\n", b"--http-port", b"=", b",")
_LABELLED: Final = """
name: "m" backend: "onnxruntime"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 3 label_filename: "labels.txt" }
"""
_ADDRESS: Final = Address.of("localhost:1", encrypted=False)


def _config(data: bytes) -> None:
    """Read, complete and check a configuration as a load does, up to the files that it names."""
    config = parse_config(text_of(data), "config.pbtxt")
    normalise(config)
    if not validate(config, Path("/nonexistent")):
        build_signature(config, Path("/nonexistent"))


def _linted(data: bytes) -> None:
    scan(text_of(data))
    read_text(text_of(data), "m", Path("config.pbtxt"))


def _labels(data: bytes) -> None:
    config = parse_config(_LABELLED, "config.pbtxt")
    with in_directory("labels.txt", data) as directory:
        build_signature(config, directory)


def _options(data: bytes) -> None:
    try:
        parse_options([text_of(word) for word in data.split(b"\n")])
    except SystemExit:  # after --help
        return


def _model_io(data: bytes) -> None:
    first, _, second = text_of(data).partition("\n")
    choose_inputs(parse_model_io(first), second)


class _Answers:
    """Stands in for tritonclient's connection: every call returns the same document."""

    def __init__(self, document: Any) -> None:
        self._document = document

    def get_model_metadata(self, _model: str, _version: str) -> Any:
        return self._document

    get_model_config = get_model_metadata


def _description(data: bytes) -> None:
    """Describe a model by the answer of a server; tritonclient reads the JSON."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    description = CommandClient(None, _Answers(document), _ADDRESS, "http", Tls()).describe("m", "")
    description.text_array(["a"])


def _events(data: bytes) -> None:
    for _ in read_events(io.BytesIO(data)):
        pass


def quiet() -> None:
    """Silence the warnings of the readers: most inputs deserve one."""
    logging.disable(logging.CRITICAL)


CONFIG_TARGETS: Final = (
    Target("config-pbtxt", _config, _CONFIG),
    Target("config-json", lambda data: parse_config_json(text_of(data)), (b'"input":', b'"dims":', b'"maxBatchSize":')),
    Target("config-lint", _linted, _CONFIG, slow=True),
    Target("labels", _labels),
    Target("options", _options, _FLAGS, slow=True),
    Target("request-file", lambda data: read_request(text_of(data)), _JSON),
    Target("module-io", _model_io, _JSON),
    Target("declared-input", lambda data: parse_input(text_of(data)), (b"INT64", b":", b"-1", b",")),
    Target("client-description", _description, _JSON),
    Target("client-events", _events, (b"data: ", b"\n\n", *_JSON)),
    Target("client-refusal", refusal_text, _JSON),
)
