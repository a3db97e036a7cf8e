"""How a model is compiled and shaped, from its configuration's parameters.

Keys are those of Triton's OpenVINO backend, including its older ones, and OpenVINO's own names for the same settings.
Pure: other modules ask what this CPU can do. Settings for other devices are ignored, with one warning each.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import ModelContext
from slipway.backends.shared.ignored import ON_CPU, ignored, ignored_accelerators, ignored_parameters, log_ignored
from slipway.backends.shared.parameters import Parameters, instance_count, parameter_problem
from slipway.config.accelerators import OPENVINO
from slipway.errors import SlipwayError, refused
from slipway.problems import Named, Problem

_LOG: Final = logging.getLogger("slipway.openvino")

PRECISIONS: Final = {"f32": "f32", "fp32": "f32", "bf16": "bf16", "f16": "f16", "fp16": "f16"}
_HINTS: Final = ("LATENCY", "THROUGHPUT")
_THREADS: Final = ("INFERENCE_NUM_THREADS", "CPU_THREADS_NUM")
_STREAMS: Final = ("NUM_STREAMS", "CPU_THROUGHPUT_STREAMS")
_BF16: Final = ("HINT_BF16", "ENFORCE_BF16")
_PINNING: Final = {"YES": True, "NUMA": False, "NO": False}  # the operating system places threads on NUMA nodes
_DEVICE = re.compile(r"(CPU|GPU|NPU|AUTO|MULTI|HETERO|BATCH)([.:(].*)?", re.ASCII | re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Shaping:
    """How the graph's input shapes change, and whether batches are padded to a fixed size."""

    reshape_layers: bool = False
    fixed_batch: bool = False
    pad_batches: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How one model is read and compiled. `properties` go to the library unchanged."""

    properties: Mapping[str, Any]
    extension: str = ""


def compile_options(context: ModelContext) -> Options:
    """Return how to compile a model; raise INVALID_ARG for an invalid value."""
    parameters = Parameters(context.config)
    log_ignored(_LOG, context.name, device_words(context.config))
    properties = default_properties(context)
    properties["INFERENCE_PRECISION_HINT"] = _precision(context.name, parameters)
    if threads := _number(context.name, parameters, _THREADS):
        properties["INFERENCE_NUM_THREADS"] = threads
    if streams := _streams(context.name, parameters):
        properties["NUM_STREAMS"] = streams
    if hint := parameters.text("PERFORMANCE_HINT").upper():
        properties["PERFORMANCE_HINT"] = _one_of(context.name, "PERFORMANCE_HINT", hint, _HINTS)
    if pinning := parameters.text("CPU_BIND_THREAD").upper():
        properties["ENABLE_CPU_PINNING"] = _PINNING[_one_of(context.name, "CPU_BIND_THREAD", pinning, tuple(_PINNING))]
    if group := _number(context.name, parameters, ("DYNAMIC_QUANTIZATION_GROUP_SIZE",)):
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
    return Options(properties, extension_of(context.name, context.config))


def default_properties(context: ModelContext) -> dict[str, Any]:
    """Return the properties of a model whose configuration sets none.

    By default OpenVINO rounds to bfloat16 on every CPU that supports it, and quantises the activations of models with
    compressed weights. Here numbers change only where the configuration asks for it. Each instance has its own stream,
    so that instances run in parallel: measured on 2 cores with 6 layers of 384 and 128 tokens, 2 streams do 70
    sequences/s where 1 stream of 2 threads does 65, while a lone request takes 29 instead of 15 ms. Threads are not
    pinned, because several models share the cores and each would take the same ones first; pinning gained nothing in
    the same measurement.
    """
    instances = instance_count(context.config)
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "NUM_STREAMS": instances,
        "INFERENCE_NUM_THREADS": context.threads * instances,
        "PERFORMANCE_HINT": "LATENCY" if instances == 1 else "THROUGHPUT",
        "ENABLE_CPU_PINNING": False,
    }


def shaping_of(config: model_config_pb2.ModelConfig) -> Shaping:
    """Return how the configuration changes shapes; raise INVALID_ARG for an invalid value."""
    parameters = Parameters(config)
    return Shaping(
        reshape_layers=parameters.boolean("RESHAPE_IO_LAYERS", False),
        fixed_batch=parameters.boolean("SKIP_OV_DYNAMIC_BATCHSIZE", False),
        pad_batches=parameters.boolean("ENABLE_BATCH_PADDING", False),
    )


def _precision(model_name: str, parameters: Parameters) -> str:
    key = "INFERENCE_PRECISION_HINT"
    if key in parameters:
        return PRECISIONS[_one_of(model_name, key, parameters.text(key).lower(), tuple(PRECISIONS))]
    return "bf16" if any(parameters.boolean(old, False) for old in _BF16) else "f32"


def _streams(model_name: str, parameters: Parameters) -> int | str:
    for key in _STREAMS:
        word = parameters.text(key).upper()
        if word in ("AUTO", "NUMA"):
            return word
        if word and not word.isdecimal():
            raise _refused(model_name, key, parameters.text(key), "a non-negative number, AUTO or NUMA")
    return _number(model_name, parameters, _STREAMS)


def _number(model_name: str, parameters: Parameters, keys: tuple[str, ...]) -> int:
    """Return the value of the first of `keys` that is set, 0 if none is."""
    for key in keys:
        if key in parameters:
            value = parameters.integer(key)
            if value < 0:
                raise _refused(model_name, key, parameters.text(key), "a non-negative number")
            return value
    return 0


def _one_of(model_name: str, key: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise _refused(model_name, key, value, f"one of {', '.join(allowed)}")
    return value


def extension_of(model_name: str, config: model_config_pb2.ModelConfig) -> str:
    """Return the model's library of custom operators, "" for none; raise INVALID_ARG for an invalid path."""
    path = Parameters(config).text("CPU_EXTENSION_PATH")
    if path and not (Path(path).is_absolute() and Path(path).is_file()):
        raise _refused(model_name, "CPU_EXTENSION_PATH", path, "the absolute path of a shared library")
    return path


def _refused(model_name: str, key: str, value: str, expected: str) -> SlipwayError:
    text = f"unable to load model '{model_name}', expected the parameter '{key}' to be {expected}, got {value}"
    return refused(parameter_problem(key, text))


def device_words(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return the settings for devices other than the CPU; raise INVALID_ARG for a device that OpenVINO lacks."""
    parameters = Parameters(config)
    words = ignored_accelerators(config)
    words += ignored_parameters(config, OPENVINO, ON_CPU)
    device = parameters.text("TARGET_DEVICE")
    if device and not _DEVICE.fullmatch(device):
        raise _refused(config.name, "TARGET_DEVICE", device, "an OpenVINO device, for example CPU")
    if device.upper() not in ("", "CPU", "AUTO"):
        path = ("parameters", Named("TARGET_DEVICE", "key"))
        words.append(ignored(f"TARGET_DEVICE {device}", ON_CPU, path))
    return words
