"""Draft a configuration from a model file: its tensors, types, shapes and batch axis, with defaults that suit a CPU.

The backends read the file; `commented.py` writes the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext
from slipway.backends.pytorch.graph import exported_graph
from slipway.backends.registry import BUILT_IN, GRAPH_BACKENDS, find_backend
from slipway.backends.shared.graph import Graph
from slipway.backends.shared.graph_complete import complete_from_graph
from slipway.config.complete import FORMATS, Format
from slipway.errors import invalid
from slipway.machine import Machine
from slipway.repository.scan import scan_versions

MAX_BATCH_SIZE: Final = 8  # 8 to 16: beyond that a CPU gains latency and memory, not throughput
QUEUE_DELAY_US: Final = 100  # for latency; 500 to 2000 for throughput

_Group: Final = model_config_pb2.ModelInstanceGroup
_SUFFIXES: Final = {Path(row.file_name).suffix: row for row in FORMATS if row.backend in BUILT_IN}


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration and the file that it was made from, None for an ensemble; `unbatched` is the reason that the
    model does not support batches, if only running it showed that."""

    config: model_config_pb2.ModelConfig
    file: Path | None = None
    unbatched: str = ""


@runtime_checkable
class _ExploresGraph(Protocol):
    """A backend that runs a graph to find what its description leaves open."""

    def explore(self, name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> Graph:
        """Return the graph with the results."""


def draft_config(path: Path, machine: Machine, *, name: str = "", max_batch_size: int | None = None) -> Draft:
    """Return a configuration for a model file or directory; raise `SlipwayError` if its tensors are unknown."""
    file = _model_file(path)
    row = _SUFFIXES.get(file.suffix)
    if row is None:
        raise invalid(f"'{file}' is not a model file that can be served; expected one of {', '.join(_SUFFIXES)}")
    config = model_config_pb2.ModelConfig(name=name or _name(file), backend=row.backend)
    if file.name != row.file_name or row.file_name != _first_name(row.backend):
        config.default_model_filename = file.name
    _complete(config, file, max_batch_size)
    if not config.input or not config.output:
        raise invalid(
            f"'{file}' does not describe its inputs or outputs; add auto_complete_config to the model, or write "
            f"config.pbtxt by hand"
        )
    _add_defaults(config, row, machine)
    unbatched = "" if config.max_batch_size or max_batch_size == 0 else _unbatched(config, file)
    return Draft(config, file, unbatched)


def _model_file(path: Path) -> Path:
    """Return the model file: `path` itself, or the one in the newest version of a model's directory."""
    if not path.exists():
        raise invalid(f"'{path}' does not exist; specify a model file or the directory of a model")
    if path.is_file():
        return path
    directory = next(reversed(scan_versions(path).paths.values()), path)
    found = next((directory / row.file_name for row in FORMATS if (directory / row.file_name).exists()), None)
    if found is None:
        expected = ", ".join(row.file_name for row in _SUFFIXES.values())
        raise invalid(
            f"'{directory}' contains no model file; expected one of {expected}; for an ensemble, use --pipeline with "
            f"the directories of its models"
        )
    return found


def _first_name(backend: str) -> str:
    return next(row.file_name for row in FORMATS if row.backend == backend)


def _name(file: Path) -> str:
    """Return the name of the model's directory if the file is in a version directory, else that of the file."""
    parent = file.resolve().parent
    return parent.parent.name if parent.name.isdecimal() and parent.parent.name else file.stem


def _complete(config: model_config_pb2.ModelConfig, file: Path, max_batch_size: int | None) -> None:
    """Fill in what the file describes, through the backend or, for torch.export, from the program itself."""
    default = MAX_BATCH_SIZE if max_batch_size is None else max_batch_size
    backend = find_backend(config.backend)  # raises with the pip command where its library is not installed
    if config.backend == "pytorch":
        config.max_batch_size = max_batch_size or 0
        complete_from_graph(config, exported_graph(file, config.name), config.name, default)
        return
    work = model_config_pb2.ModelConfig()
    work.CopyFrom(config)
    work.default_model_filename = file.name
    work.max_batch_size = max_batch_size or 0
    backend.complete(work, CompletionContext(file.resolve().parent.parent, file.resolve().parent, default))
    for field in ("platform", "default_model_filename"):
        work.ClearField(field)
    config.MergeFrom(work)


def _unbatched(config: model_config_pb2.ModelConfig, file: Path) -> str:
    backend = find_backend(config.backend)
    if not isinstance(backend, _ExploresGraph):
        return ""
    work = model_config_pb2.ModelConfig(default_model_filename=file.name)
    return backend.explore(config.name, file.resolve().parent, work).unbatched


def _add_defaults(config: model_config_pb2.ModelConfig, row: Format, machine: Machine) -> None:
    """Set instances and batching; the instance group is for CPUs unless the machine has a GPU."""
    kind = _Group.KIND_AUTO if machine.gpus else _Group.KIND_CPU
    config.instance_group.add(count=1, kind=kind)
    if row.backend in GRAPH_BACKENDS and config.max_batch_size > 1:
        config.dynamic_batching.preferred_batch_size[:] = powers_of_two(config.max_batch_size)
        config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US


def powers_of_two(limit: int) -> list[int]:
    """Return the powers of two from 2 to `limit`."""
    return [1 << exponent for exponent in range(1, limit.bit_length()) if 1 << exponent <= limit]
