"""POST /models/NAME against a server whose answers the test chooses: streams, clients that leave, the log."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from slipway.core.budget import Budget
from slipway.proxy.catalog import Catalog
from slipway.proxy.options import ProxyOptions
from slipway.proxy.predict import Predict
from tests.proxy.fake_server import FakeServer, description, faked, text_response

TEXT = b'{"text": "hello"}'


class Client:
    """The other side of one ASGI request."""

    def __init__(self, *body: bytes) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for place, part in enumerate(body):
            self.messages.put_nowait({"type": "http.request", "body": part, "more_body": place < len(body) - 1})
        self.sent: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.arrived.set()

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


def asked(server: FakeServer, *body: bytes, name: str = "m", during=None, budget=None, **options: Any) -> Client:
    """Return the client of one request; `during` runs beside it."""

    async def test() -> Client:
        async with faked(server, **options) as upstream:
            known = Catalog(upstream, 60.0)
            predict = Predict(upstream, known, ProxyOptions(**options), budget or Budget(1 << 20))
            client = Client(*body)
            scope = {"type": "http", "headers": [(b"x-request-id", b"id-1")], "path_params": {"name": name}}
            answering = asyncio.create_task(predict(scope, client.messages.get, client.send))
            if during is not None:
                await during(client)
            await asyncio.wait_for(answering, 20)
            return client

    return asyncio.run(test())


async def answer(request: bytes, context) -> bytes:
    given = service_pb2.ModelInferRequest.FromString(request)
    return text_response(given.raw_input_contents[0][4:].decode() + given.id).SerializeToString()


async def for_ever(request: bytes, context) -> bytes:
    await asyncio.sleep(3600)
    return b""


def streamed(*texts: str, then=None):
    async def answers(request: bytes, context):
        for text in texts:
            yield service_pb2.ModelStreamInferResponse(infer_response=text_response(text)).SerializeToString()
        if then is not None:
            await then(context)

    return FakeServer(description("m", decoupled=True), answers)


def test_a_request_is_answered_with_its_id():
    client = asked(FakeServer({**description("m"), "ModelInfer": answer}), TEXT)
    assert (client.status, json.loads(client.body)) == (200, {"out": ["helloid-1"]})
    assert client.headers["x-request-id"] == "id-1"
    assert client.headers["content-type"] == "application/json"


def test_a_body_may_come_in_pieces():
    client = asked(FakeServer({**description("m"), "ModelInfer": answer}), *(bytes((each,)) for each in TEXT))
    assert json.loads(client.body) == {"out": ["helloid-1"]}


@pytest.mark.parametrize("body", [(b"x" * 11,), (b"x" * 6, b"x" * 6)])
def test_a_body_beyond_the_limit_is_refused_before_it_is_read(body):
    server = FakeServer({**description("m"), "ModelInfer": answer})
    client = asked(server, *body, max_body_bytes=10)
    assert (client.status, client.headers["connection"]) == (413, "close")
    assert not server.calls


def test_a_body_that_memory_has_no_room_for_is_refused_and_gives_back_what_it_took():
    server, budget = FakeServer({**description("m"), "ModelInfer": answer}), Budget(10)
    client = asked(server, TEXT[:6], TEXT[6:], budget=budget)
    assert (client.status, budget.held) == (503, 0)
    assert not server.calls
    assert budget.take(3)
    budget.limit = 100
    assert asked(server, TEXT[:6], TEXT[6:], budget=budget).status == 200
    assert budget.held == 3


def test_an_unknown_model_has_the_servers_text():
    client = asked(FakeServer(description("m")), TEXT, name="a/b")
    assert client.status == 404
    assert json.loads(client.body) == {
        "error": "Failed to query Triton Inference Server",
        "details": "[StatusCode.NOT_FOUND] Request for unknown model: 'a/b' is not found",
    }


@pytest.mark.capability("4.4")
@pytest.mark.parametrize("name", ["simple_net", "finbert-model", "finbert-tokenizer", "finbert"])
def test_the_applications_models_that_are_not_loaded_have_its_status_and_text(name):
    ids = {"input_ids": [101], "attention_mask": [1], "token_type_ids": [0]}
    body = {"simple_net": {"x": [1.0, 1.0]}, "finbert-model": ids}.get(name, {"text": "a"})

    async def unknown(request: bytes, context) -> bytes:
        model = service_pb2.ModelInferRequest.FromString(request).model_name
        await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{model}' is not found")
        return b""

    server = FakeServer({**description("other"), "ModelInfer": unknown})
    client = asked(server, json.dumps(body).encode(), name=name)
    assert client.status == 500
    details = f"[StatusCode.NOT_FOUND] Request for unknown model: '{name}' is not found"
    assert client.body.decode() == f'{{"error":"Failed to query Triton Inference Server","details":"{details}"}}'


def test_what_a_slow_server_would_answer_is_not_waited_for():
    client = asked(FakeServer({**description("m"), "ModelInfer": for_ever}), TEXT, timeout_secs=0.3)
    assert client.status == 504
    assert json.loads(client.body)["details"].startswith("[StatusCode.DEADLINE_EXCEEDED]")


def test_a_client_that_leaves_cancels_its_call():
    server = FakeServer({**description("m"), "ModelInfer": for_ever})

    async def during(client: Client) -> None:
        await asyncio.wait_for(server.infers.wait(), 10)
        client.leave()
        await asyncio.wait_for(server.cancelled.wait(), 10)

    assert asked(server, TEXT, during=during).sent == []


def test_a_client_that_leaves_before_its_body_is_complete_costs_nothing():
    server = FakeServer({**description("m"), "ModelInfer": answer})

    async def during(client: Client) -> None:
        client.messages.get_nowait()
        client.messages.put_nowait({"type": "http.request", "body": TEXT[:5], "more_body": True})
        client.leave()

    client = asked(server, TEXT, during=during)
    assert (client.sent, server.calls) == ([], [])


def test_the_responses_of_a_decoupled_model_are_events():
    client = asked(streamed("one", "two\n\ndata: three"), TEXT)
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert client.body == b'data: {"out":["one"]}\n\ndata: {"out":["two\\n\\ndata: three"]}\n\n'
    assert client.sent[-1]["more_body"] is False


def test_a_failure_before_the_first_response_has_a_status():
    async def fail(context) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wrong shape")

    client = asked(streamed(then=fail), TEXT)
    assert (client.status, client.headers["content-type"]) == (400, "application/json")
    assert json.loads(client.body)["details"] == "[StatusCode.INVALID_ARGUMENT] wrong shape"


def test_a_later_failure_is_the_last_event():
    async def fail(context) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "broke")

    client = asked(streamed("one", then=fail), TEXT)
    first, last = client.body.removesuffix(b"\n\n").split(b"\n\n")
    assert (client.status, first) == (200, b'data: {"out":["one"]}')
    name, data = last.split(b"\n")
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["details"] == "[StatusCode.INTERNAL] broke"


def test_a_client_that_leaves_a_stream_cancels_it():
    async def stall(context) -> None:
        await asyncio.sleep(3600)

    server = streamed("one", then=stall)

    async def during(client: Client) -> None:
        await asyncio.wait_for(client.arrived.wait(), 10)
        client.leave()
        await asyncio.wait_for(server.cancelled.wait(), 10)

    client = asked(server, TEXT, during=during)
    assert client.body == b'data: {"out":["one"]}\n\n'


@pytest.mark.capability("4.20")
def test_the_predict_log_has_one_line_for_each_input(caplog):
    with caplog.at_level(logging.INFO, "predict_logger"):
        asked(FakeServer({**description("m"), "ModelInfer": answer}), b'{"text": "a\\nforged line\\u001b[31m"}')
    (record,) = [each for each in caplog.records if each.name == "predict_logger"]
    assert record.getMessage() == r"Received input: text='a\nforged line\x1b[31m'"


def test_the_predict_log_is_off_unless_it_is_turned_on(caplog):
    asked(FakeServer({**description("m"), "ModelInfer": answer}), TEXT)
    assert not [each for each in caplog.records if each.name == "predict_logger"]
