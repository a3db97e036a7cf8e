"""What a chat makes of the answers of a server, which may be any: a played one here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

import pytest

from slipway.cli.chat.client import ChatClient, OfferedModel, RefusedChatError
from slipway.cli.tls import Address
from slipway.errors import SlipwayError

JSON: Final = "application/json"
MODELS: Final = {
    "data": [
        {"id": "mine", "task": "text-generation", "max_model_len": 512},
        {"id": "embedder", "task": "embedding"},
        {"id": "theirs"},
        {"id": 7},
        "what",
    ]
}


class PlayedHttpServer(ThreadingHTTPServer):
    """Answers every request with `status` and `body`, and remembers the last one."""

    status = 200
    body = b""
    cut = False  # announces more than it sends
    seen: tuple[str, dict[str, str], bytes] = ("", {}, b"")

    @property
    def address(self) -> Address:
        return Address.of(f"127.0.0.1:{self.server_port}/prefix", encrypted=False)


class Answering(BaseHTTPRequestHandler):
    """The handler of a `PlayedHttpServer`."""

    server: PlayedHttpServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen = self.path, dict(self.headers), self.rfile.read(length)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body) + 10 * self.server.cut))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET  # noqa: N815  the library's name

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[PlayedHttpServer]:
    with PlayedHttpServer(("127.0.0.1", 0), Answering) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def client(server) -> ChatClient:
    return ChatClient(server.address, headers={"Authorization": "Bearer key"})


def streamed(client: ChatClient) -> list[dict[str, Any]]:
    return list(client.stream("v1/chat/completions", {"model": "m"}))


def test_models_that_generate_text_are_offered_and_those_that_do_not_say_what_they_do(server, client):
    server.body = json.dumps(MODELS).encode()
    assert client.models() == [OfferedModel("mine", 512), OfferedModel("theirs")]
    path, headers, _ = server.seen
    assert path == "/prefix/v1/models"
    assert headers["Authorization"] == "Bearer key"


def test_events_are_read_until_their_end(server, client):
    server.body = b': comment\n\ndata: {"a": 1}\n\nevent: x\ndata:{"a": 2}\n\ndata: [DONE]\n\ndata: {"a": 3}\n\n'
    assert streamed(client) == [{"a": 1}, {"a": 2}]
    path, headers, body = server.seen
    assert (path, headers["Content-Type"], json.loads(body)) == ("/prefix/v1/chat/completions", JSON, {"model": "m"})


REFUSALS = [
    (400, b'{"error": {"message": "too long", "code": "context_length_exceeded"}}', "too long"),
    (404, b'{"error": "no such route"}', "no such route"),
    (500, b"oops\x1b[2J", "status 500: oops"),
    (503, b"", "status 503"),
    (200, b'data: {"error": {"message": "out of memory", "code": null}}\n\n', "out of memory"),
]


@pytest.mark.parametrize(("status", "body", "text"), REFUSALS)
def test_a_refusal_is_an_error_with_the_words_of_the_server(server, client, status, body, text):
    server.status, server.body = status, body
    with pytest.raises(RefusedChatError) as caught:
        streamed(client)
    assert text in caught.value.message


def test_the_word_for_programs_is_kept(server, client):
    server.status, server.body = 400, b'{"error": {"message": "no", "code": "model_not_supported"}}'
    with pytest.raises(RefusedChatError) as caught:
        streamed(client)
    assert caught.value.kind == "model_not_supported"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"data: what\n\n", "an event of the server"),
        (b"data: [1]\n\n", "not a JSON object"),
        (b'data: {"a": 1}\n\n', "before the answer was complete"),
    ],
)
def test_what_is_not_an_answer_of_the_api_is_an_error(server, client, body, text):
    server.body = body
    with pytest.raises(SlipwayError, match=text):
        streamed(client)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"data": 7}'])
def test_a_server_of_another_kind_is_named(server, client, body):
    server.body = body
    with pytest.raises(SlipwayError, match=r"127\.0\.0\.1:\d+/prefix does not list its models"):
        client.models()


def test_a_connection_that_is_cut_is_an_error(server, client):
    server.body, server.cut = b'{"data": [', True
    with pytest.raises(SlipwayError, match="the server's list of models"):
        client.models()
