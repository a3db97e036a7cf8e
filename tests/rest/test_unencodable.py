"""Responses that cannot be encoded: the client gets an answer, and a stream goes on after it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slipway.core.tensor import Tensor
from slipway.rest import generate
from slipway.rest.app import build_app
from tests.kits.memory_dataplane import answer
from tests.rest.conftest import serve
from tests.rest.models import dataplane

NUMBERS = {"inputs": [{"name": "IN0", "datatype": "FP32", "shape": [1, 1], "data": [1.5]}]}
CALLS = [("echo/infer", NUMBERS), ("text/generate", {"IN0": "x"})]


def text(value):
    return Tensor.from_array("OUT0", np.array([value], object))


def replaced(plane, model, run):
    plane.models[model] = plane.models[model]._replace(run=run)


@pytest.mark.parametrize(("path", "request_"), CALLS, ids=[call[0] for call in CALLS])
def test_a_response_that_cannot_be_encoded_is_an_internal_error(path, request_, caplog):
    plane = dataplane()
    replaced(plane, path.split("/")[0], lambda _, pending: answer(pending, text(b"y"), parameters={"p": object()}))
    with serve(plane, build_app(plane)) as running:
        found = running.ask("POST", f"/v2/models/{path}", json.dumps(request_).encode())
    assert (found.status, found.body) == (500, b'{"error":"internal error"}')
    assert "unexpected error while answering" in caplog.text


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_a_stream_goes_on_after_a_response_that_cannot_be_encoded(monkeypatch, where):
    plane = dataplane()
    large = b"a" * 400_000
    if where == "thread":
        monkeypatch.setattr(generate, "encode_large_generate", lambda _: orjson_fails())

    def respond(_, pending):
        answer(pending, text(b"first"), final=False)
        broken = {"p": object()} if where == "loop" else {}
        answer(pending, text(b"b" if broken else large), parameters=broken, final=False)
        answer(pending, text(b"last"), final=False)
        answer(pending, empty=True)

    def orjson_fails():
        raise TypeError("/secret/path")

    replaced(plane, "count", respond)
    with serve(plane, build_app(plane)) as running:
        found = running.ask("POST", "/v2/models/count/generate_stream", b'{"IN0": 1}')
    events = [json.loads(event.removeprefix(b"data: ")) for event in found.body.split(b"\n\n") if event]
    assert [event.get("OUT0", event.get("error")) for event in events] == ["first", "internal error", "last"]
