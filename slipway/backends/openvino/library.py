"""The edge to OpenVINO: import it, read and compile models, put its errors into our words, without paths.

Knows neither configurations nor requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from slipway.backends.shared.files import unreadable_graph
from slipway.errors import internal
from slipway.openvino_library import import_openvino, kept_signal_stack

# The text around the reason: where in the library's source it was thrown, and the condition that failed.
_TRACE = re.compile(
    r"(Caught exception: )?Exception from \S+:\d+:|Check '.*?' failed at \S+:\d+:?|^Loading input model$", re.ASCII
)
_OUTSIDE = re.compile(r"Path '(.*?)' resolves to '.*?' which is outside the base directory '.*?'")


def open_core(extension: str = "") -> Any:
    """Return a new Core for one model (4 ms), with its CPU plugin and the custom operators of `extension` loaded.

    Files are read, not mapped: overwriting a mapped file crashes the whole server (SIGBUS). Mapping would save 10 MB
    of 173 for a model of 91 MB.
    """
    core = import_openvino().Core()
    core.set_property({"ENABLE_MMAP": False})
    with kept_signal_stack():
        core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    if extension:
        core.add_extension(extension)
    return core


def read_model(core: Any, path: Path, model_name: str) -> Any:
    """Return the openvino.Model of the file; raise INTERNAL with the reason when it cannot be read.

    OpenVINO itself refuses external data of ONNX files outside the model's directory (absolute, `..`, links).
    """
    try:
        return core.read_model(path)
    except Exception as error:  # the library raises RuntimeError, and its frontends their own exceptions
        raise unreadable_graph(f"unable to load model '{model_name}': {reason_of(error, path)}") from error


def compile_model(core: Any, model: Any, properties: Mapping[str, Any], model_name: str) -> Any:
    """Return the openvino.CompiledModel for the CPU; raise INTERNAL with the reason when it cannot be compiled."""
    try:
        return core.compile_model(model, "CPU", dict(properties))
    except Exception as error:  # as above
        raise internal(f"unable to load model '{model_name}': {reason_of(error)}") from error


class Compilation:
    """One openvino.CompiledModel, compiled again after an execution failed in it; all instances share it. Thread-safe.

    A failed execution leaves the library's graph with inconsistent shapes (2026.4): the operators before the failing
    one already have outputs for the failed request's shapes but treat them as those of the request before. The next
    request with that earlier shape then fails as well, and so does every one after it until a different shape arrives.
    A new request object does not help, nor does `release_memory()`; a new graph does (0.2 s for a model of 91 MB).
    Therefore the model that was read is kept: it shares FP32 weights with the compiled one; for INT8 it costs a fifth
    of its file. (Exporting the compiled model would cost nothing until needed, but small graphs cannot be imported
    again.)
    """

    def __init__(self, core: Any, model: Any, properties: Mapping[str, Any], model_name: str) -> None:
        self._make = partial(compile_model, core, model, properties, model_name)
        self._compiled = self._make()
        self._spoiled = False
        self._lock = Lock()

    def current(self) -> Any:
        """Return a compiled model in which no execution failed; raise INTERNAL when it cannot be compiled."""
        if self._spoiled:
            with self._lock:
                if self._spoiled:  # another thread may have compiled it by now
                    self._compiled = self._make()
                    self._spoiled = False
        return self._compiled

    def spoil(self, compiled: Any) -> None:
        """Record that an execution of `compiled` failed."""
        with self._lock:
            self._spoiled |= compiled is self._compiled


def reason_of(error: BaseException, path: Path | None = None) -> str:
    """Return the reason in an error of the library, without its source files and our directories."""
    lines = [" ".join(_TRACE.sub("", line).split()) for line in str(error).splitlines()]
    text = " ".join(line for line in lines if line) or type(error).__name__
    text = _OUTSIDE.sub(r"'\1' is refused. External data must be a file inside the model's directory.", text)
    for directory in {path.parent, path.resolve().parent} if path else set():
        text = text.replace(f"{directory}/", "")
    return text
