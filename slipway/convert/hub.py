"""Fetch a checkpoint from a model hub: only the files that a conversion reads, and none that contain code."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from slipway.convert.libraries import cause_of, require_libraries
from slipway.convert.options import Progress
from slipway.errors import invalid
from slipway.installation import install_hint

_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# model_head.pkl is never opened: its presence identifies a SetFit model (encoders/foreign.py).
FILES: Final = (
    "*.json", "*.txt", "*.model", "*.safetensors", "*.jinja", "[0-9]_*/*.json", "[0-9]_*/*.txt", "[0-9]_*/*.model",
    "[0-9]_*/*.safetensors", "model_head.pkl",
)  # fmt: skip
# The same weights in other forms: of other libraries, or as their authors stored them (Mistral).
NOT_FETCHED: Final = ("onnx/*", "openvino/*", "*/*/*", "consolidated*.safetensors")
# What every conversion from a hub needs: nothing is fetched that could not be converted afterwards.
_LIBRARIES: Final = ("torch", "transformers", "safetensors", "huggingface_hub")
_PICKLES: Final = ("pytorch_model*.bin", "[0-9]_*/pytorch_model*.bin")


def is_hub_id(source: str) -> bool:
    """Return whether `source` looks like the id of a model on a hub, such as `intfloat/e5-small-v2`."""
    return _ID.fullmatch(source) is not None and not Path(source).exists() and not Path(source).suffix[1:].isalpha()


def locate(source: str | Path, progress: Progress, *, verbose: bool = False) -> tuple[Path, str]:
    """Return the path of the source, fetched from a hub if it is not local, and its display name; raise `SlipwayError`
    if there is nothing, it cannot be fetched, or the libraries of a conversion are missing."""
    if not is_hub_id(str(source)):
        if not Path(source).exists():
            raise invalid(f"'{source}' is not a directory, a file, or the id of a model on a hub")
        return Path(source), str(source)
    require_libraries(_LIBRARIES, "convert")
    progress(f"fetching {source}")
    with _quiet_downloads(verbose=verbose):
        path = fetch(str(source))
    return path, f"{source} at revision {path.name}"


def fetch(source: str) -> Path:
    """Return the local directory of the hub's model `source`; raise `SlipwayError` if it cannot be fetched."""
    if find_spec("huggingface_hub") is None:
        raise invalid(f"fetching from a hub needs huggingface_hub: {install_hint('convert')}")
    from huggingface_hub import snapshot_download

    try:
        directory = Path(snapshot_download(source, allow_patterns=list(FILES), ignore_patterns=list(NOT_FETCHED)))
        if not any(directory.glob("*.safetensors")) or _has_bare_layer(directory):
            patterns = [*FILES, *_PICKLES]
            directory = Path(snapshot_download(source, allow_patterns=patterns, ignore_patterns=list(NOT_FETCHED)))
    except Exception as error:  # its own errors, those of its HTTP client and OSError have no common root
        raise invalid(
            f"'{source}' is not a local file or directory, and fetching it from the model hub failed: {cause_of(error)}"
        ) from error
    return directory


@contextmanager
def _quiet_downloads(*, verbose: bool) -> Iterator[None]:
    """Keep progress bars and warnings of the downloads off the terminal, unless `verbose`."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if verbose or are_progress_bars_disabled():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disable_progress_bars()
        try:
            yield
        finally:
            enable_progress_bars()


def _has_bare_layer(directory: Path) -> bool:
    """Return whether a Dense module of sentence-transformers lacks its arrays, which older versions pickle."""
    return any(not any(path.glob("*.safetensors")) for path in directory.glob("[0-9]_Dense"))
