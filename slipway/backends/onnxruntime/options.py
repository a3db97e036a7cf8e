"""Session options from a model's configuration: threads, graph optimisation, memory, `session.*` entries.

Keys are those of Triton's onnxruntime backend (its README.md, "Model Config Options"). Settings for GPUs are ignored,
with one warning each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import ModelContext
from slipway.backends.shared.ignored import ON_CPU, ignored, ignored_accelerators, ignored_parameters
from slipway.backends.shared.parameters import Parameters, instance_count, parameter_problem
from slipway.config.accelerators import OPENVINO
from slipway.errors import invalid, refused
from slipway.problems import Problem

ACCELERATOR = OPENVINO  # the execution accelerator for CPUs: accelerator.py

_QUIET = 4  # log only fatal errors: all others are raised, and a client could flood the log with them
_GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}  # the rest: ORT_ENABLE_ALL
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"


def metadata_options(config: model_config_pb2.ModelConfig, directories: Sequence[Path]) -> Any:
    """Return the options of a session that is opened only to read its graph, the same graph that is served.

    With less optimisation it would open faster (a 90 MB model in 60 ms instead of 80 ms, one of 2 cores), but sizes
    that follow from constants would read as variable.
    """
    options = _graph_options(config)
    options.intra_op_num_threads = 1
    options.use_per_session_threads = not _threads_are_shared()
    options.add_session_config_entry("session.disable_prepacking", "1")
    _add_entries(options, Parameters(config))
    _register_operators(options, config, directories)
    return options


def _graph_options(config: model_config_pb2.ModelConfig) -> Any:
    """Return options with the level of optimisation, which decides the graph that the session reports."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    level = _GRAPH_LEVELS.get(config.optimization.graph.level, "ORT_ENABLE_ALL")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return options


def _add_entries(options: Any, parameters: Parameters) -> None:
    for key, value in parameters.starting_with("session.").items():
        options.add_session_config_entry(key, value)


def session_options(context: ModelContext) -> Any:
    """Return the onnxruntime.SessionOptions of a model; raise INVALID_ARG for an invalid value."""
    import onnxruntime

    parameters = Parameters(context.config)
    options = _graph_options(context.config)
    options.execution_mode = _execution_mode(onnxruntime, parameters)
    options.enable_cpu_mem_arena = parameters.boolean("enable_mem_arena", True)
    options.enable_mem_pattern = parameters.boolean("enable_mem_pattern", True)
    _set_threads(options, context, parameters)
    _add_entries(options, parameters)
    _register_operators(options, context.config, (context.version_directory, context.model_directory))
    return options


def run_options(config: model_config_pb2.ModelConfig) -> Any:
    """Return the onnxruntime.RunOptions for the executions of a model."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = _QUIET
    parameters = Parameters(config)
    if _SHRINKAGE in parameters:
        options.add_run_config_entry(_SHRINKAGE, parameters.text(_SHRINKAGE))
    return options


def _execution_mode(onnxruntime: Any, parameters: Parameters) -> Any:
    mode = parameters.integer("execution_mode")
    if mode not in (0, 1):
        text = f"Invalid configuration value provided. Expected values for execution_mode are 0 or 1 but got {mode} ."
        raise refused(parameter_problem("execution_mode", text))
    return onnxruntime.ExecutionMode.ORT_PARALLEL if mode else onnxruntime.ExecutionMode.ORT_SEQUENTIAL


def _set_threads(options: Any, context: ModelContext, parameters: Parameters) -> None:
    """Size the session's one thread pool: a lone request uses the CPU share of all instances.

    Instances share one session and so one pool, and each instance's own thread computes too. Measured with MiniLM on
    2 cores, 2 instances, 16 / 128 tokens. With a pool of the whole share, a lone request takes 2.1 / 8.9 ms, and two
    busy instances reach 536 / 130 sequences/s. With one thread per instance: 3.2 / 13.4 ms and 605 / 144. The default
    favours the lone request; a busy server can choose the other with intra_op_thread_count.

    Spinning workers take the core from the other instances (both busy 524 / 105), so several instances do not spin.
    One instance gains from spinning inside a run (16 tokens: 1.9 instead of 2.2 ms) and must not burn a core between
    runs (2 ms apart: 4.0 ms of CPU each instead of 6.4).
    """
    default_intra, default_inter = (_setting(context, f"{kind}_op_thread_count") for kind in ("intra", "inter"))
    if _setting(context, "enable-global-threadpool"):
        _share_threads(default_intra, default_inter)
        options.use_per_session_threads = False
        return
    intra = parameters.integer("intra_op_thread_count") or default_intra
    inter = parameters.integer("inter_op_thread_count") or default_inter
    instances = instance_count(context.config)
    options.intra_op_num_threads = intra if intra > 0 else context.threads * instances
    options.inter_op_num_threads = inter if inter > 0 else context.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if instances == 1 else "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")


def _setting(context: ModelContext, key: str) -> int:
    value = context.backend_config.get(key, "0")
    try:
        return int(value)
    except ValueError:
        raise invalid(f"--backend-config=onnxruntime,{key}={value}: expected a whole number") from None


@cache
def _share_threads(intra: int, inter: int) -> None:
    """Size the pools that all sessions share (0: the library's choice); once, because sessions keep using them."""
    import onnxruntime

    onnxruntime.set_global_thread_pool_sizes(intra, inter)


def _threads_are_shared() -> bool:
    """Return whether the shared pools exist; if so, onnxruntime refuses sessions with pools of their own."""
    return _share_threads.cache_info().currsize > 0


def _register_operators(options: Any, config: model_config_pb2.ModelConfig, directories: Sequence[Path]) -> None:
    """Load the libraries of custom operators, each by absolute path or from the first directory that contains it."""
    for name in config.model_operations.op_library_filename:
        paths = [directory / name for directory in directories]  # an absolute name stays as it is
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise invalid(f"unable to load model '{config.name}', custom operator library '{name}' not found")
        options.register_custom_ops_library(str(path))


def gpu_words(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return the settings that do nothing on a CPU, once each: accelerators except OpenVINO, and GPU parameters."""
    words = ignored_accelerators(config, kept=ACCELERATOR)
    words += ignored_parameters(config, "onnxruntime", ON_CPU)
    if config.optimization.cuda.graphs:
        words.append(ignored("optimization.cuda.graphs", ON_CPU, ("optimization", "cuda", "graphs")))
    return words
