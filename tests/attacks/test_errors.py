"""Attacks on error messages and on the ends of connections: each gets a typed, short answer, and nobody waits."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.attack.json_corpus import LONG_NUMBERS, NUMBER_FIELDS, with_long_number
from tests.attacks.conftest import Target, assert_refused, read_all

SECONDS = 20
LONG = "n" * 5000
CUT = "n" * 256 + "..."
TOO_BIG = "failed to parse the request JSON buffer: Number too big to be stored in double."
ONE = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": [0] * 16}
STREAMING = """\
import os, time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            events = pb_utils.get_input_tensor_by_name(request, "EVENTS")
            for number in range(int(events.as_numpy().reshape(-1)[0])):
                time.sleep(0.2)
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("NUMBER", events.as_numpy() * 0 + number)]))
            while events.as_numpy().reshape(-1)[0] == 0 and not request.is_cancelled():
                time.sleep(0.02)
            if request.is_cancelled():
                open(os.path.join(pb_utils.get_model_dir(), "cancelled"), "a").write("once\\n")
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
STREAMING_CONFIG = """\
backend: "python"
input [ { name: "EVENTS" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "NUMBER" data_type: TYPE_INT32 dims: [ 1 ] } ]
model_transaction_policy { decoupled: true }
"""


# numbers


@pytest.mark.parametrize("digits", ["9" * 400, "-" + "9" * 400, "1" + "0" * 4000], ids=["400", "-400", "4001"])
def test_a_number_of_hundreds_of_digits_is_refused_in_tritons_words(target, digits):
    numbers = ", ".join([digits] * 16)
    entry = json.dumps({**ONE, "data": "?"}).replace('"?"', f"[{numbers}]")
    valid = json.dumps(ONE)
    for request in (
        f'{{"inputs": [{entry}]}}',
        f'{{"inputs": [{valid}], "parameters": {{"mine": {digits}}}}}',
        f'{{"inputs": [{valid}], "parameters": {{"mine": {digits}, "other": NaN}}}}',
    ):
        assert_refused(target.infer("fp32", request.encode()), TOO_BIG, 500)
    for request in (f'{{"INPUT0": [{numbers}]}}', f'{{"mine": {digits}}}', f'{{"parameters": {{"mine": {digits}}}}}'):
        assert_refused(target.ask("POST", "/v2/models/fp32/generate", request.encode()), TOO_BIG, 500)


@pytest.mark.parametrize("digits", LONG_NUMBERS.values(), ids=LONG_NUMBERS)
@pytest.mark.parametrize("field", NUMBER_FIELDS)
def test_a_large_number_in_any_field_is_not_an_internal_error(target, field, digits):
    answer = target.infer("fp32", with_long_number({"inputs": [ONE]}, field, digits))
    assert answer.status in (400, 500)
    assert "internal error" not in answer.error
    assert len(answer.error) < 1000


# texts


REPEATED = [{**ONE, "name": LONG}, {**ONE, "name": LONG}]
LONG_TEXTS: dict[str, Callable[[Target], object]] = {
    "model": lambda target: target.infer(LONG, {}),
    "model of a load": lambda target: target.ask("POST", f"/v2/repository/models/{LONG}/load"),
    "statistics": lambda target: target.ask("GET", f"/v2/models/{LONG}/stats"),
    "version": lambda target: target.ask("GET", f"/v2/models/fp32/versions/{'1' * 5000}"),
    "id": lambda target: target.infer("fp32", {"id": LONG, "inputs": [{**ONE, "datatype": "INT32"}]}),
    "input": lambda target: target.infer("fp32", {"inputs": [{**ONE, "name": LONG}]}),
    "inputs": lambda target: target.infer("fp32", {"inputs": [{**ONE, "name": f"{n}{LONG}"} for n in range(50)]}),
    "input twice": lambda target: target.infer("fp32", {"inputs": REPEATED}),
    "datatype": lambda target: target.infer("fp32", {"inputs": [{**ONE, "name": LONG, "datatype": "X"}]}),
    "half": lambda target: target.infer("fp32", {"inputs": [{**ONE, "name": LONG, "datatype": "FP16"}]}),
    "output": lambda target: target.infer("fp32", {"inputs": [ONE], "outputs": [{"name": LONG}]}),
    "output twice": lambda target: target.infer("fp32", {"inputs": [ONE], "outputs": [{"name": LONG}] * 2}),
    "parameter": lambda target: target.infer("fp32", {"inputs": [ONE], "parameters": {LONG: None}}),
    "key twice": lambda target: target.infer("fp32", f'{{"{LONG}": 1, "{LONG}": 2, "inputs": []}}'.encode()),
    "shape": lambda target: target.infer("fp32", {"inputs": [{**ONE, "shape": [1] * 32 + [16] * 0}]}),
    "header length": lambda target: target.infer("fp32", {}, Inference_Header_Content_Length="9" * 5000),
}


