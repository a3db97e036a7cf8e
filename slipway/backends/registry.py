"""Find a backend by its config.pbtxt name.

The table is all this module knows of a backend; the module behind a row is imported when a model first names it, so
a server without torch never pays for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from slipway.backends.api import Backend
from slipway.errors import invalid, unavailable


@dataclass(frozen=True, slots=True)
class _Row:
    """Where a backend is, which library it needs ("" for none) and what installs it."""

    module: str
    attribute: str
    library: str = ""
    install: str = ""


_TABLE = {
    "fastertransformer": _Row("slipway.backends.fastertransformer.backend", "FasterTransformerBackend"),
    "identity": _Row("slipway.backends.identity.backend", "IdentityBackend"),
    "lightseq": _Row("slipway.backends.lightseq.backend", "LightSeqBackend"),
    "onnxruntime": _Row(
        "slipway.backends.onnxruntime.backend", "OnnxRuntimeBackend", "onnxruntime", "pip install onnxruntime"
    ),
    "openvino": _Row(
        "slipway.backends.openvino.backend", "OpenVinoBackend", "openvino", 'pip install "slipway[openvino]"'
    ),
    "python": _Row("slipway.backends.python.backend", "PythonBackend"),
    "pytorch": _Row("slipway.backends.pytorch.backend", "PyTorchBackend", "torch", 'pip install "slipway[torch]"'),
    "tensorrt": _Row("slipway.backends.tensorrt.backend", "TensorRtBackend"),  # it explains itself where it cannot run
}


# Backends that compute a graph on the CPU's cores. A Python model does what it likes with its threads, and rarely
# gains from being handed more than one request at a time.
GRAPH_BACKENDS = frozenset({"onnxruntime", "openvino", "pytorch", "tensorrt"})


def find_backend(name: str, backend_directories: Sequence[Path] = ()) -> Backend:
    """Return the backend `name`: a row of the table, or `<backend directory>/<name>/model.py` run as a Python model.

    Raise INVALID_ARG for an unknown name and UNAVAILABLE, with the pip command, when its library is not installed.
    """
    row = _TABLE.get(name)
    if row is None:
        return _python_based(name, backend_directories)
    if row.library and find_spec(row.library) is None:
        raise unavailable(f"backend '{name}' needs the package '{row.library}'; install it with: {row.install}")
    return cast("Backend", getattr(import_module(row.module), row.attribute)())


def _python_based(name: str, backend_directories: Sequence[Path]) -> Backend:
    if name != ".." and Path(name).name == name:  # one plain word: no way out of the backend directories
        for directory in backend_directories:
            model_py = directory / name / "model.py"
            if model_py.is_file():
                row = _TABLE["python"]
                return cast("Backend", getattr(import_module(row.module), row.attribute)(model_file=model_py))
    raise invalid(
        f"unable to find backend library for backend '{name}', try specifying runtime on the model configuration."
    )
