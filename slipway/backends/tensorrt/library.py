"""The edge to TensorRT: check whether it can run here, and read plans.

Most hosts have no GPU. There the error says what is missing and what to do instead, found without importing anything
heavy.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from slipway.backends.registry import BUILT_IN
from slipway.backends.shared.files import unreadable_graph
from slipway.errors import Code, refused
from slipway.machine import has_gpu
from slipway.problems import Problem, Rule

_LOG: Final = logging.getLogger("slipway.tensorrt")

_OTHERWISE: Final = (
    "Serve the model's ONNX file with the backend onnxruntime or openvino instead, or make a model for this machine "
    "with: slipway convert --engine openvino"
)


def require_tensorrt(model_name: str) -> Any:
    """Return the module `tensorrt`; raise UNAVAILABLE, naming the alternative, where a plan cannot run."""
    missing = _missing()
    if missing:
        text = (
            f"unable to load model '{model_name}': a TensorRT plan runs only on an NVIDIA GPU, and {missing}. "
            f"{_OTHERWISE}"
        )
        problem = Problem(Rule.GPU_ON_CPU_HOST, text, ("backend",), "serve it on a machine with a GPU")
        raise refused(problem, code=Code.UNAVAILABLE)
    import tensorrt

    return tensorrt


@dataclass(frozen=True, slots=True)
class PlanEngine:
    """A tensorrt.ICudaEngine with the runtime and the logger, which must live as long as it does."""

    engine: Any
    runtime: Any
    log: Any


def read_plan(tensorrt: Any, path: Path, device: int, model_name: str) -> PlanEngine:
    """Return the engine of the file on GPU `device`; raise INTERNAL with the library's reason."""
    import torch

    log = _logger(tensorrt)
    tensorrt.init_libnvinfer_plugins(log, "")
    with torch.cuda.device(device):
        runtime = tensorrt.Runtime(log)
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise unreadable_graph(
            f"unable to load model '{model_name}': TensorRT {tensorrt.__version__} cannot read {path.name}: "
            f"{log.last or 'no reason given'}. A plan runs only with the TensorRT version and on the kind of GPU it "
            f"was built with; build it again on this machine"
        )
    return PlanEngine(engine, runtime, log)


def _missing() -> str:
    """Return what this host lacks to run a plan, "" if nothing."""
    if not has_gpu():
        return "this host has none"
    for package, install in (("tensorrt", "pip install tensorrt"), ("torch", BUILT_IN["pytorch"].install)):
        if find_spec(package) is None:
            return f"the package '{package}' is not installed here ({install})"
    import torch

    return "" if torch.cuda.is_available() else "torch finds none here: it needs a build with CUDA, and a driver"


def _logger(tensorrt: Any) -> Any:
    """Return a tensorrt.ILogger that writes to our log and keeps the last error, which the library does not return."""

    class Log(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                self.last = message
                _LOG.error("%s", message)
            elif severity == tensorrt.ILogger.WARNING:
                _LOG.warning("%s", message)

    return Log()
