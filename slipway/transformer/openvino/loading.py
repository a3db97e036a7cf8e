"""From weights to a compiled model: stored once in the cache in the form that the graph computes with, then mapped."""

from __future__ import annotations

from pathlib import Path

from slipway.errors import SlipwayError
from slipway.transformer.conversion_cache import ConversionCache, digest
from slipway.transformer.openvino.network import OpenVinoModel
from slipway.transformer.openvino.stored_weights import BYTES, LAYOUT, open_stored, write
from slipway.transformer.spec import Transformer
from slipway.transformer.temporary_thread import run_in_temporary_thread
from slipway.transformer.weights import Weights


def load(
    spec: Transformer, weights: Weights, precision: str, cache: ConversionCache, *, threads: int
) -> tuple[OpenVinoModel, Path]:
    """Return the compiled model and its entry in `cache`, which is made if it is missing.

    Raises UNAVAILABLE if the entry cannot be written, or the library cannot compile the graph.
    """

    def entry() -> Path:
        name = digest(spec, weights, LAYOUT, precision)
        needed = int(weights.elements * BYTES[precision])
        return cache.entry(name, lambda directory: write(spec, weights, directory, precision), needed_bytes=needed)

    path = entry()
    try:
        arrays = open_stored(path)
    except SlipwayError:  # the entry is damaged, or another process removed it: store the weights again
        cache.discard(path)
        path = entry()
        arrays = open_stored(path)
    return run_in_temporary_thread(lambda: OpenVinoModel.compile(spec, arrays, precision, threads=threads)), path
