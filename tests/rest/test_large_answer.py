"""Large responses: sent while they are encoded, bounded in memory, and never half a response that looks whole."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from slipway.core.budget import SHARE, TOO_MUCH_HELD, Budget
from slipway.core.bytes_codec import encode_bytes
from slipway.core.pending import Pending
from slipway.core.tensor import Tensor
from slipway.engine.api import ServerMetadata
from slipway.rest import large_answer
from slipway.rest.app import build_app
from slipway.rest.connection import HttpLimits
from slipway.wire import json_pieces
from tests.kits.memory_dataplane import MemoryDataplane, Model, answer, signature
from tests.rest.conftest import Served, read_to_end, serve
from tests.rest.models import dataplane

MIB = 1 << 20
VALUES = np.arange(600_000, dtype=np.float32)  # more than 4 MiB as JSON


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve the tiny models over HTTP."""
    plane = dataplane()
    with serve(plane, build_app(plane)) as running:
        yield running


def message(values: np.ndarray, **outputs: object) -> tuple[bytes, dict[str, str]]:
    """Return a request whose one input is binary, and the header that such a body needs."""
    blob = values.tobytes()
    shape = [1, values.size]
    entry = {"name": "IN0", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [entry], **outputs}).encode()
    return head + blob, {"Inference_Header_Content_Length": str(len(head))}


def raw_request(body: bytes, headers: dict[str, str], version: str = "1.1") -> bytes:
    """Return the bytes of an HTTP request."""
    given = {"Host": "x", "Content-Length": len(body), **headers}
    lines = (f"{name.replace('_', '-')}: {value}" for name, value in given.items())
    return "\r\n".join((f"POST /v2/models/echo/infer HTTP/{version}", *lines, "", "")).encode() + body


def data_of(body: bytes) -> np.ndarray:
    """Return the values of the only output."""
    return np.array(json.loads(body)["outputs"][0]["data"], np.float32)


