"""The heavy libraries of a conversion: check that they are installed, silence them, reduce their errors to one line."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slipway.backends.openvino.library import reason_of
from slipway.backends.pytorch.module import cause_of_torch
from slipway.errors import invalid
from slipway.installation import install_hint


def require_libraries(names: Sequence[str], *extras: str) -> None:
    """Raise `SlipwayError` naming the packages that are not installed; the `extras` of slipway install them."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise invalid(f"conversion needs {', '.join(missing)}: {install_hint(*extras)}")


def cause_of(error: BaseException) -> str:
    """Return the reason in an error of a library, on one line: the first line of its text, except for errors that begin
    with the place in the library's code where they were raised (TorchScript, OpenVINO)."""
    text = str(error).strip()
    if "Exception from " in text or text.startswith("Check '"):
        return reason_of(error)
    if "TorchScript" in text or "torch.jit" in text:
        return cause_of_torch(error)
    first, _, rest = text.partition("\n")
    follows = next((line.strip() for line in rest.splitlines() if line.strip()), "") if first.endswith(":") else ""
    return f"{first} {follows}".strip() or type(error).__name__


@contextlib.contextmanager
def quiet_libraries(*, verbose: bool = False) -> Iterator[None]:
    """Keep progress bars, tracer warnings and loading reports of the libraries off the terminal, unless `verbose`."""
    if verbose:
        yield
        return
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "transformers", "nncf", "root")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers_logging.disable_progress_bar()
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            transformers_logging.enable_progress_bar()
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def load_pretrained(auto_class: str, directory: Path, **settings: Any) -> Any:
    """Return the FP32 model that a class of transformers loads from a directory; raise `SlipwayError` if it fails."""
    import torch
    import transformers

    loader = getattr(transformers, auto_class)
    try:
        return loader.from_pretrained(directory, local_files_only=True, dtype=torch.float32, **settings)
    except Exception as error:  # safetensors, torch and transformers raise types without a common root
        raise invalid(f"cannot load the weights in '{directory}': {cause_of(error)}") from error
