"""The HTTP transport of the file client, against servers that answer as written here."""

from __future__ import annotations

import asyncio
import json
import socket
import threading

import pytest

from slipway.client.endpoint import Endpoint
from slipway.core.bytes_codec import encode_bytes
from slipway.errors import Code, SlipwayError
from slipway.lines.http_connection import HttpModelConnection
from slipway.lines.text_model import TextModel

MODEL = TextModel("m", "", "in", "out", rows=8, trailing=(1,), single=False)


def response(body, status="200 OK", headers=""):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(text)}\r\n\r\n".encode() + text


def binary(values, *, before=b""):
    raw = encode_bytes(values)
    outputs = [{"name": "ids", "parameters": {"binary_data_size": len(before)}}] if before else []
    outputs.append({"name": "out", "parameters": {"binary_data_size": len(raw)}})
    head = json.dumps({"outputs": outputs}).encode()
    return response(head + before + raw, headers=f"Inference-Header-Content-Length: {len(head)}\r\n")


class Scripted(threading.Thread):
    """A server that answers each request with the next of `answers`, and then closes the connection; None closes it
    at once, and the next answer belongs to a new connection."""

    def __init__(self, answers, *, size=1 << 20):
        super().__init__(daemon=True)
        self._answers = list(answers)
        self._size = size
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def run(self):
        with self._listener:
            while self._answers:
                connection, _ = self._listener.accept()
                with connection, connection.makefile("rb") as requests:
                    while self._answers and self._answered(connection, requests):
                        pass

    def _answered(self, connection, requests):
        length = 0
        while (line := requests.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        requests.read(length)
        answer = self._answers.pop(0)
        if answer is None:
            return False
        for start in range(0, len(answer), self._size):
            connection.sendall(answer[start : start + self._size])
        if self._answers and self._answers[0] is None:
            self._answers.pop(0)
            return False
        return True


def talk(answers, ask, *, size=1 << 20):
    """Return what `ask(connection)` returns while a server gives these answers, in pieces of `size` bytes."""
    server = Scripted(answers, size=size)
    server.start()

    async def run():
        connection = HttpModelConnection(Endpoint("127.0.0.1", server.port))
        try:
            return await ask(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    finally:
        server.join()


def infer(*lines):
    return lambda connection: connection.infer(MODEL, lines)


@pytest.mark.parametrize(
    "answer",
    [
        binary([b"A", b"B"]),
        binary([b"A", b"B"], before=b"\1\0\0\0\2\0\0\0"),
        response({"outputs": [{"name": "out", "shape": [2, 1], "data": ["A", "B"]}]}),
        response({"outputs": [{"name": "ids", "data": [1, 2]}, {"name": "out", "data": [["A"], ["B"]]}]}),
    ],
    ids=["binary", "after another output", "JSON", "nested JSON"],
)
def test_the_output_is_read_in_each_of_its_forms(answer):
    assert talk([answer], infer(b"a", b"b")) == [[b"A"], [b"B"]]


def test_an_answer_in_pieces_of_one_byte_is_whole():
    assert talk([binary([b"A" * 300])], infer(b"a"), size=1) == [[b"A" * 300]]


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (response({"error": "full"}, "503 Service Unavailable"), Code.UNAVAILABLE, "full"),
        (response({"error": "slow down"}, "429 Too Many Requests"), Code.UNAVAILABLE, "slow down"),
        (response({"error": "gone"}, "404 Not Found"), Code.NOT_FOUND, "gone"),
        (response({"error": "Request for unknown model: 'm'"}, "400 Bad Request"), Code.NOT_FOUND, "unknown model"),
        (response({"error": "too long"}, "400 Bad Request"), Code.INVALID_ARG, "too long"),
        (response({"error": "failed"}, "500 Internal Server Error"), Code.INTERNAL, "failed"),
        (response(b"<html>no</html>", "413 Too Large"), Code.INVALID_ARG, "<html>no</html>"),
        (response(b"", "500 Internal Server Error"), Code.INTERNAL, "HTTP status 500"),
        (response(b"hello"), Code.INVALID_ARG, "not an inference server"),
        (response({"outputs": []}), Code.INVALID_ARG, "does not contain the output 'out'"),
        (binary([b"A"])[:-1], Code.UNAVAILABLE, "closed the connection"),
        (b"SSH-2.0\r\n\r\n", Code.UNAVAILABLE, "not HTTP"),
        (None, Code.UNAVAILABLE, "closed the connection"),
    ],
)
def test_an_error_says_whether_the_server_is_away_or_refuses(answer, code, message):
    with pytest.raises(SlipwayError) as caught:
        talk([answer], infer(b"a"))
    assert caught.value.code is code
    assert message in caught.value.message


def test_a_server_that_stays_silent_is_away():
    async def ask(port):
        connection = HttpModelConnection(Endpoint("127.0.0.1", port, timeout=0.05))
        await connection.infer(MODEL, [b"a"])

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(SlipwayError, match="does not answer") as caught,
    ):
        asyncio.run(ask(silent.getsockname()[1]))
    assert caught.value.code is Code.UNAVAILABLE


def test_a_connection_that_was_closed_while_idle_is_opened_again():
    async def ask(connection):
        return [await connection.infer(MODEL, [b"a"]), await connection.infer(MODEL, [b"b"])]

    assert talk([binary([b"A"]), None, binary([b"B"])], ask) == [[[b"A"]], [[b"B"]]]


def test_an_output_that_is_cut_short_is_refused():
    raw = encode_bytes([b"ABC"])
    head = json.dumps({"outputs": [{"name": "out", "parameters": {"binary_data_size": len(raw) - 1}}]}).encode()
    answer = response(head + raw[:-1], headers=f"Inference-Header-Content-Length: {len(head)}\r\n")
    with pytest.raises(SlipwayError, match="output 'out' is cut short"):
        talk([answer], infer(b"a"))
