"""A compiled model that is made anew after an execution failed in it. Shared by all instances of a version.

A failed execution leaves the library's graph half in its shapes (2026.4): operators before the failing one have outputs
of the refused request and believe that they are those of the request before. The next request shaped like that one then
fails as well, and so does every other until one of another shape comes. Another request object does not help, nor does
`release_memory()`; a new graph does (0.2 s for a model of 91 MB). The model that was read is kept for that: it shares
FP32 weights with the compiled one; for INT8 it costs a fifth of its file. (Exporting the compiled one costs nothing
before it is needed, but small graphs cannot be imported again.)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from threading import Lock
from typing import Any

from slipway.backends.openvino.library import compile_model


class Compilation:
    """One openvino.CompiledModel and its successors. Thread-safe."""

    def __init__(self, core: Any, model: Any, properties: Mapping[str, Any], model_name: str) -> None:
        self._make = partial(compile_model, core, model, properties, model_name)
        self._compiled = self._make()
        self._spoiled = False
        self._lock = Lock()

    def current(self) -> Any:
        """Return a compiled model in which nothing failed; raise INTERNAL when none can be made."""
        if self._spoiled:
            with self._lock:
                if self._spoiled:  # by now somebody else may have made it
                    self._compiled = self._make()
                    self._spoiled = False
        return self._compiled

    def spoil(self, compiled: Any) -> None:
        """Take note that an execution of `compiled` failed."""
        with self._lock:
            self._spoiled |= compiled is self._compiled
