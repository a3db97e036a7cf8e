"""The models for the tests of the HTTP front."""

from __future__ import annotations

import numpy as np

from slipway.core.pending import Pending
from slipway.core.tensor import Tensor
from slipway.engine.api import IndexEntry, ServerMetadata
from slipway.errors import invalid
from tests.kits.memory_dataplane import MemoryDataplane, Model, answer, echo, fail, later, never, signature


def count(_: MemoryDataplane, pending: Pending) -> None:
    """Send IN0 responses (decoupled), then an empty final one; the value 3 gets an error."""
    for number in range(int(pending.request.inputs["IN0"].array[0])):
        if number == 3:
            answer(pending, error=invalid("three"), final=False)
            continue
        answer(pending, Tensor.from_array("OUT0", np.array([f"answer {number}".encode()], np.object_)), final=False)
    answer(pending, empty=True)


ROW = ("IN0 FP32 -1", "OUT0 FP32 -1")
MODELS = (
    Model(signature("echo", *ROW, batch=8, labels=("cat", "dog", "bird")), echo),
    Model(signature("pair", "IN0 INT32 -1, IN1 BYTES -1", "OUT0 INT32 -1, OUT1 BYTES -1"), echo),
    Model(signature("text", "IN0 BYTES 1", "OUT0 BYTES 1"), echo),
    Model(signature("grid", "IN0 FP64 -1 -1", "OUT0 FP64 -1 -1"), echo),
    Model(signature("half", "IN0 FP16 -1", "OUT0 FP16 -1"), echo),
    Model(signature("later", *ROW, batch=8), later),
    Model(signature("never", *ROW, batch=8), never),
    Model(signature("fail", *ROW, batch=8), fail),
    Model(signature("count", "IN0 INT32 1", "OUT0 BYTES 1", decoupled=True), count),
    Model(signature("odd name é", *ROW, batch=8), echo),
)
INDEX = (
    IndexEntry("echo", "1", "READY"),
    IndexEntry("broken", "1", "UNAVAILABLE", "it does not load"),
    IndexEntry("bare"),
)


def dataplane(kind: type[MemoryDataplane] = MemoryDataplane) -> MemoryDataplane:
    """Return a fresh dataplane with these models."""
    metadata = ServerMetadata("triton", "2.51.0", ("classification", "sequence"))
    return kind(MODELS, metadata=metadata, index=INDEX, unready=("never",))
