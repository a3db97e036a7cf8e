"""Networks from checkpoints, in any precision."""

from __future__ import annotations

from slipway.transformer.openvino.network import OpenVinoModel
from slipway.transformer.openvino.stored_weights import open_stored, write


def open_network(spec, weights, directory, precision="float32", *, page_count=64):
    """Return a network whose stored weights are in `directory`."""
    directory.mkdir()
    write(spec, weights, directory, precision)
    return OpenVinoModel.compile(spec, open_stored(directory), precision, threads=1).network(page_count)
