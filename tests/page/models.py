"""A server in memory for the page: a model for each kind of answer, and one whose every text tries to become HTML."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import sin
from pathlib import Path

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.api_keys import ApiKeys
from slipway.chat.renderer import begin_rendering, end_rendering
from slipway.core.pending import Pending
from slipway.core.tensor import Tensor
from slipway.engine.api import IndexEntry, ServerMetadata
from slipway.errors import invalid, not_found
from slipway.rest.access import access_to
from slipway.rest.app import HEALTH_PATHS, build_app
from slipway.rest.context import RestOptions
from slipway.rest.key_guard import require_key
from slipway.rest.metrics import MetricsOptions, build_metrics_page
from slipway.rest.openai.routes import envelope_of
from slipway.rest.page.files import read_files
from slipway.rest.page.page import GrpcPlace, Page
from tests.kits.memory_dataplane import MemoryDataplane, Model, answer, echo, fail, signature
from tests.rest.conftest import Served, serve

HOSTILE = '<img src=x onerror="window.hacked=1">'
SCRIPT = "<script>window.hacked=1</script>"
LABELS = ("positive", "negative", "neutral")
PIECES = ("The Moon", " is 384,400", " km", " away & <b>not</b> closer.")
WIDTH = 16
TEMPLATE = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
_DELAY_S = 0.03  # between two pieces of a stream
_TALKS = {
    "SLIPWAY_TASK": "text-generation",
    "SLIPWAY_TOKENIZER": "talker",
    "SLIPWAY_CHAT_TEMPLATE": "chat_template.jinja",
    "SLIPWAY_STREAM": "talker-stream",
    "SLIPWAY_COMPLETIONS": "talker-completions",
}


def _texts(pending: Pending, name: str = "text") -> list[str]:
    return [element.decode() for element in pending.request.inputs[name].array[:, 0]]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _vector(text: str) -> list[float]:
    return [sum(sin(at * len(word) + ord(word[0])) for word in _words(text)) for at in range(1, WIDTH + 1)]


def _embed(_: MemoryDataplane, pending: Pending) -> None:
    vectors = np.array([_vector(text) for text in _texts(pending)], np.float32)
    answer(pending, Tensor.from_array("embedding", vectors))


def _classify(_: MemoryDataplane, pending: Pending) -> None:
    """The label is always the first one, with 0.8."""
    rows = pending.rows
    scores = np.tile(np.array([0.8, 0.15, 0.05], np.float32), (rows, 1))
    label = np.full((rows, 1), LABELS[0].encode(), np.object_)
    answer(pending, Tensor.from_array("label", label), Tensor.from_array("scores", scores))


def _choose(_: MemoryDataplane, pending: Pending) -> None:
    labels = pending.request.inputs["labels"].array
    scores = np.tile(np.linspace(0.7, 0.1, labels.shape[1], dtype=np.float32), (pending.rows, 1))
    answer(pending, Tensor.from_array("label", labels[:, :1].copy()), Tensor.from_array("scores", scores))


def _rank(_: MemoryDataplane, pending: Pending) -> None:
    """Score a pair by the words that query and text share."""
    pairs = zip(_texts(pending, "query"), _texts(pending), strict=True)
    scores = [[len(_words(query) & _words(text)) / 10] for query, text in pairs]
    answer(pending, Tensor.from_array("score", np.array(scores, np.float32)))


def _detect(_: MemoryDataplane, pending: Pending) -> None:
    """Each picture has a table and two charts."""
    rows = pending.request.inputs["encoded_image"].shape[0]
    table = np.tile(np.array([[0.1, 0.1, 0.6, 0.4, 0.91]], np.float32), (rows, 1, 1))
    chart = np.tile(np.array([[0.2, 0.5, 0.9, 0.9, 0.77], [0.65, 0.1, 0.95, 0.4, 0.6]], np.float32), (rows, 1, 1))
    answer(pending, Tensor.from_array("table", table), Tensor.from_array("chart", chart))


def _pixels(_: MemoryDataplane, pending: Pending) -> None:
    """Return the first pixel and the size of a picture."""
    image = pending.request.inputs["image"].array
    values = [*image.reshape(-1, image.shape[-1])[0], *image.shape]
    answer(pending, Tensor.from_array("values", np.array(values, np.int32)))


def _hostile(_: MemoryDataplane, pending: Pending) -> None:
    answer(pending, Tensor.from_array(SCRIPT, np.array([[f"{HOSTILE}{SCRIPT}".encode()]] * pending.rows, np.object_)))


def _send_pieces(pending: Pending, tensors: list[Tensor], delay_s: float = _DELAY_S) -> None:
    loop = asyncio.get_running_loop()
    for at, tensor in enumerate(tensors):
        loop.call_later(delay_s * (at + 1), lambda tensor=tensor: answer(pending, tensor, final=False))
    loop.call_later(delay_s * (len(tensors) + 1), lambda: answer(pending, empty=True))


def _stream(_: MemoryDataplane, pending: Pending) -> None:
    _send_pieces(pending, [Tensor.from_array("generated_text", np.array([[p.encode()]], np.object_)) for p in PIECES])


def _complete(_: MemoryDataplane, pending: Pending) -> None:
    end = {"row": 0, "text": "", "finish_reason": "stop", "tokens": len(PIECES), "log_probability": -1.0}
    events = [*({"row": 0, "text": piece} for piece in PIECES), end]
    tensors = [Tensor.from_array("event", np.array([[json.dumps(each).encode()]], np.object_)) for each in events]
    _send_pieces(pending, tensors)


def _generate(_: MemoryDataplane, pending: Pending) -> None:
    text = np.full((pending.rows, 1), "".join(PIECES).encode(), np.object_)
    answer(pending, Tensor.from_array("generated_text", text))


def _count(_: MemoryDataplane, pending: Pending) -> None:
    """Count up without an end, until the client has gone."""
    loop = asyncio.get_running_loop()

    def send(number: int) -> None:
        if not pending.finished:
            answer(pending, Tensor.from_array("number", np.array([number], np.int32)), final=False)
            loop.call_later(_DELAY_S, send, number + 1)

    send(0)


TEXT = "text BYTES 1"
MODELS = (
    Model(signature("embedder", TEXT, f"embedding FP32 {WIDTH}", batch=8), _embed, {"SLIPWAY_TASK": "embedding"}),
    Model(
        signature("moods", TEXT, "label BYTES 1, scores FP32 3", batch=8, labels=LABELS),
        _classify,
        {"SLIPWAY_TASK": "text-classification"},
    ),
    Model(signature("topics", f"{TEXT}, labels BYTES -1", "label BYTES 1, scores FP32 -1", batch=8), _choose),
    Model(signature("ranker", f"query BYTES 1, {TEXT}", "score FP32 1", batch=8), _rank),
    Model(
        signature("pages", "image? UINT8 -1 -1 3, encoded_image? BYTES 1", "table FP32 -1 5, chart FP32 -1 5", batch=8),
        _detect,
    ),
    Model(signature("pixels", "image UINT8 -1 -1 3", "values INT32 -1"), _pixels),
    Model(signature("talker", TEXT, "generated_text BYTES 1", batch=8), _generate, _TALKS),
    Model(signature("talker-stream", TEXT, "generated_text BYTES 1", batch=8, decoupled=True), _stream),
    Model(signature("talker-completions", "completion BYTES 1", "event BYTES 1", batch=8, decoupled=True), _complete),
    Model(signature("counter", "from INT32 1", "number INT32 1", decoupled=True), _count),
    Model(signature("numbers", "IN0 FP32 -1", "OUT0 FP32 -1", batch=8), echo),
    Model(signature("halves", "IN0 FP16 -1", "OUT0 FP16 -1", batch=8), echo),
    Model(signature("longs", "IN0 INT64 -1", "OUT0 INT64 -1"), echo),
    Model(signature("flags", "IN0 BOOL -1", "OUT0 BOOL -1"), echo),
    Model(signature("failing", "IN0 FP32 -1", "OUT0 FP32 -1", batch=8), fail),
    Model(signature(HOSTILE, "text BYTES 1", f"{SCRIPT} BYTES 1", batch=8, labels=()), _hostile),
)


class ShowcaseDataplane(MemoryDataplane):
    """Adds what the page shows of a model: states that change, files of labels, explanations."""

    def model_config(self, name: str, version: str) -> model_config_pb2.ModelConfig:
        config = super().model_config(name, version)
        found = self.signature(name, version)
        for each in config.input:
            each.optional = found.inputs[each.name].optional
        for each in config.output:
            if found.outputs[each.name].labels:
                each.label_filename = "labels.txt"
        return config

    def signature(self, name: str, version: str):
        if name in self.models and all(entry.state != "READY" for entry in self._index if entry.name == name):
            raise not_found(f"Request for unknown model: '{name}' is not found")
        return super().signature(name, version)

    async def load_model(self, name, config, files):  # noqa: ARG002  the interface's
        if name == "broken":
            raise invalid(f"failed to load 'broken', {HOSTILE}")
        self._set_state(name, "READY")

    async def unload_model(self, name, unload_dependents):  # noqa: ARG002  the interface's
        self._set_state(name, "UNAVAILABLE", "unloaded")

    def _set_state(self, name: str, state: str, reason: str = "") -> None:
        self._index = [IndexEntry(name, "1", state, reason) if entry.name == name else entry for entry in self._index]


def write_files(directory: Path) -> dict[str, Path]:
    """Write a tokenizer, a chat template and two reports; return the version directories by model."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    files = {model.signature.model_name: directory / str(at) / "1" for at, model in enumerate(MODELS)}
    for version in files.values():
        version.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(files["talker"] / "tokenizer.json"))
    (files["talker"] / "chat_template.jinja").write_text(TEMPLATE)
    report = {"task": "embedding", "source": "/home/somebody/secret", "chosen": "openvino bf16", "why": SCRIPT}
    candidate = {"label": "openvino bf16", "status": "chosen", "bytes": 45_000_000, "figures": {"cosine": 0.9999}}
    speed = {"rows_per_second": 90.5, "batched_rows_per_second": 210.0, "latency_ms": 11.0}
    report |= {"candidates": [candidate | {"speeds": [speed]}, {"label": "torch int8", "status": "refused"}]}
    report |= {"lost": ["openvino bf16 is not exact"], "reproduce": "slipway convert /home/somebody/secret"}
    (files["embedder"].parent / "report.json").write_text(json.dumps(report))
    (files["moods"].parent / "report.json").write_text("{")
    return files


@contextmanager
def served_page(directory: Path, keys: ApiKeys | None = None, **settings) -> Iterator[Served]:
    """Serve the page and the models; `settings` are those of the front."""
    index = [IndexEntry(model.signature.model_name, "1", "READY") for model in MODELS]
    plane = ShowcaseDataplane(
        MODELS,
        metadata=ServerMetadata("slipway", "0.1.0", ()),
        index=[*index, IndexEntry("broken", "1", "UNAVAILABLE", HOSTILE), IndexEntry("never")],
        files=write_files(directory),
    )
    metrics = build_metrics_page(plane, MetricsOptions())
    page = Page(read_files(), metrics, grpc=GrpcPlace(8001, is_encrypted=False), control="explicit")
    options = RestOptions(page=page, access=access_to("127.0.0.1", ()), **settings)
    app = require_key(build_app(plane, options), keys, HEALTH_PATHS | page.files.keys(), envelope_of)
    begin_rendering()
    try:
        with serve(plane, app) as running:
            yield running
    finally:
        end_rendering()
