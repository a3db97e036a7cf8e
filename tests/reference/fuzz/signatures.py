"""What the fuzz knows of a model: its tensors, read from the configuration that a server reports."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from random import Random

DATATYPES = {
    "TYPE_BOOL": "BOOL",
    "TYPE_STRING": "BYTES",
    **{f"TYPE_{name}": name for name in ("FP16", "FP32", "FP64")},
    **{f"TYPE_{sign}INT{bits}": f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class TensorSignature:
    """One input or output; dims are without the batch dimension, -1 is any size."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool

    def shape(self, rng: Random) -> list[int]:
        """Return a shape that fits, without the batch dimension."""
        return [rng.choice((1, 2, 3)) if size < 0 else size for size in self.dims]


@dataclass(frozen=True, slots=True)
class Signature:
    """One model."""

    name: str
    max_batch_size: int
    decoupled: bool
    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]


def read_signatures(http_port: int) -> tuple[Signature, ...]:
    """Return the signature of every model that is ready, by name."""
    index = _json(http_port, "/v2/repository/index", b'{"ready": true}')
    names = sorted({entry["name"] for entry in index})
    return tuple(_signature(_json(http_port, f"/v2/models/{name}/config", None)) for name in names)


def _json(port: int, path: str, body: bytes | None) -> object:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=30) as response:
        return json.load(response)


def _signature(config: dict) -> Signature:
    return Signature(
        config["name"],
        config["max_batch_size"],
        config.get("model_transaction_policy", {}).get("decoupled", False),
        tuple(map(_tensor, config["input"])),
        tuple(map(_tensor, config["output"])),
    )


def _tensor(entry: dict) -> TensorSignature:
    dims = tuple(map(int, entry["dims"]))
    return TensorSignature(entry["name"], DATATYPES[entry["data_type"]], dims, entry.get("optional", False))
