"""A trained model with everything that translating needs, and an export: the directory that holds exactly that.

An export has the weights as our own checkpoint (`training_checkpoint.py`), hparams.json, the vocabulary and
decoding.json, so everything that reads an output directory of training reads an export too. Exports are the
directories <export_dir>/<unix time>/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams, decoding_from_json, decoding_to_json
from slipway.checkpoints.tensor2tensor.hparams import HParams, from_json, to_json
from slipway.checkpoints.tensor2tensor.location import POINTER
from slipway.checkpoints.tensor2tensor.reader import Tensor2TensorCheckpoint, open_stored, read_tensor2tensor
from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder
from slipway.checkpoints.tensor2tensor.training_checkpoint import point_to, save_weights
from slipway.errors import SlipwayError, invalid, not_found, shown, unavailable
from slipway.foreign_json import read_foreign_file

HPARAMS: Final = "hparams.json"
DECODING: Final = "decoding.json"
FLAGS: Final = "flags.txt"  # of a training: --name=value on each line
_VOCABULARIES: Final = "vocab.*"
_FACTS: Final = ("problem", "model", "hparams_set", "step", "created")  # of decoding.json, besides the settings
_EXPORTS_ABOVE: Final = re.compile(r"export|Servo|\d{1,20}")  # parts of a path that earlier versions added


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model that was read; `path` is its checkpoint's, `facts` are what decoding.json says about its origin."""

    path: Path
    checkpoint: Tensor2TensorCheckpoint
    hparams: HParams
    vocabulary: SubwordTextEncoder
    vocabulary_name: str
    settings: DecodeHParams = field(default_factory=DecodeHParams)
    facts: Mapping[str, Any] = field(default_factory=dict)


def is_trained(directory: Path) -> bool:
    """Return whether a directory has the form of an export or of an output directory of training."""
    return (directory / HPARAMS).is_file() and (directory / POINTER).is_file()


def read_trained(directory: Path) -> TrainedModel:
    """Return the model of an export or of an output directory, without reading its arrays.

    The vocabulary is in the directory, or in the data_dir that its flags.txt names. Raise `SlipwayError` naming what is
    missing or damaged.
    """
    hparams = read_hparams(directory)
    settings, facts = read_decoding(directory)
    problem = _flags(directory).get("problem")
    origin = {"problem": problem} if problem else {}
    return open_trained(directory, hparams, find_vocabulary(directory), settings, origin | facts)


def open_trained(
    checkpoint: Path, hparams: HParams, vocabulary: Path, settings: DecodeHParams, facts: Mapping[str, Any]
) -> TrainedModel:
    """Return the model in `checkpoint` (an output directory, a prefix or a file) with the vocabulary in a file."""
    encoder = SubwordTextEncoder.load(vocabulary)
    found = read_tensor2tensor(checkpoint, hparams, encoder.vocabulary_size)
    return TrainedModel(checkpoint, found, hparams, encoder, vocabulary.name, settings, {"step": found.step, **facts})


def read_hparams(directory: Path) -> HParams:
    """Return the hyper-parameters in a directory's hparams.json."""
    path = directory / HPARAMS
    if not path.exists():
        raise not_found(f"'{directory}' has no {HPARAMS}")
    return from_json(read_foreign_file(path), str(path))


def read_decoding(directory: Path) -> tuple[DecodeHParams, dict[str, Any]]:
    """Return the settings and facts in a directory's decoding.json, or the defaults if it has none."""
    path = directory / DECODING
    if not path.exists():
        return DecodeHParams(), {}
    return decoding_from_json(read_foreign_file(path), str(path), _FACTS)


def write_export(directory: Path, model: TrainedModel) -> None:
    """Write the model as an export into `directory`, which must not exist; its files that say what it is come last.

    Raise ALREADY_EXISTS or UNAVAILABLE if that is not possible, and what reading the arrays raises.
    """
    try:
        directory.mkdir(parents=True)
        step = model.checkpoint.step
        save_weights(directory, step, {name: array.read() for name, array in open_stored(model.path).arrays.items()})
        model.vocabulary.save(directory / model.vocabulary_name)
        (directory / HPARAMS).write_text(to_json(model.hparams), encoding="utf-8")
        (directory / DECODING).write_text(decoding_to_json(model.settings, **model.facts), encoding="utf-8")
        point_to(directory, step)
    except OSError as error:
        raise unavailable(f"cannot write the export '{directory}': {error.strerror or error}") from error


def find_export(path: Path) -> Path | None:
    """Return the export that a path means: itself, or the newest one in it or in a directory above it.

    `X/export/Servo/1` need not exist: it means the newest export of X, where earlier versions put them. Return None if
    there is none.
    """
    for place in _places(path):
        if is_export(place):
            return place
        exports = _exports_in(place)
        if exports:
            return exports[-1]
    return None


def is_export(directory: Path) -> bool:
    """Return whether a directory is an export."""
    return (directory / DECODING).is_file() and is_trained(directory)


def find_vocabulary(directory: Path) -> Path:
    """Return the one vocabulary file that belongs to an export or an output directory.

    Raise NOT_FOUND if there is none, INVALID_ARG if several could be the one.
    """
    flags = _flags(directory)
    problem = flags.get("problem", "").removesuffix("_rev")
    for place in filter(None, (directory, _data_directory(flags))):
        found = _vocabularies(place)
        own = [path for path in found if path.name.startswith(f"vocab.{problem}.")]
        if len(own or found) == 1:
            return (own or found)[0]
        if found:
            names = ", ".join(path.name for path in own or found)
            raise invalid(f"'{place}' has several vocabularies ({names}): keep only the one of the model there")
    raise not_found(
        f"'{directory}' has no vocabulary (vocab.<problem>.<size>.subwords): copy it there, or export the model with "
        "--data_dir"
    )


def _data_directory(flags: Mapping[str, str]) -> Path | None:
    data = flags.get("data_dir")
    try:
        return Path(data).expanduser() if data else None
    except (RuntimeError, ValueError):  # the home directory of a user that this machine does not have
        return None


def _vocabularies(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.glob(_VOCABULARIES) if path.is_file())
    except OSError as error:  # such as a name that is too long
        raise invalid(f"'{shown(directory)}' cannot be read: {error.strerror}") from None


def _flags(directory: Path) -> dict[str, str]:
    """Return the flags that a training was started with, as far as they were kept."""
    try:
        lines = read_foreign_file(directory / FLAGS).decode().splitlines()
    except (SlipwayError, ValueError):
        return {}
    pairs = (line.strip().lstrip("-").partition("=") for line in lines)
    return {name: value for name, sign, value in pairs if sign and value}


def _places(path: Path) -> Iterator[Path]:
    yield path
    while _EXPORTS_ABOVE.fullmatch(path.name):
        path = path.parent
        yield path


def _exports_in(directory: Path) -> list[Path]:
    """Return the exports in a directory, oldest first."""
    try:
        numbered = [each for each in directory.iterdir() if each.name.isdecimal() and is_export(each)]
    except OSError:
        return []
    return sorted(numbered, key=lambda each: int(each.name))
