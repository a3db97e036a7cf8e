"""The steps of a client: what is sent again, when it gives up, what it asks only once. With a clock of its own."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from slipway.client.calls import Calls, InferOptions, Pause, Send
from slipway.client.endpoint import Endpoint
from slipway.client.http_codec import HttpCodec
from slipway.client.messages import Incoming
from slipway.errors import Code, SlipwayError, invalid, unavailable

X = {"x": np.zeros(1, np.float32)}
ANSWER = Incoming(orjson.dumps({"model_name": "m", "model_version": "1", "outputs": []}))
METADATA = Incoming(orjson.dumps({"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}))


class World:
    """A server that gives the answers of a list, and a clock that moves with the pauses."""

    def __init__(self, *answers, timeout=60.0, retries=3):
        self.now = 0.0
        self.sent = []
        self.pauses = []
        self.answers = list(answers)
        self.calls = Calls(HttpCodec(), Endpoint("h", 1), timeout=timeout, retries=retries, clock=lambda: self.now)

    def run(self, steps):
        """Take the steps; an answer that is an error is thrown."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.now += step.seconds
                    step = steps.send(None)
                    continue
                assert isinstance(step, Send)
                self.sent.append((step.outgoing.target, step.timeout))
                answer = self.answers.pop(0)
                step = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
        except StopIteration as end:
            return end.value

    def infer(self, inputs=X, **options):
        return self.run(self.calls.infer("m", inputs, InferOptions(**options)))


def test_a_request_that_the_server_could_not_take_is_sent_again_after_growing_pauses():
    world = World(unavailable("away"), Incoming(b'{"error":"full"}', 503), unavailable("away"), ANSWER)
    assert world.infer().model == "m"
    assert world.pauses == pytest.approx([0.1, 0.2, 0.4])


def test_it_gives_up_after_the_last_retry_with_the_servers_words():
    world = World(*[Incoming(b'{"error":"full"}', 503)] * 3, retries=2)
    with pytest.raises(SlipwayError, match="full") as caught:
        world.infer()
    assert caught.value.code is Code.UNAVAILABLE
    assert len(world.sent) == 3


def test_a_refusal_is_final():
    world = World(Incoming(b'{"error":"wrong"}', 400), ANSWER)
    with pytest.raises(SlipwayError, match="wrong"):
        world.infer()
    assert world.pauses == []


def test_each_attempt_has_the_time_that_is_left_and_none_begins_after_the_deadline():
    world = World(*[unavailable("away")] * 9, timeout=0.5, retries=9)
    with pytest.raises(SlipwayError, match="away"):
        world.infer()
    assert [timeout for _, timeout in world.sent] == pytest.approx([0.5, 0.4, 0.2])


def test_a_request_of_a_sequence_is_sent_once():
    world = World(unavailable("lost"), ANSWER)
    with pytest.raises(SlipwayError, match="lost"):
        world.infer(sequence_id=7, sequence_start=True)
    assert len(world.sent) == 1


def test_metadata_is_asked_for_once_and_only_if_it_is_needed():
    world = World(ANSWER, METADATA, ANSWER, ANSWER)
    world.infer()
    world.infer({"x": [1]})
    world.infer({"x": [2]})
    infer, metadata = "/v2/models/m/infer", "/v2/models/m"
    assert [target for target, _ in world.sent] == [infer, metadata, infer, infer]


def test_metadata_is_forgotten_when_a_request_is_refused_or_the_model_is_loaded():
    world = World(METADATA, Incoming(b'{"error":"wrong"}', 400), METADATA, ANSWER, Incoming(b""), METADATA)
    with pytest.raises(SlipwayError):
        world.infer({"x": [1]})
    world.infer({"x": [1]})
    world.run(world.calls.load("m", {"max_batch_size": 1}, {}))
    world.run(world.calls.model("m", ""))
    assert [target for target, _ in world.sent].count("/v2/models/m") == 3


def test_a_server_that_is_away_is_neither_live_nor_ready():
    world = World(unavailable("away"), Incoming(b"", 503), Incoming(b"", 200), Incoming(b"", 400))
    assert world.run(world.calls.is_live()) is False
    assert world.run(world.calls.is_ready("", "")) is False
    assert world.run(world.calls.is_ready("m", "")) is True
    assert world.run(world.calls.is_ready("m", "1")) is False


def test_waiting_until_ready_ends():
    world = World(*[Incoming(b"", 503)] * 3, Incoming(b"", 200))
    world.run(world.calls.wait_ready("m", "", 60))
    assert world.pauses == [0.2] * 3
    world = World(*[Incoming(b"", 503)] * 9)
    with pytest.raises(SlipwayError, match="model 'm' at h:1 is not ready after 1 s"):
        world.run(world.calls.wait_ready("m", "", 1))


def test_an_answer_that_is_not_of_the_protocol_is_said_to_be_that():
    for answer in (Incoming(b"<html>"), Incoming(b"{}"), Incoming(b'{"name": 1}'), Incoming(b'["x"]')):
        world = World(*[answer] * 4)
        with pytest.raises(SlipwayError, match=r"not of the protocol|not an inference server"):
            world.run(world.calls.model("m", ""))


@pytest.mark.parametrize(
    "options",
    [
        {"outputs": "y"},
        {"sequence_end": True},
        {"parameters": {"a": []}},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": True},
    ],
)
def test_options_that_a_server_could_misunderstand_are_refused(options):
    with pytest.raises(SlipwayError) as caught:
        World(ANSWER).infer(**options)
    assert caught.value.code is invalid("").code
