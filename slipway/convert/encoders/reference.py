"""Compute the expected outputs of one text from transformers' output for it alone: the gate's reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.convert.directory import Task
from slipway.convert.encoders.head import activation, build_layers, embed_row
from slipway.convert.encoders.source import EncoderSource

Reference = Callable[[Any], Arrays]  # from a network's output for one row


def reference_of(source: EncoderSource) -> Reference:
    """Return the function that reads a task's outputs from the network's; it keeps the batch dimension."""
    if source.task is Task.EMBEDDING:
        return _embedding(source)
    if source.task is Task.RERANKING:
        return _score(source)
    return _FIELDS[source.task]


def _embedding(source: EncoderSource) -> Reference:
    head = source.head
    if head is None:
        raise AssertionError("an embedding without a head")
    layers = build_layers(head)

    def read(answer: Any) -> Arrays:
        hidden = answer.last_hidden_state[0].numpy()
        return {"embedding": embed_row(head, layers, hidden, source.prompt_tokens)[None]}

    return read


def _score(source: EncoderSource) -> Reference:
    made = activation(source.activation)
    known: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "Identity": lambda logit: logit,
        "Sigmoid": lambda logit: 1 / (1 + np.exp(-logit)),
    }

    def read(answer: Any) -> Arrays:
        logit = answer.logits[:, :1]
        ours = known.get(source.activation)
        return {"score": ours(logit.numpy()) if ours else made(logit).numpy()}

    return read


def _logits(answer: Any) -> Arrays:
    return {"logits": answer.logits.numpy()}


_FIELDS: Final[dict[Task, Reference]] = {
    Task.CLASSIFICATION: _logits,
    Task.HIDDEN_STATES: lambda answer: {"last_hidden_state": answer.last_hidden_state.numpy()},
    Task.MASK: _logits,
    Task.QUESTIONS: lambda answer: {
        "start_logits": answer.start_logits.numpy(),
        "end_logits": answer.end_logits.numpy(),
    },
    Task.TOKENS: _logits,
}
