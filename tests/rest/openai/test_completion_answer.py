"""A complete answer is the same whether a thread writes it or not, and has a limited number of log-probabilities."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.config.purpose import Purpose
from slipway.core.pending import Pending
from slipway.core.tensor import Tensor
from slipway.rest.context import Context
from slipway.rest.openai import completion_answer
from slipway.rest.openai.completion_answer import CompletionJob, answer_completions
from slipway.rest.openai.completion_forms import ChatForm
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.sampling import CompletionPlan
from slipway.rest.openai.served import find_model
from slipway.rest.response import JSON
from tests.kits.memory_dataplane import MemoryDataplane, Model, answer, signature
from tests.rest.openai.conftest import plane

TOKENS, TOP = 50, 2


def _complete(_: MemoryDataplane, pending: Pending) -> None:
    """Answer the only row of a request with tokens that have log-probabilities."""
    best = [{"token": each, "bytes": [97], "logprob": -1.0} for each in "ab"]
    tokens = [{**best[0], "offset": place, "top": best} for place in range(TOKENS)]
    event = {"row": 0, "text": "a" * TOKENS, "logprobs": tokens}
    closing = {"finish_reason": "length", "tokens": TOKENS, "log_probability": -50.0}
    answer(pending, Tensor.from_array("event", _column(json.dumps({**event, **closing}).encode())))


def _column(data: bytes) -> Any:
    return np.array([[data]], dtype=np.object_)


class Receiver:
    """Keeps the answer, in place of an exchange."""

    on_disconnect = None
    body = b""

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        assert (status, headers) == (200, JSON)
        self.body = body


def completed(directory: Path, sequences: int) -> dict[str, Any]:
    model = Model(signature("m", "completion BYTES 1", "event BYTES 1", batch=1), _complete, {})
    context = Context(plane(directory, models=(model,)))
    served = find_model(Context(plane(directory)), "words")._replace(
        purpose=Purpose("text-generation", completions="m")
    )
    plan = CompletionPlan({}, sequences, sequences, 0, False, False, None)
    receiver = Receiver()
    asyncio.run(answer_completions(context, receiver, CompletionJob(served, ChatForm(), plan, [[1]])))
    found: dict[str, Any] = json.loads(receiver.body)
    return found


def test_an_answer_of_many_log_probabilities_is_written_as_one_of_few(tokenizer):
    (few,) = completed(tokenizer, 1)["choices"]
    many = completed(tokenizer, 20)
    assert [choice["index"] for choice in many["choices"]] == list(range(20))
    assert all({**choice, "index": 0} == few for choice in many["choices"])
    assert len(few["logprobs"]["content"]) == TOKENS
    assert many["usage"] == {"prompt_tokens": 1, "completion_tokens": 20 * TOKENS, "total_tokens": 20 * TOKENS + 1}


def test_more_log_probabilities_than_an_answer_holds_are_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(completion_answer, "_MOST_LOG_PROBABILITIES", 3 * TOKENS * (1 + TOP))
    assert len(completed(tokenizer, 3)["choices"]) == 3
    with pytest.raises(ApiError, match="more than 450 log-probabilities") as caught:
        completed(tokenizer, 4)
    assert caught.value.status == 413
