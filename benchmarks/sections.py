"""The sections of the benchmarks, by their names on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from benchmarks.conversion import conversion, sentences
from benchmarks.documents import documents
from benchmarks.encoder import overhead
from benchmarks.generation import generation
from benchmarks.lines import lines
from benchmarks.memory import memory
from benchmarks.report import Row
from benchmarks.subwords import subwords
from benchmarks.throughput import grpc, http
from benchmarks.training import training
from benchmarks.translation import translation

Section = Callable[[], list[Row]]


def _generation_gpu() -> list[Row]:
    from benchmarks.generation_gpu import (
        generation_gpu,  # uses internals of Slipway, unlike the others, which use its commands
    )

    return generation_gpu()


SECTIONS: Final[Mapping[str, Section]] = {
    "http": http,
    "grpc": grpc,
    "encoder": overhead,
    "conversion": conversion,
    "sentences": sentences,
    "generation": generation,
    "lines": lines,
    "training": training,
    "translation": translation,
    "memory": memory,
    "subwords": subwords,
    "documents": documents,
}
ON_REQUEST: Final[Mapping[str, Section]] = {"generation-gpu": _generation_gpu}  # not every machine has the device
# A turn when comparing checkouts: a single round, because turns repeat, and without NVIDIA's server.
TURNS: Final[Mapping[str, Section]] = {
    **SECTIONS,
    **ON_REQUEST,
    "http": partial(http, rounds=1, beside=False),
    "grpc": partial(grpc, rounds=1, beside=False),
}
