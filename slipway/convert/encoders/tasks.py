"""The inputs and outputs of each task: the tensors of its encoder, and the texts and answers of its ensemble.

Tables only: the network is in encoder.py, and `models/answer_*.py` turn its outputs into answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from slipway.convert.directory import Task
from slipway.convert.encoders.source import EncoderSource
from slipway.core.signature import TensorSpec

TOP_TOKENS: Final = 5  # candidates for a masked word, as in the fill-mask pipeline of transformers


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task. `texts` are the ensemble's inputs; `answer` names the file of its answer model, "" for none.

    `answer_inputs` and `answer_outputs` are the tensors of that model; `compares_labels` means that an arg-max decides.
    """

    auto_class: str
    outputs: Callable[[EncoderSource, Any], tuple[TensorSpec, ...]]
    texts: tuple[TensorSpec, ...]
    answer: str = ""
    answer_inputs: tuple[str, ...] = ()
    answer_outputs: Callable[[EncoderSource], tuple[TensorSpec, ...]] = lambda _: ()
    compares_labels: bool = False
    offsets: bool = False  # the tokenizer also returns each token's position in its text


def _text(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "BYTES", (1,)) for name in names)


def _floats(*shapes: tuple[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "FP32", dims) for name, dims in shapes)


_SEQUENCE: Final = "AutoModelForSequenceClassification"
TASKS: Final[dict[Task, TaskRow]] = {
    Task.EMBEDDING: TaskRow(
        "AutoModel", lambda _, config: _floats(("embedding", (int(config.hidden_size),))), _text("text")
    ),
    Task.HIDDEN_STATES: TaskRow(
        "AutoModel", lambda _, config: _floats(("last_hidden_state", (-1, int(config.hidden_size)))), _text("text")
    ),
    Task.CLASSIFICATION: TaskRow(
        _SEQUENCE,
        lambda source, _: _floats(("logits", (len(source.labels),))),
        _text("text"),
        answer="classification",
        answer_inputs=("logits",),
        answer_outputs=lambda source: (*_text("label"), *_floats(("scores", (len(source.labels),)))),
        compares_labels=True,
    ),
    Task.RERANKING: TaskRow(_SEQUENCE, lambda *_: _floats(("score", (1,))), _text("query", "text")),
    Task.ZERO_SHOT: TaskRow(
        _SEQUENCE,
        lambda *_: _floats(("entailment", (-1,))),
        (*_text("text"), TensorSpec("labels", "BYTES", (-1,))),
        answer="zero_shot",
        answer_inputs=("labels", "entailment"),
        answer_outputs=lambda _: (*_text("label"), *_floats(("scores", (-1,)))),
        compares_labels=True,
    ),
    Task.TOKENS: TaskRow(
        "AutoModelForTokenClassification",
        lambda source, _: _floats(("logits", (-1, len(source.labels)))),
        _text("text"),
        answer="tokens",
        answer_inputs=("text", "logits", "offsets"),
        answer_outputs=lambda _: _text("entities"),
        compares_labels=True,
        offsets=True,
    ),
    Task.QUESTIONS: TaskRow(
        "AutoModelForQuestionAnswering",
        lambda *_: _floats(("start_logits", (-1,)), ("end_logits", (-1,))),
        _text("question", "context"),
        answer="question",
        answer_inputs=("context", "start_logits", "end_logits", "offsets"),
        answer_outputs=lambda _: (*_text("answer"), *_floats(("score", (1,))), TensorSpec("span", "INT64", (2,))),
        compares_labels=True,
        offsets=True,
    ),
    Task.MASK: TaskRow(
        "AutoModelForMaskedLM",
        lambda source, _: _floats(("logits", (-1, source.vocabulary_size))),
        _text("text"),
        answer="mask",
        answer_inputs=("input_ids", "logits"),
        answer_outputs=lambda _: (
            TensorSpec("tokens", "BYTES", (TOP_TOKENS,)),
            *_floats(("scores", (TOP_TOKENS,))),
        ),
        compares_labels=True,
    ),
}


def encoder_inputs(source: EncoderSource) -> tuple[TensorSpec, ...]:
    """Return the encoder's inputs: INT64 [tokens], or [labels, tokens] for zero-shot."""
    dims = (-1, -1) if source.task is Task.ZERO_SHOT else (-1,)
    return tuple(TensorSpec(name, "INT64", dims) for name in source.input_names)


def tokenizer_outputs(source: EncoderSource) -> tuple[TensorSpec, ...]:
    """Return the tokenizer's outputs: the encoder's inputs, and token offsets if the task needs them."""
    offsets = (TensorSpec("offsets", "INT64", (-1, 2)),) if TASKS[source.task].offsets else ()
    return (*encoder_inputs(source), *offsets)
