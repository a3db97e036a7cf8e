"""The module `triton_python_backend_utils`, as one model sees it.

Each model gets its own module, whose requests, metrics and model control are bound to that model, so models that share
a process never act in each other's name.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import numpy as np

from slipway.backends.python import constants, errors, functions, metric, response
from slipway.backends.python.bls import ResponseIterator
from slipway.backends.python.errors import TritonModelException
from slipway.backends.python.logger import Logger, LogLevel
from slipway.backends.python.model_config import ModelConfig
from slipway.backends.python.reply import RESPONSE_COMPLETE_FINAL, InferenceResponseSender
from slipway.backends.python.request import InferenceRequest
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.signatures import Signature, StubParameter, anything, decoded, text, truth, uncastable
from slipway.backends.python.tensor import ModelTensor
from slipway.errors import SlipwayError

MODULE_NAME: Final = "triton_python_backend_utils"
NATIVE_NAME: Final = "c_python_backend_utils"  # the stub's own module; models name its types in annotations
_FILE: Final = "file:"  # how Triton marks the files among the parameters of a load

_SHARED: Final[Mapping[str, object]] = {
    "Tensor": ModelTensor,
    "InferenceResponse": response.InferenceResponse,
    "InferenceResponseSender": InferenceResponseSender,
    "ResponseIterator": ResponseIterator,
    "TritonError": errors.TritonError,
    "TritonModelException": TritonModelException,
    "PreferredMemory": constants.PreferredMemory,
    "MemoryType": constants.MemoryType,
    "InferenceTrace": constants.InferenceTrace,
    "Logger": Logger,
    "LogLevel": LogLevel,
    "Metric": metric.ModelMetric,
    "MetricKind": metric.MetricKind,
    "ModelConfig": ModelConfig,
    "TRITONSERVER_MEMORY_GPU": constants.MemoryType.TRITONSERVER_MEMORY_GPU,
    "TRITONSERVER_MEMORY_CPU": constants.MemoryType.TRITONSERVER_MEMORY_CPU,
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START": constants.REQUEST_FLAG_SEQUENCE_START,
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END": constants.REQUEST_FLAG_SEQUENCE_END,
    "TRITONSERVER_REQUEST_RELEASE_ALL": constants.REQUEST_RELEASE_ALL,
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE": constants.REQUEST_RELEASE_RESCHEDULE,
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL": RESPONSE_COMPLETE_FINAL,
    "TRITON_STRING_TO_NUMPY": functions.TRITON_STRING_TO_NUMPY,
    "get_input_tensor_by_name": functions.get_input_tensor_by_name,
    "get_output_tensor_by_name": functions.get_output_tensor_by_name,
    "get_input_config_by_name": functions.get_input_config_by_name,
    "get_output_config_by_name": functions.get_output_config_by_name,
    "using_decoupled_model_transaction_policy": functions.using_decoupled_model_transaction_policy,
    "triton_to_numpy_type": functions.triton_to_numpy_type,
    "numpy_to_triton_type": functions.numpy_to_triton_type,
    "triton_string_to_numpy": functions.triton_string_to_numpy,
    "serialize_byte_tensor": functions.serialize_byte_tensor,
    "deserialize_bytes_tensor": functions.deserialize_bytes_tensor,
    # Triton's file imports these, and models use them through it.
    "np": np,
    "json": json,
    "struct": struct,
    "__file__": __file__,
}
_NATIVE: Final = (
    "InferenceRequest InferenceResponse InferenceResponseSender InferenceTrace Logger MemoryType Metric MetricFamily "
    "MetricKind PreferredMemory ResponseIterator Tensor TritonError TritonModelException TRITONSERVER_MEMORY_CPU "
    "TRITONSERVER_MEMORY_GPU is_model_ready load_model unload_model"
).split()


_LOAD: Final = Signature(
    "load_model",
    "(model_name: str, config: str = '', files: object = None) -> None",
    StubParameter("model_name", text),
    StubParameter("config", text, ""),
    StubParameter("files", anything, None),
)
_UNLOAD: Final = Signature(
    "unload_model",
    "(model_name: str, unload_dependents: bool = False) -> None",
    StubParameter("model_name", text),
    StubParameter("unload_dependents", truth, False),
)
_IS_READY: Final = Signature(
    "is_model_ready",
    "(model_name: str, model_version: str = '') -> bool",
    StubParameter("model_name", text),
    StubParameter("model_version", text, ""),
)


class ModelControl:
    """`load_model` and the functions like it, bound to one model."""

    def __init__(self, scope: ModelScope) -> None:
        self._scope = scope

    def load_model(self, *given: Any, **named: Any) -> None:
        """Load or reload a model and wait for it; `files` ("file:<relative path>") override those in the repository."""
        model_name, config, files = _LOAD.bind((), given, named)
        model_name = decoded(model_name)
        if files is not None and not isinstance(files, Mapping):
            raise TritonModelException(
                f"failed to load model '{model_name}', files should be a dictionary of file paths and file contents"
            )
        contents: dict[str, bytes] = {}
        for name, content in (files or {}).items():
            if not isinstance(name, str):
                raise uncastable()
            if not isinstance(content, bytes):
                raise TypeError(f"Object of type '{type(content).__name__}' is not an instance of 'bytes'")
            if not name.startswith(_FILE):
                raise TritonModelException(f"failed to load model '{model_name}', unrecognized parameter '{name}'")
            contents[name.removeprefix(_FILE)] = content
        try:
            self._scope.server.load_model(model_name, decoded(config) or None, contents)
        except SlipwayError as error:
            raise TritonModelException(f"Failed to load model: {self._what}{error.message}") from error

    def unload_model(self, *given: Any, **named: Any) -> None:
        """Unload a model; with `unload_dependents`, also the models that it is composed of."""
        model_name, unload_dependents = _UNLOAD.bind((), given, named)
        try:
            self._scope.server.unload_model(decoded(model_name), bool(unload_dependents))
        except SlipwayError as error:
            raise TritonModelException(f"Failed to unload model: {self._what}{error.message}") from error

    def is_model_ready(self, *given: Any, **named: Any) -> bool:
        """Return whether a model can serve."""
        name, version = map(decoded, _IS_READY.bind((), given, named))
        try:
            return self._scope.server.is_model_ready(name, version)
        except SlipwayError:  # Triton answers False for an unknown model
            return False

    def get_model_dir(self) -> str:
        """Return the directory of the running model version."""
        return self._scope.version_directory

    @property
    def _what(self) -> str:
        return f"Failed to process the request for model '{self._scope.instance_name}', message: "


def build_surface(scope: ModelScope) -> ModuleType:
    """Return the module for the model of `scope`."""
    control = ModelControl(scope)
    members: dict[str, Any] = {
        **_SHARED,
        "InferenceRequest": bound_request_type(scope),
        "MetricFamily": type("MetricFamily", (metric.ModelMetricFamily,), {"scope": scope}),
        "load_model": control.load_model,
        "unload_model": control.unload_model,
        "is_model_ready": control.is_model_ready,
        "get_model_dir": control.get_model_dir,
    }
    module = ModuleType(MODULE_NAME, "The functions and classes that a Triton Python model may use.")
    vars(module).update(members)
    return module


def native_module(surface: ModuleType) -> ModuleType:
    """Return the module `c_python_backend_utils` of the model that has `surface`: the same types, fewer of them."""
    module = ModuleType(NATIVE_NAME, "The types of Triton's Python stub.")
    vars(module).update({name: getattr(surface, name) for name in _NATIVE})
    vars(module).update({kind.name: kind for kind in metric.MetricKind})
    return module


def bound_request_type(scope: ModelScope) -> type[InferenceRequest]:
    """Return the request type of one model."""
    return type("InferenceRequest", (InferenceRequest,), {"scope": scope, "__slots__": ()})
