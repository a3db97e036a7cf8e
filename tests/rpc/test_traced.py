"""The trace of a gRPC request says why it failed, also if no model took it."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc

from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import RequestTrace, TraceRoot


class Tracing:
    """Traces each request."""

    active = True
    has_context = False

    def __init__(self):
        self.errors = []

    def begin(self, _):
        return RequestTrace(TraceRoot(TraceSetting(("TIMESTAMPS",), 1, -1, 0), None, self))

    def completed(self, root):
        self.errors += [request.error for request in root.requests]


@pytest.fixture
def errors(server):
    server.plane.tracing = Tracing()
    return server.plane.tracing.errors


def given(name):
    tensor = tritonclient.grpc.InferInput(name, [1], "FP32")
    tensor.set_data_from_numpy(np.zeros(1, np.float32))
    return [tensor]


def test_a_call_that_succeeds_has_no_error(server, client, errors):
    client.infer("late", given("INPUT0"))
    server.wait_until(lambda: errors)
    assert errors == [""]


def test_a_call_that_is_refused_has_one(server, client, errors):
    with pytest.raises(tritonclient.grpc.InferenceServerException, match="WRONG"):
        client.infer("late", given("WRONG"))
    server.wait_until(lambda: errors)
    assert "WRONG" in errors[0]


def test_a_request_of_a_stream_that_is_refused_has_one(server, client, errors):
    client.start_stream(lambda **_: None)
    client.async_stream_infer("late", given("WRONG"))
    client.stop_stream()
    server.wait_until(lambda: errors)
    assert "WRONG" in errors[0]
