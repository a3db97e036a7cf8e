"""Find a model's checkpoint: by FasterTransformer's rules, and in the other places where users put it.

`model_checkpoint_path` may be absolute or relative to the server's working directory; without it the version directory
is searched. Opens no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from slipway.backends.api import ModelContext
from slipway.checkpoints.fastertransformer.config_ini import CONFIG
from slipway.errors import unavailable


def checkpoint_directory(context: ModelContext, path: str, tensor_parallel: int) -> Path:
    """Return the directory of the checkpoint; raise UNAVAILABLE, listing every place that was tried."""
    ranks = f"{max(tensor_parallel, 1)}-gpu"
    tried: list[Path] = []
    for place in _given(context, Path(path)) if path else _implied(context, ranks):
        for candidate in (place, place / ranks):
            if candidate in tried:
                continue
            if _holds_checkpoint(candidate):
                return candidate
            tried.append(candidate)
    cause = f"parameter 'model_checkpoint_path' is '{path}'" if path else "'model_checkpoint_path' is not set"
    raise unavailable(
        f"unable to load model '{context.name}': {cause}, and none of these directories contains a FasterTransformer "
        f"checkpoint ({CONFIG} and *.bin): {', '.join(map(str, tried))}"
    )


def _given(context: ModelContext, path: Path) -> Iterator[Path]:
    if path.is_absolute():
        yield path
        return
    yield Path.cwd() / path
    yield context.model_directory / path
    yield context.version_directory / path


def _implied(context: ModelContext, ranks: str) -> Iterator[Path]:
    version = context.version_directory
    if context.config.default_model_filename:
        yield version / context.config.default_model_filename
    yield version / ranks
    yield version


def _holds_checkpoint(path: Path) -> bool:
    """Return whether there are weights; the first GPT interface keeps sizes in config.pbtxt and has no config.ini."""
    try:
        return (path / CONFIG).is_file() or any(path.glob("*.bin"))
    except OSError:  # not a directory, or not readable
        return False
