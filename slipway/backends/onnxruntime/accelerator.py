"""The CPU execution accelerator `openvino`: OpenVINO runs the ONNX file instead of onnxruntime.

Parameters are those of Triton's onnxruntime backend, `optimization.execution_accelerators.cpu_execution_accelerator`.
An accelerator makes a model faster; it must not decide whether the model loads or how precise it is. A model that
OpenVINO cannot run, or cannot run in the graph's own types, runs on onnxruntime, with a warning that says why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import LoadedModel, ModelContext
from slipway.backends.onnxruntime.graph import open_described
from slipway.backends.onnxruntime.options import ACCELERATOR
from slipway.backends.registry import BUILT_IN
from slipway.backends.shared.graph import Graph
from slipway.backends.shared.graph_check import check_config
from slipway.backends.shared.ignored import ON_CPU, ignored
from slipway.config.accelerators import cpu_accelerator
from slipway.config.numbers import whole_number
from slipway.errors import SlipwayError, refused
from slipway.problems import Named, Problem, Rule

_LOG: Final = logging.getLogger("slipway.onnxruntime")

_PRECISIONS: Final = {"": "f32", "FP32": "f32", "ACCURACY": "f32", "FP16": "f16", "BF16": "bf16"}
_KNOWN: Final = ("device_type", "precision", "num_of_threads", "num_streams")
_CPU = re.compile(r"CPU(_FP32|_FP16)?", re.ASCII)


def load_accelerated(context: ModelContext, path: Path) -> LoadedModel | None:
    """Return the model on OpenVINO if its configuration asks for that and OpenVINO can run it, else None.

    Raise INVALID_ARG for an invalid parameter.
    """
    parameters = cpu_accelerator(context.config, ACCELERATOR)
    if parameters is None:
        return None
    changes = accelerator_properties(context.name, parameters)
    if find_spec("openvino") is None:
        _warn(context.name, f"needs the package 'openvino', install it with: {BUILT_IN['openvino'].install}")
        return None
    from slipway.backends.openvino.backend import load_checked_graph
    from slipway.backends.openvino.options import Options, default_properties

    graph = _checked_graph(context, path)
    if any(tensor.config_type == "TYPE_FP64" for tensor in (*graph.inputs.values(), *graph.outputs.values())):
        _warn(context.name, "computes FP64 in FP32")
        return None
    try:
        return load_checked_graph(context, path, Options({**default_properties(context), **changes}))
    except SlipwayError as error:
        _warn(context.name, f"cannot run this model ({error.message})")
        return None


def _checked_graph(context: ModelContext, path: Path) -> Graph:
    """Return the graph as onnxruntime reads it, checked against the configuration: the accelerator changes no check."""
    _, graph = open_described(context.name, path, context.config, context.version_directory)
    check_config(context.config, graph)
    return graph


def accelerator_properties(model_name: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the OpenVINO properties that an accelerator's parameters set; raise INVALID_ARG for an invalid value."""
    device = parameters.get("device_type", "").upper()
    device = device if _CPU.fullmatch(device) else ""
    precision = parameters.get("precision", "").upper() or device.removeprefix("CPU").removeprefix("_")
    if precision not in _PRECISIONS:
        raise _refused(model_name, "precision", precision, "FP32, FP16 or BF16")
    numbers = {
        "INFERENCE_NUM_THREADS": _number(model_name, "num_of_threads", parameters),
        "NUM_STREAMS": _number(model_name, "num_streams", parameters),
    }
    set_numbers = {name: number for name, number in numbers.items() if number}
    return {"INFERENCE_PRECISION_HINT": _PRECISIONS[precision], **set_numbers}


def accelerator_words(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return the accelerator's parameters that have no effect; raise INVALID_ARG for invalid values."""
    parameters = cpu_accelerator(config, ACCELERATOR)
    if parameters is None:
        return []
    accelerator_properties(config.name, parameters)
    path = ("optimization", "execution_accelerators", "cpu_execution_accelerator", Named(ACCELERATOR))
    unknown = sorted(parameters.keys() - set(_KNOWN))
    words = [ignored(f"parameter '{key}' of accelerator '{ACCELERATOR}'", "", path) for key in unknown]
    device = parameters.get("device_type", "").upper()
    return words + ([ignored(f"device_type {device}", ON_CPU, path)] if device and not _CPU.fullmatch(device) else [])


def _number(model_name: str, key: str, parameters: Mapping[str, str]) -> int:
    value = parameters.get(key, "0")
    number = whole_number(value)
    if number is None:
        raise _refused(model_name, key, value, "a non-negative number")
    return number


def _refused(model_name: str, key: str, value: str, expected: str) -> SlipwayError:
    text = (
        f"unable to load model '{model_name}', expected the parameter '{key}' of accelerator '{ACCELERATOR}' "
        f"to be {expected}, got {value}"
    )
    path = ("optimization", "execution_accelerators", "cpu_execution_accelerator", Named(ACCELERATOR))
    return refused(Problem(Rule.PARAMETER_INVALID, text, path, "correct the value, or remove the parameter"))


def _warn(model_name: str, reason: str) -> None:
    text = "model '%s': execution accelerator '%s' %s; the model runs on onnxruntime"
    _LOG.warning(text, model_name, ACCELERATOR, reason)
