"""The commands that install what is missing, as every message gives them, and what is installed. Knows names, not what
a library is for."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

from slipway.machine import has_gpu

DISTRIBUTION: Final = "slipway-serving"  # the name for pip; the package is `slipway`
# PyTorch's own command for the build without CUDA, which the package index lacks for Linux: there, torch brings
# gigabytes of CUDA libraries.
CPU_TORCH: Final = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
# The extras that install torch.
WITH_TORCH: Final = frozenset({"convert", "torch", "generate", "train", "demo", "all", "dev"})

# The libraries that decide what a conversion writes.
CONVERSION_LIBRARIES: Final = (
    "torch", "transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "nncf", "numpy", "ctranslate2",
)  # fmt: skip


def conversion_versions() -> dict[str, str]:
    """Return the versions of those of the libraries that are installed, without importing them."""
    versions = {}
    for name in CONVERSION_LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def install_hint(*extras: str) -> str:
    """Return the command that installs extras of Slipway, after the CPU build of torch if pip would not take it."""
    command = f'pip install "{DISTRIBUTION}[{",".join(extras)}]"'
    if WITH_TORCH.isdisjoint(extras) or find_spec("torch") is not None:
        return command
    return f"{torch_hint()} && {command}" if _cpu_build_is_apart() else command


def torch_hint() -> str:
    """Return the command that installs torch alone, in the build that suits this machine."""
    return CPU_TORCH if _cpu_build_is_apart() else "pip install torch"


def _cpu_build_is_apart() -> bool:
    return sys.platform == "linux" and not has_gpu()
