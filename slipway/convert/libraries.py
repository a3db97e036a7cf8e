"""The heavy libraries of a conversion: check that they are installed, silence them, reduce their errors to one line."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slipway.errors import invalid
from slipway.installation import install_hint


def require_libraries(names: Sequence[str], *extras: str) -> None:
    """Raise `SlipwayError` naming the packages that are not installed; the `extras` of slipway install them."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise invalid(f"conversion needs {', '.join(missing)}: {install_hint(*extras)}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if the text is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep progress bars, tracer warnings and loading reports of the libraries off the terminal."""
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
        raise invalid(f"cannot load the weights in '{directory}': {first_line(error)}") from error
