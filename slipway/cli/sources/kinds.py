"""What a SOURCE on the command line of `slipway serve` is. Looks at names and small files; imports no converter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Final

from slipway.errors import SlipwayError, invalid, shown
from slipway.foreign_json import read_foreign
from slipway.repository.scan import is_single_model, scan_repositories

CONFIG: Final = "config.json"
_MODULES: Final = "modules.json"  # of sentence-transformers
_ADAPTER: Final = "adapter_config.json"  # of PEFT
_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_NETWORK_KEYS: Final = ("model_type", "architectures")
MODEL_FILES: Final = (".gguf", ".onnx", ".pt", ".pt2", ".pth", ".ts")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # the converter's
_LOOKED_FOR: Final = (
    "a model repository (subdirectories with config.pbtxt or a version such as 1), a Hugging Face directory "
    f"({CONFIG} or {_MODULES}), or an export of tensor2tensor"
)


class SourceKind(Enum):
    """What a source is; all but a repository are converted."""

    REPOSITORY = "model repository"
    CHECKPOINT = "checkpoint"
    FILE = "model file"
    HUB = "model on a hub"


@dataclass(frozen=True, slots=True)
class Source:
    """A source of the command line: its text, its kind and, unless it is a repository, the name of its model."""

    text: str
    kind: SourceKind
    name: str = ""

    @property
    def path(self) -> Path:
        """The path that the text is, unless it is the id of a model on a hub."""
        return Path(self.text)


def recognise(text: str, *, may_grow: bool = False) -> Source:
    """Return the source that a local path or the id of a model on a hub means.

    A path that does not exist is a repository, which the server reports as missing, unless it ends like a model file.
    With `may_grow`, models may be added to the directory while it is served, so it need not have any. Raise INVALID_ARG
    if it could be a repository and a checkpoint, or is neither.
    """
    path = Path(text)
    if path.is_file():
        if path.suffix not in MODEL_FILES:
            raise invalid(
                f"'{text}' is not a model: expected a directory or a file that ends in {', '.join(MODEL_FILES)}"
                f"{_nearest_file(path)}"
            )
        return Source(text, SourceKind.FILE, _name(path.stem))
    if path.is_dir():
        return _directory(text, may_grow=may_grow)
    if path.suffix in MODEL_FILES:
        raise invalid(f"'{text}' does not exist{nearest_path(text)}")
    if _is_hub_id(text):
        return Source(text, SourceKind.HUB, _name(text.rpartition("/")[2]))
    return Source(text, SourceKind.REPOSITORY)


def check_name(name: str) -> None:
    """Raise INVALID_ARG for a name that a converted model cannot have."""
    if not _MODEL_NAME.fullmatch(name):
        raise invalid(f"'{shown(name)}' is not a model name: use letters, digits, '_', '-' and '.'")


def nearest_path(text: str) -> str:
    """Return "; did you mean ...?" with the existing path nearest to one that does not exist, or ""."""
    path = Path(text)
    names = sorted(each.name for each in _listed(path.parent))
    close = get_close_matches(path.name, names, 1)
    return f"; did you mean '{path.parent / close[0]}'?" if close else ""


def _directory(text: str, *, may_grow: bool) -> Source:
    path = Path(text)
    visible = [each for each in _listed(path) if not each.name.startswith(".")]
    models = [text] if is_single_model(path) else sorted(scan_repositories([path]).models)
    checkpoint = _checkpoint_sign(path)
    if models and checkpoint:
        raise invalid(
            f"'{text}' could be a Hugging Face directory ({checkpoint}) and a model repository (with the model "
            f"'{models[0]}'): --model-repository={text} serves the repository, slipway convert converts the other"
        )
    if models or (not visible and not checkpoint):
        return Source(text, SourceKind.REPOSITORY)
    if checkpoint or _weights(path) or _is_translation(path):
        return Source(text, SourceKind.CHECKPOINT, _directory_name(path))
    if (path / _ADAPTER).is_file():
        raise invalid(
            f"'{text}' is a LoRA adapter without its base: slipway convert {text} --base DIRECTORY merges the two into "
            "models that can be served"
        )
    if may_grow:
        return Source(text, SourceKind.REPOSITORY)
    raise invalid(f"'{text}' is not a source of models: expected {_LOOKED_FOR}{_nearest_inside(path)}")


def _checkpoint_sign(path: Path) -> str:
    """Return the file that says that a directory is a checkpoint, or ""."""
    if (path / _MODULES).is_file():
        return _MODULES
    config = path / CONFIG
    if not config.is_file():
        return ""
    try:
        value = read_foreign(config)
    except SlipwayError:
        return ""
    return CONFIG if isinstance(value, dict) and any(key in value for key in _NETWORK_KEYS) else ""


def _weights(path: Path) -> bool:
    return any((path / name).is_file() for name in (CONFIG, *_WEIGHTS))


def _is_translation(path: Path) -> bool:
    from slipway.checkpoints.tensor2tensor.export import find_export, is_trained

    return is_trained(path) or find_export(path) is not None


def _is_hub_id(text: str) -> bool:
    from slipway.convert.hub import is_hub_id

    return is_hub_id(text)


def _nearest_inside(path: Path) -> str:
    """Return which entry of a directory is a source, or whether its parent is one, as "; did you mean ...?", or ""."""
    for near in (*_listed(path), path.absolute().parent):
        if near.suffix in MODEL_FILES if near.is_file() else _is_source(near):
            return f"; did you mean '{near}'?"
    return ""


def _nearest_file(path: Path) -> str:
    """Return, for a file of a checkpoint, the directory that was meant."""
    directory = path.parent
    return f"; did you mean its directory, '{directory}'?" if _is_source(directory) else ""


def _is_source(directory: Path) -> bool:
    return bool(_checkpoint_sign(directory) or is_single_model(directory) or scan_repositories([directory]).models)


def _listed(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(directory.iterdir())
    except OSError:  # not a directory, or not readable: there is nothing to suggest
        return


def _directory_name(path: Path) -> str:
    """Return the name of a checkpoint's model: that of its directory, or of the repository on the hub whose snapshot it
    is."""
    path = path.resolve()
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return _name(path.parent.parent.name.rpartition("--")[2])
    return _name(path.name)


def _name(text: str) -> str:
    """Return a text as a model name (letters, digits, '_', '-', '.')."""
    return _NOT_IN_NAMES.sub("-", text).strip("-.") or "model"
