"""The engine settings of a model's configuration, and which engines are installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from slipway.errors import invalid, shown
from slipway.installation import install_hint
from slipway.transformer.paged.options import RunningOptions

# Those with a plus use their library for the rows that it runs exactly as requested, and torch for all others.
ENGINES: Final = ("auto", "ctranslate2", "ctranslate2+torch", "torch", "openvino", "openvino+torch")
COMPUTE_TYPES: Final = ("float32", "bfloat16", "float16", "int8", "int4")
INSTALL: Final = install_hint("generate")
# By library.
INSTALLS: Final = {"ctranslate2": INSTALL, "torch": INSTALL, "openvino": install_hint("generate", "openvino")}
DEVICE: Final = re.compile(r"cpu|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The engine settings of a model. `threads` 0 is the engine's choice; up to `workers` calls run at once; converted
    models are kept in `cache_directory`, or in the user's cache if it is None."""

    engine: str = "auto"
    compute_type: str = "float32"
    device: str = "cpu"
    threads: int = 0
    workers: int = 1
    cache_directory: Path | None = None
    running: RunningOptions = field(default_factory=RunningOptions)

    @classmethod
    def of(cls, parameters: Mapping[str, str], cache_directory: Path) -> EngineOptions:
        """Return the settings in the parameters of a model's config: ENGINE, COMPUTE_TYPE, DEVICE, THREADS, and those
        of `RunningOptions`.

        Raise INVALID_ARG if one of the numbers is not one; `check` judges the others.
        """
        threads = parameters.get("THREADS", "0")
        if not threads.removeprefix("-").isdecimal():
            raise invalid(f"parameter 'THREADS' is '{shown(threads)}', expected a whole number")
        return cls(
            engine=parameters.get("ENGINE", "auto"),
            compute_type=parameters.get("COMPUTE_TYPE", "float32"),
            device=parameters.get("DEVICE", "cpu"),
            threads=int(threads),
            cache_directory=cache_directory,
            running=RunningOptions.of(parameters),
        )

    def check(self) -> None:
        """Raise INVALID_ARG naming every invalid setting."""
        problems = []
        if self.engine not in ENGINES:
            problems.append(f"engine '{self.engine}' does not exist, use one of {', '.join(ENGINES)}")
        if self.compute_type not in COMPUTE_TYPES:
            problems.append(f"compute type '{self.compute_type}' does not exist, use one of {', '.join(COMPUTE_TYPES)}")
        if self.compute_type == "int4" and self.engine in ("ctranslate2", "ctranslate2+torch", "torch"):
            problems.append(f"engine '{self.engine}' does not compute in int4, use engine 'openvino'")
        if self.engine.startswith("openvino") and self.device != "cpu":
            problems.append(f"engine '{self.engine}' computes on the CPU, not on device '{self.device}'")
        if not DEVICE.fullmatch(self.device):
            problems.append(f"device '{self.device}' is neither cpu nor cuda nor cuda:N")
        if self.threads < 0:
            problems.append(f"threads is {self.threads}, expected 0 (the engine's choice) or more")
        if self.workers < 1:
            problems.append(f"workers is {self.workers}, expected 1 or more")
        if problems:
            raise invalid("; ".join(problems))


def torch_type(options: EngineOptions) -> str:
    """Return the number type in which torch runs the rows that it gets; it does not have int4."""
    return "int8" if options.compute_type == "int4" else options.compute_type


def installed(library: str) -> bool:
    """Return whether a library can be imported, without importing it; a mere folder of that name does not count."""
    found = find_spec(library)
    return found is not None and found.origin is not None