def wait_until(condition) -> None:
    """Wait until `condition()` holds; fail after 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_large_response_of_numbers_has_no_length_and_is_whole(served):
    body, headers = message(VALUES)
    answer = served.ask("POST", "/v2/models/echo/infer", body, **headers)
    assert answer.status == 200
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers
    assert answer.headers["Content-Type"] == "application/json"
    np.testing.assert_array_equal(data_of(answer.body), VALUES)


def test_a_response_that_is_not_so_large_has_a_length(served):
    body, headers = message(VALUES[:100_000])
    answer = served.ask("POST", "/v2/models/echo/infer", body, **headers)
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    np.testing.assert_array_equal(data_of(answer.body), VALUES[:100_000])


def test_binary_outputs_have_a_length(served):
    body, headers = message(VALUES, parameters={"binary_data_output": True})
    answer = served.ask("POST", "/v2/models/echo/infer", body, **headers)
    size = int(answer.headers["Inference-Header-Content-Length"])
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    np.testing.assert_array_equal(np.frombuffer(answer.body[size:], np.float32), VALUES)


@pytest.mark.parametrize(("coding", "decoded"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_large_response_is_compressed_while_it_is_sent(served, coding, decoded):
    body, headers = message(VALUES)
    answer = served.ask("POST", "/v2/models/echo/infer", body, **headers, Accept_Encoding=coding)
    assert answer.headers["Content-Encoding"] == coding
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert len(answer.body) < 3 * MIB
    np.testing.assert_array_equal(data_of(decoded(answer.body)), VALUES)


def test_http_1_0_gets_the_response_until_the_connection_closes(served):
    body, headers = message(VALUES)
    head, _, document = served.send(raw_request(body, headers, "1.0")).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"Connection: close" in head
    np.testing.assert_array_equal(data_of(document), VALUES)


def test_the_next_request_of_a_connection_follows_a_large_response(served):
    body, headers = message(VALUES)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    for values in (VALUES, VALUES[:4], VALUES):
        body, headers = message(values)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/v2/models/echo/infer", body, named)
        np.testing.assert_array_equal(data_of(connection.getresponse().read()), values)
    connection.close()


def test_only_what_the_client_reads_is_encoded(served, monkeypatch):
    taken: list[int] = []
    take = large_answer._take

    def counted(pieces, size):
        found = take(pieces, size)
        taken.append(sum(map(len, found)))
        return found

    monkeypatch.setattr(large_answer, "_take", counted)
    values = np.full(4_000_000, 1 / 3, np.float32)  # 44 MiB as JSON
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(raw_request(*message(values)))
        wait_until(lambda: sum(taken) > 4 * MIB)
        time.sleep(0.5)  # it would go on if it did not wait for the client
        assert sum(taken) < 20 * MIB
        received = 0
        while received < 40 * MIB:
            received += len(connection.recv(MIB))
    assert sum(taken) > 40 * MIB


def test_a_client_that_closes_its_side_still_gets_the_rest(served):
    values = np.full(4_000_000, 1 / 3, np.float32)  # 44 MiB as JSON
    with served.connect() as connection:
        connection.sendall(raw_request(*message(values)))
        received = [connection.recv(4096)]
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(MIB):
            received.append(part)
    whole = b"".join(received)
    assert whole.startswith(b"HTTP/1.1 200 ")
    assert whole.endswith(b"]}]}\r\n0\r\n\r\n")


def test_the_numbers_of_a_response_that_is_sent_in_parts_count_until_it_is_read():
    values = np.full(4_000_000, 1 / 3, np.float32)

    def make(_: MemoryDataplane, pending: Pending) -> None:
        answer(pending, Tensor.from_array("OUT0", values))

    model = Model(signature("source", "IN0 FP32 -1", "OUT0 FP32 -1", batch=8), make)
    plane = MemoryDataplane([model], metadata=ServerMetadata("triton", "2.51.0", ()))
    budget = Budget(6 * MIB)
    small, headers = message(VALUES[:4])
    request = raw_request(small, headers | {"Connection": "close"}).replace(b"models/echo", b"models/source")
    with serve(plane, build_app(plane), budget=budget) as running, running.connect() as slow:
        slow.sendall(request)
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert budget.held == values.nbytes // SHARE
        assert running.send(request).startswith(b"HTTP/1.1 503 ")
        read_to_end(slow)
        wait_until(lambda: budget.held == 0)


def test_a_client_that_leaves_ends_the_encoding_and_frees_the_budget(monkeypatch):
    budget = Budget(64 * MIB)
    plane = dataplane()
    with serve(plane, build_app(plane), budget=budget) as running:
        with running.connect() as connection:
            connection.sendall(raw_request(*message(np.full(4_000_000, 1 / 3, np.float32))))
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
            assert budget.held > 15 * MIB
        wait_until(lambda: budget.held == 0)
        assert running.ask("GET", "/v2/health/live").status == 200


def test_a_response_beyond_the_budget_is_refused_and_its_budget_returned():
    budget = Budget(6 * MIB)
    plane = dataplane()
    with serve(plane, build_app(plane), budget=budget) as running:
        raw = encode_bytes([b"\x01" * (2 * MIB)])  # six times as much as JSON
        entry = {"name": "IN0", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [entry]}).encode()
        length = str(len(head))
        answer = running.ask("POST", "/v2/models/text/infer", head + raw, Inference_Header_Content_Length=length)
        assert answer.status == 503
        assert json.loads(answer.body)["error"] == TOO_MUCH_HELD
        wait_until(lambda: budget.held == 0)
        small, headers = message(VALUES[:4])
        assert running.ask("POST", "/v2/models/echo/infer", small, **headers).status == 200


def test_a_response_counts_until_the_client_has_read_it():
    budget = Budget(64 * MIB)
    plane = dataplane()
    values = np.zeros(6_000_000, np.float32)
    with serve(plane, build_app(plane), HttpLimits(send_s=60), budget=budget) as running, running.connect() as slow:
        slow.sendall(raw_request(*message(values, parameters={"binary_data_output": True})))
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert budget.held >= values.nbytes
        received = 0
        while received < values.nbytes - 4096:
            received += len(slow.recv(MIB))
        wait_until(lambda: budget.held == 0)


@pytest.mark.parametrize("failing", [MemoryError(), ValueError("a bug")], ids=["memory", "bug"])
def test_a_response_that_cannot_be_completed_is_cut_off(served, monkeypatch, failing):
    numbers, count = json_pieces.numbers, iter(range(10**6))

    def failing_later(flat):
        if next(count) > 32:
            raise failing
        return numbers(flat)

    monkeypatch.setattr(json_pieces, "numbers", failing_later)
    body, headers = message(VALUES)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        served.ask("POST", "/v2/models/echo/infer", body, **headers)
    monkeypatch.undo()
    np.testing.assert_array_equal(data_of(served.ask("POST", "/v2/models/echo/infer", body, **headers).body), VALUES)


def test_a_lack_of_memory_is_a_reason_to_try_again(served, monkeypatch):
    def failing(flat):
        raise MemoryError

    monkeypatch.setattr(json_pieces, "numbers", failing)
    body, headers = message(VALUES[:50_000])
    answer = served.ask("POST", "/v2/models/echo/infer", body, **headers)
    assert answer.status == 503
    assert json.loads(answer.body)["error"] == (
        "the server does not have enough memory for this request; try again later"
    )
    assert answer.headers["Retry-After"]


def test_many_readers_at_once_get_their_own_values(served):
    found: dict[int, bool] = {}

    def ask(seed: int) -> None:
        values = np.random.default_rng(seed).normal(size=500_000).astype(np.float32)
        body, headers = message(values)
        found[seed] = np.array_equal(data_of(served.ask("POST", "/v2/models/echo/infer", body, **headers).body), values)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), True)
