"""A front with one model of each kind, whose answers can be worked out by hand, and with a tokenizer of whole words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.core.pending import Pending
from slipway.core.tensor import Tensor
from slipway.engine.api import IndexEntry, ServerMetadata
from slipway.errors import invalid
from slipway.rest.app import build_app
from slipway.rest.context import RestOptions
from tests.kits.memory_dataplane import MemoryDataplane, Model, answer, never, signature
from tests.rest.conftest import Answer, Served, serve

WORDS = ("[UNK]", "[CLS]", "[SEP]", *"the cat sat on a mat query: passage: dog".split())
LONGEST = 8  # tokens of a text, two of them special
PROMPTS = {"query": "query: ", "passage": "passage: "}
LABELS = ("good", "bad", "fair")


def vector_of(text: str) -> list[float]:
    """Return what the embedding model makes of a text: its length, its number of spaces, 1, and 2."""
    return [float(len(text)), float(text.count(" ")), 1.0, 2.0]


def _texts(pending: Pending, name: str = "text") -> list[str]:
    return [element.decode() for element in pending.request.inputs[name].array[:, 0]]


def _embed(_: MemoryDataplane, pending: Pending) -> None:
    vectors = np.array([vector_of(text) for text in _texts(pending)], np.float32)
    answer(pending, Tensor.from_array("embedding", vectors))


def _broken(_: MemoryDataplane, pending: Pending) -> None:
    answer(pending, Tensor.from_array("embedding", np.full((pending.rows, 4), np.nan, np.float32)))


def _fail(_: MemoryDataplane, pending: Pending) -> None:
    answer(pending, error=invalid("the model said no"))


def _rank(_: MemoryDataplane, pending: Pending) -> None:
    """Score a pair by the number of words of the query in the text."""
    pairs = zip(_texts(pending, "query"), _texts(pending), strict=True)
    scores = [[len(set(query.split()) & set(text.split()))] for query, text in pairs]
    answer(pending, Tensor.from_array("score", np.array(scores, np.float32)))


def _label(_: MemoryDataplane, pending: Pending) -> None:
    """Give each label its share of the text's words."""
    scores = np.array([[text.count(label) for label in LABELS] for text in _texts(pending)], np.float32)
    words = np.array([[LABELS[place].encode()] for place in scores.argmax(-1)], np.object_)
    shares = scores / np.maximum(scores.sum(-1, keepdims=True), 1)
    tensors = {"logits": scores, "label": words, "scores": shares}
    answer(pending, *(Tensor.from_array(name, tensors[name]) for name in pending.request.outputs))


def _choose(_: MemoryDataplane, pending: Pending) -> None:
    labels = pending.request.inputs["labels"].array
    rows = zip(_texts(pending), labels, strict=True)
    scores = np.array([[text.count(label.decode()) for label in row] for text, row in rows], np.float32)
    words = np.take_along_axis(labels, scores.argmax(-1)[:, None], axis=1)
    tensors = {"label": words, "scores": scores}
    answer(pending, *(Tensor.from_array(name, tensors[name]) for name in pending.request.outputs))


_EMBEDS = ("text BYTES 1", "embedding FP32 4")
MODELS = (
    Model(signature("words", *_EMBEDS, batch=4), _embed, {"SLIPWAY_PROMPTS": json.dumps(PROMPTS)}),
    Model(signature("single", *_EMBEDS), lambda _, pending: answer(pending, _single(pending))),
    Model(signature("silent", *_EMBEDS, batch=4), never),
    Model(signature("broken", *_EMBEDS, batch=4), _broken),
    Model(signature("failing", *_EMBEDS, batch=4), _fail),
    Model(
        signature("prompted", *_EMBEDS, batch=4),
        _embed,
        {"PROMPT": "query: ", "SLIPWAY_PROMPTS": '{"query": "query: ", "passage": "passage: "}'},
    ),
    Model(signature("ranks", "query BYTES 1, text BYTES 1", "score FP32 1", batch=4), _rank),
    Model(
        signature("moods", "text BYTES 1", "logits FP32 3, label BYTES 1, scores FP32 3", batch=4, labels=LABELS),
        _label,
    ),
    Model(signature("zero", "text BYTES 1, labels BYTES -1", "label BYTES 1, scores FP32 -1", batch=4), _choose),
    Model(signature("pixels", "IN0 FP32 -1", "OUT0 FP32 -1", batch=4), never),
)


def _single(pending: Pending) -> Tensor:
    text = pending.request.inputs["text"].array[0].decode()
    return Tensor.from_array("embedding", np.array(vector_of(text), np.float32))


def write_tokenizer(directory: Path) -> Path:
    """Write a tokenizer of whole words, with a special token at each end; return its directory."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.enable_truncation(LONGEST)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def plane(
    directory: Path, *, models: tuple[Model, ...] = MODELS, without: tuple[str, ...] = ("single",)
) -> MemoryDataplane:
    """Return a dataplane with `models`, whose tokenizer is in `directory` except for those `without` one."""
    names = [model.signature.model_name for model in models]
    return MemoryDataplane(
        models,
        metadata=ServerMetadata("triton", "1.2.3", ()),
        index=[IndexEntry(name, "1", "READY") for name in names],
        files={name: directory / "none" if name in without else directory for name in names},
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """A running front, and how to ask it in JSON."""

    served: Served

    @property
    def plane(self) -> MemoryDataplane:
        return self.served.plane

    def post(self, path: str, body: Mapping[str, Any] | bytes, **headers: str) -> tuple[int, Any]:
        """Return the status and the document of an answer."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return _read(self.served.ask("POST", path, text, content_type="application/json", **headers))

    def get(self, path: str) -> tuple[int, Any]:
        return _read(self.served.ask("GET", path))


def _read(found: Answer) -> tuple[int, Any]:
    return found.status, json.loads(found.body)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def front(tokenizer: Path) -> Iterator[Asked]:
    """A front with all models."""
    served_plane = plane(tokenizer)
    with serve(served_plane, build_app(served_plane, RestOptions())) as running:
        yield Asked(running)


@pytest.fixture
def few(tokenizer: Path) -> Iterator[Asked]:
    """A front with one model of each purpose, which a request need not name."""
    chosen = tuple(model for model in MODELS if model.signature.model_name in ("words", "ranks", "moods", "zero"))
    served_plane = plane(tokenizer, models=chosen)
    with serve(served_plane, build_app(served_plane, RestOptions())) as running:
        yield Asked(running)
