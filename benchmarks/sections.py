"""The sections of the benchmarks, by their names on the command line.

A section is imported when it runs: some use internals of Slipway, which another checkout to compare with may not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final

from benchmarks.report import Row

Section = Callable[[], list[Row]]


def _section(module: str, function: str, **settings: Any) -> Section:
    return partial(_run, f"benchmarks.{module}", function, settings)


def _run(module: str, function: str, settings: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = getattr(import_module(module), function)(**settings)
    return rows


SECTIONS: Final[Mapping[str, Section]] = {
    "http": _section("throughput", "http"),
    "grpc": _section("throughput", "grpc"),
    "shared-memory": _section("shared_memory", "shared_memory"),
    "sequences": _section("sequences", "sequences"),
    "cache": _section("caching", "caching"),
    "encoder": _section("encoder", "overhead"),
    "conversion": _section("conversion", "conversion"),
    "sentences": _section("conversion", "sentences"),
    "openai": _section("openai_embeddings", "openai_embeddings"),
    "generation": _section("generation", "generation"),
    "continuous": _section("continuous", "continuous"),
    "decoders": _section("decoders", "decoders"),
    "lines": _section("lines", "lines"),
    "proxy": _section("proxy", "proxy"),
    "training": _section("training", "training"),
    "translation": _section("translation", "translation"),
    "memory": _section("memory", "memory"),
    "subwords": _section("subwords", "subwords"),
    "documents": _section("documents", "documents"),
    "reading": _section("reading", "reading"),
    "vision": _section("vision", "vision"),
}
# Not every machine has the device.
ON_REQUEST: Final[Mapping[str, Section]] = {"generation-gpu": _section("generation_gpu", "generation_gpu")}
# A turn when comparing checkouts: a single round, because turns repeat, and without NVIDIA's server.
TURNS: Final[Mapping[str, Section]] = {
    **SECTIONS,
    **ON_REQUEST,
    "http": _section("throughput", "http", rounds=1, beside=False),
    "grpc": _section("throughput", "grpc", rounds=1, beside=False),
    "shared-memory": _section("shared_memory", "shared_memory", rounds=1, beside=False),
    "sequences": _section("sequences", "sequences", rounds=1, beside=False),
    "cache": _section("caching", "caching", rounds=1, beside=False),
    "proxy": _section("proxy", "proxy", rounds=1),
}
