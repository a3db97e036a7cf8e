"""Metadata, configuration and statistics of the server and its models."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from slipway.config.render import config_json
from slipway.core.statistics import BatchDurations, Duration, ModelStatistics
from slipway.engine.api import TensorMetadata, VersionStatistics
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON


def server(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer GET /v2."""
    metadata = context.dataplane.server_metadata()
    _answer(exchange, {"name": metadata.name, "version": metadata.version, "extensions": metadata.extensions})


def model(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer GET /v2/models/NAME."""
    metadata = context.dataplane.model_metadata(target.model, target.version)
    _answer(
        exchange,
        {
            "name": metadata.name,
            "versions": metadata.versions,
            "platform": metadata.platform,
            "inputs": _tensors(metadata.inputs),
            "outputs": _tensors(metadata.outputs),
        },
    )


def config(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer GET /v2/models/NAME/config."""
    exchange.answer(200, JSON, config_json(context.dataplane.model_config(target.model, target.version)))


def statistics(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer GET /v2/models/stats and /v2/models/NAME/stats."""
    versions = context.dataplane.model_statistics(target.model, target.version)
    _answer(exchange, {"model_stats": [_version(version) for version in versions]})


def _answer(exchange: Exchange, document: object) -> None:
    exchange.answer(200, JSON, orjson.dumps(document))


def _tensors(tensors: Iterable[TensorMetadata]) -> list[dict[str, object]]:
    return [{"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape} for tensor in tensors]


def _version(version: VersionStatistics) -> dict[str, object]:
    counted = version.statistics
    return {
        "name": version.name,
        "version": version.version,
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.inference_count,
        "execution_count": counted.execution_count,
        "inference_stats": {
            "success": _duration(counted.success),
            "fail": _duration(counted.fail),
            "queue": _duration(counted.queue),
            **_phases(counted),
            "cache_hit": _duration(counted.cache_hit),
            "cache_miss": _duration(counted.cache_miss),
        },
        "response_stats": {},
        "batch_stats": [
            {"batch_size": size, **_phases(durations)} for size, durations in sorted(counted.batches.items())
        ],
        "memory_usage": [],
    }


def _phases(counted: ModelStatistics | BatchDurations) -> dict[str, dict[str, int]]:
    return {
        "compute_input": _duration(counted.compute_input),
        "compute_infer": _duration(counted.compute_infer),
        "compute_output": _duration(counted.compute_output),
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
