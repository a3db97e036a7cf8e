"""Protobuf messages except inference: statistics, repository index, load and unload.

Pure. The message classes are the official ones from `tritonclient`; the texts are tritonserver's.
"""

from __future__ import annotations

from collections.abc import Iterable

from tritonclient.grpc import service_pb2

from slipway.core.statistics import Duration, ModelStatistics
from slipway.errors import invalid, shown, unsupported

_FILE_PREFIX = "file:"


def model_statistics(
    name: str, version: str, statistics: ModelStatistics, *, message: service_pb2.ModelStatistics
) -> None:
    """Fill `message` with the counters of one model version."""
    message.name = name
    message.version = version
    message.last_inference = statistics.last_inference_ms
    message.inference_count = statistics.inference_count
    message.execution_count = statistics.execution_count
    infer = message.inference_stats
    for key in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
        _duration(getattr(statistics, key), getattr(infer, key))
    _duration(statistics.cache_hit, infer.cache_hit)
    _duration(statistics.cache_miss, infer.cache_miss)
    for size in sorted(statistics.batches):
        durations = statistics.batches[size]
        batch = message.batch_stats.add(batch_size=size)
        for key in ("compute_input", "compute_infer", "compute_output"):
            _duration(getattr(durations, key), getattr(batch, key))


def _duration(source: Duration, message: service_pb2.StatisticDuration) -> None:
    message.SetInParent()  # Triton sends zero counters too
    message.count = source.count
    message.ns = source.ns


def repository_index(rows: Iterable[tuple[str, str, str, str]]) -> service_pb2.RepositoryIndexResponse:
    """Return the index message of (name, version, state, reason) rows."""
    response = service_pb2.RepositoryIndexResponse()
    for name, version, state, reason in rows:
        response.models.add(name=name, version=version, state=state, reason=reason)
    return response


def refuse_repository_name(repository_name: str) -> None:
    """Raise `SlipwayError` (UNSUPPORTED) if a request names a repository; Triton does not support it either."""
    if repository_name:
        raise unsupported("'repository_name' specification is not supported")


def load_parameters(message: service_pb2.RepositoryModelLoadRequest) -> tuple[str | None, dict[str, bytes]]:
    """Return a load request's configuration (JSON) and files by relative path; raise INVALID_ARG for an unknown or
    mistyped parameter."""
    config: str | None = None
    files: dict[str, bytes] = {}
    for key, value in message.parameters.items():
        if key == "config":
            if not value.HasField("string_param"):
                raise invalid("invalid value type for load parameter 'config', expected string_param.")
            config = value.string_param
        elif key.startswith(_FILE_PREFIX):
            if not value.HasField("bytes_param"):
                raise invalid(f"invalid value type for load parameter '{shown(key)}', expected bytes_param.")
            files[key.removeprefix(_FILE_PREFIX)] = value.bytes_param
        else:
            raise invalid(f"unrecognized load parameter '{shown(key)}'.")
    return config, files


def unload_dependents(message: service_pb2.RepositoryModelUnloadRequest) -> bool:
    """Return whether to unload the models that only this one needs too; raise INVALID_ARG for a mistyped parameter."""
    if "unload_dependents" not in message.parameters:
        return False
    value = message.parameters["unload_dependents"]
    if not value.HasField("bool_param"):
        raise invalid("invalid value type for 'unload_dependents' parameter, expected bool_param.")
    return bool(value.bool_param)