@pytest.mark.parametrize("ask", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_what_a_client_sends_is_shown_cut(target, ask):
    answer = ask(target)
    assert answer.status in (400, 404, 500, 503)
    assert "n" * 257 not in answer.error
    assert "1" * 257 not in answer.error
    assert len(answer.error) < 3000


def test_a_text_of_ordinary_length_is_shown_whole_and_a_longer_one_with_dots(target):
    for name, shown in (("n" * 256, "n" * 256), (LONG, CUT)):
        assert_refused(target.infer(name, {}), f"Request for unknown model: '{shown}' is not found", 404)


def test_names_over_grpc_are_cut_too(tmp_path):
    (tmp_path / "models").mkdir()
    with (
        running_server(tmp_path / "models") as running,
        tritonclient.grpc.InferenceServerClient(running.grpc) as client,
    ):
        for ask in (client.get_model_metadata, client.get_inference_statistics, lambda name: client.infer(name, [])):
            with pytest.raises(InferenceServerException, match=f"'{'n' * 256}\\.\\.\\.'"):
                ask(LONG)


def test_whatever_is_unavailable_says_when_to_ask_again(target):
    answer = target.ask("POST", "/v2/repository/models/fp32/load")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "Retry-After" not in target.ask("GET", "/v2").headers


# ragged lists


@pytest.mark.parametrize("data", [[[1], [2, 3]], [1, [2, 3]], [[1, 2], 3], [[[1]], [2, 3]]], ids=str)
@pytest.mark.parametrize(("model", "kind"), [("int64", "INT64"), ("bytes", "BYTES")])
def test_ragged_lists_are_refused(target, model, kind, data):
    text = json.dumps(data) if kind == "INT64" else json.dumps(data).translate({ord(n): f'"{n}"' for n in "123"})
    entry = json.dumps({"name": "INPUT0", "datatype": kind, "shape": [1, 3], "data": "?"}).replace('"?"', text)
    answer = target.infer(model, f'{{"inputs": [{entry}]}}'.encode())
    assert_refused(answer, "Shape does not match true shape of 'data' field", 500)


# half-closed connections


@pytest.fixture(scope="module")
def streaming(tmp_path_factory) -> Iterator[tuple[Target, Path]]:
    """Yield a server with a model that streams, and the file that the model writes when it is cancelled."""
    models = tmp_path_factory.mktemp("half-closed") / "models"
    (models / "stream" / "1").mkdir(parents=True)
    (models / "stream" / "1" / "model.py").write_text(STREAMING)
    (models / "stream" / "config.pbtxt").write_text(STREAMING_CONFIG)
    with running_server(models) as running:
        yield Target(running.ports.http, running.pid), models / "stream" / "1" / "cancelled"


def begin(target: Target, events: int, version: bytes = b"1.1") -> socket.socket:
    """Return a connection on which a stream of `events` was requested; 0 is one without end."""
    connection = target.connect()
    body = json.dumps({"EVENTS": events}).encode()
    head = b"POST /v2/models/stream/generate_stream HTTP/%b\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % (version, len(body)) + body)
    return connection


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("delay", [0, 0.5], ids=["at once", "after events"])
def test_a_client_that_closes_its_side_still_gets_its_stream(streaming, version, delay):
    with begin(streaming[0], 12, version) as connection:
        time.sleep(delay)
        connection.shutdown(socket.SHUT_WR)
        received = read_all(connection, SECONDS)  # until the server closes
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [n for n in range(12) if b'"NUMBER":%d}' % n in received] == list(range(12))
    assert received.endswith(b"0\r\n\r\n" if version == b"1.1" else b"}\n\n")


def test_requests_behind_a_stream_are_answered_after_its_client_closed_its_side(streaming):
    with begin(streaming[0], 2) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection, SECONDS).count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("how", ["closed", "half-closed, then closed"])
def test_a_client_that_is_gone_still_cancels_its_stream(streaming, how):
    target, cancelled = streaming
    cancelled.unlink(missing_ok=True)
    with begin(target, 0) as connection:
        time.sleep(0.3)
        if how != "closed":
            connection.shutdown(socket.SHUT_WR)
            time.sleep(2.5)
            assert not cancelled.exists()
    deadline = time.monotonic() + SECONDS
    while not cancelled.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cancelled.read_text() == "once\n"
