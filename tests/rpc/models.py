"""The models for the tests of the gRPC front."""

from __future__ import annotations

import numpy as np

from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.tensor import Tensor
from slipway.engine.api import IndexEntry, ServerMetadata
from slipway.errors import cancelled, invalid
from tests.kits.memory_dataplane import MemoryDataplane, Model, answer, echo, signature, until_cancelled


def first(_: MemoryDataplane, pending: Pending) -> None:
    """Answer with the first input as OUTPUT0."""
    request = pending.request
    answer(pending, next(iter(request.inputs.values())).renamed("OUTPUT0"), parameters=dict(request.parameters))


def late(plane: MemoryDataplane, pending: Pending) -> None:
    """Answer after the input's number of seconds."""
    delay = float(pending.request.inputs["INPUT0"].array[0])
    pending.loop.call_later(delay, echo, plane, pending)


def early(_: MemoryDataplane, pending: Pending) -> None:
    """Send the one response first, and the final flag after it."""
    answer(pending, pending.request.inputs["INPUT0"].renamed("OUTPUT0"), final=False)
    answer(pending, empty=True)


def nothing(_: MemoryDataplane, pending: Pending) -> None:
    """Close the request without a response."""
    answer(pending, empty=True)


def count(_: MemoryDataplane, pending: Pending) -> None:
    """Send N responses (decoupled), one per pass of the loop; a negative N gets an error."""
    _count(pending, 0, int(pending.request.inputs["N"].array[0]))


def _count(pending: Pending, index: int, end: int) -> None:
    if index < end:
        answer(pending, Tensor.from_array("I", np.array([index], np.int32)), final=False)
        pending.loop.call_soon(_count, pending, index + 1, end)
    elif end < 0:
        answer(pending, error=invalid("bad n"))
    else:
        answer(pending, empty=True)


def flood(plane: MemoryDataplane, pending: Pending) -> None:
    """Send a mebibyte per pass of the loop until the request is cancelled."""
    if pending.cancelled:
        pending.deliver(InferResponse("flood", "1", error=cancelled()))
        return
    plane.produced += 1
    answer(pending, Tensor.from_array("I", np.zeros(2**20, np.uint8)), final=False)
    pending.loop.call_soon(flood, plane, pending)


def failing(_: MemoryDataplane, pending: Pending) -> None:
    """Answer with an error."""
    answer(pending, error=invalid("boom"))


def failing_in_halves(_: MemoryDataplane, pending: Pending) -> None:
    """Answer with an error whose text has half a character."""
    answer(pending, error=invalid("b\ud800m"))


def broken(_: MemoryDataplane, pending: Pending) -> None:
    """Answer with outputs that cannot be encoded."""
    output = Tensor("OUTPUT0", "FP32", (2,), array=np.array([1 + 2j]))
    output._raw = "not bytes"
    answer(pending, output)


def surrogate(_: MemoryDataplane, pending: Pending) -> None:
    """Answer with as many strings as the input has numbers, none of which can be packed."""
    size = pending.request.inputs["INPUT0"].array.size
    answer(pending, Tensor.from_array("OUTPUT0", np.full(size, "\ud800", object)))


LABELS = ("zero", "one", "two")
VECTOR = ("INPUT0 FP32 -1", "OUTPUT0 FP32 -1")
MODELS = (
    Model(signature("identity", *VECTOR, batch=8, labels=LABELS), echo),
    Model(signature("late", *VECTOR), late),
    Model(signature("text", "TEXT BYTES -1", "OUTPUT0 BYTES -1"), first),
    Model(signature("half", "H FP16 -1, U? UINT8 -1", "OUTPUT0 FP16 -1"), first),
    Model(signature("count", "N INT32 1", "I INT32 1", decoupled=True), count),
    Model(signature("flood", "N INT32 1", "I UINT8 -1", decoupled=True), flood),
    Model(signature("early", *VECTOR), early),
    Model(signature("nothing", *VECTOR), nothing),
    Model(signature("failing", *VECTOR), failing),
    Model(signature("halves", *VECTOR), failing_in_halves),
    Model(signature("broken", *VECTOR), broken),
    Model(signature("surrogate", "INPUT0 FP32 -1", "OUTPUT0 BYTES -1"), surrogate),
    Model(signature("silent", *VECTOR), until_cancelled),
)
INDEX = (IndexEntry("identity", "1", "READY"), IndexEntry("broken", "1", "UNAVAILABLE", "no such file"))


def dataplane() -> MemoryDataplane:
    """Return a fresh dataplane with these models; `identity` has served requests before."""
    metadata = ServerMetadata("slipway", "1.0", ("classification", "statistics"))
    plane = MemoryDataplane(MODELS, metadata=metadata, platform="python", index=INDEX)
    counted = plane.statistics["identity"]
    counted.inference_count, counted.execution_count = 5, 3
    counted.success.add(700)
    return plane
