"""A loaded model's data for clients: metadata, statistics, index rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.core.model_id import ModelId
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.engine.api import IndexEntry, ModelMetadata, TensorMetadata, VersionStatistics
from slipway.engine.dependencies import is_ensemble
from slipway.engine.model import ModelVersion
from slipway.engine.states import State, StateTable

DUPLICATE = "model appears in two or more repositories"


def metadata(model: ModelVersion, versions: Iterable[int]) -> ModelMetadata:
    """Return a model's metadata, which lists `versions`."""
    config, signature = model.config, model.signature
    return ModelMetadata(
        name=model.name,
        versions=tuple(str(version) for version in versions),
        platform=config.platform or config.backend,
        inputs=_tensors(signature.inputs.values(), signature),
        outputs=_tensors(signature.outputs.values(), signature),
    )


def _tensors(specs: Iterable[TensorSpec], signature: ModelSignature) -> tuple[TensorMetadata, ...]:
    batch = (-1,) if signature.max_batch_size > 0 else ()
    return tuple(TensorMetadata(spec.name, spec.datatype, batch + spec.dims) for spec in specs)


def statistics(model: ModelVersion) -> VersionStatistics:
    """Return a version's counters with their labels."""
    return VersionStatistics(
        name=model.name,
        version=str(model.version),
        namespace=model.id.namespace,
        statistics=model.statistics,
        has_response_cache=model.config.response_cache.enable,
        metric_tags=dict(model.config.metric_tags),
        is_ensemble=is_ensemble(model.config),
    )


def _readable(reason: str) -> str:
    """Return a reason as UTF-8 can carry it: it may repeat the name of a file that is not valid Unicode."""
    return reason if reason.isascii() else reason.encode(errors="replace").decode()


def index(
    states: StateTable, present: Iterable[ModelId], duplicates: Iterable[ModelId], *, ready_only: bool
) -> list[IndexEntry]:
    """Return the repository index: the models `present` in the repositories, and any others that serve."""
    twice = set(duplicates)
    here = set(present) | twice
    serving = {model for model in states.models() if any(row.state is State.READY for _, row in states.versions(model))}
    entries: list[IndexEntry] = []
    for model in sorted(here | serving):
        name, namespace = model.name, model.namespace
        if model in twice and model not in serving:
            rows_of = [IndexEntry(name, state=State.UNAVAILABLE.value, reason=DUPLICATE, namespace=namespace)]
        else:
            rows_of = [
                IndexEntry(name, str(version), row.state.value, _readable(row.reason), row.problems, namespace)
                for version, row in states.versions(model)
            ]
        entries.extend(rows_of or [IndexEntry(name, namespace=namespace)])
    return [entry for entry in entries if entry.state == State.READY.value] if ready_only else entries
