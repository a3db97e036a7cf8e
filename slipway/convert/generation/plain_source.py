"""Sources whose weights are not plain arrays, as the plain Hugging Face directory that they stand for.

GPTQ, AWQ and bitsandbytes are unpacked, a LoRA adapter is merged into its base, a GGUF file is read by transformers.
The directory is temporary; the conversion goes on with it as with any other, and the report says where it comes from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from slipway.checkpoints.huggingface.safetensors_file import write_safetensors
from slipway.checkpoints.huggingface.settings import read_json
from slipway.checkpoints.huggingface.weight_files import open_weight_files
from slipway.checkpoints.packed.adapter import CONFIG as ADAPTER
from slipway.checkpoints.packed.adapter import Adapter, is_adapter, read_adapter
from slipway.checkpoints.packed.packed_weights import unpack
from slipway.convert.generation.gguf_source import SUFFIX, write_gguf_as_directory
from slipway.convert.generation.source import generates
from slipway.convert.hub import locate
from slipway.convert.options import Progress
from slipway.convert.report import source_hash
from slipway.errors import invalid, shown, unavailable
from slipway.transformer.weights import Array

CONFIG: Final = "config.json"
_PACKING: Final = "quantization_config"
_WEIGHTS: Final = "model.safetensors"
# What stands beside the weights: settings, tokenizer, chat templates.
_BESIDE: Final = ("*.json", "*.txt", "*.model", "*.jinja", "*.jinja2", "additional_chat_templates/*.jinja")


@dataclass(frozen=True, slots=True)
class PlainSource:
    """The directory or file to convert; how it was made, and the hash of what was given, for the report."""

    path: Path
    notes: tuple[str, ...] = ()
    sha256: str = ""  # of the source itself, if `path` is another one


@contextmanager
def plain_source(path: Path, base: str, progress: Progress) -> Iterator[PlainSource]:
    """Yield the source itself, or the plain directory that it stands for; `base` is the base of an adapter, "" for the
    one that its configuration names.

    Raise `SlipwayError` if the source is damaged, its packing is not supported, or an adapter does not fit its base.
    """
    adapter = is_adapter(path)
    if base and not adapter:
        raise invalid("--base applies only to LoRA adapters, and the source is not one")
    packed = path.is_dir() and not adapter and generates(path) and _packing(path) is not None
    if not (adapter or packed or path.suffix == SUFFIX):
        yield PlainSource(path)
        return
    with TemporaryDirectory(prefix="slipway-plain-") as scratch:
        plain = Path(scratch) / path.stem
        plain.mkdir()
        try:
            if path.suffix == SUFFIX:
                progress("reading the GGUF file")
                notes = write_gguf_as_directory(path, plain)
            elif adapter:
                notes = _write_merged(read_adapter(path), base, plain, progress)
            else:
                progress("unpacking the weights")
                notes = _write_unpacked(path, plain)
        except OSError as error:
            reason = error.strerror or error
            raise unavailable(
                f"the plain weights of '{path}' cannot be written to {scratch}: {reason}; make room there, or set "
                "TMPDIR to a directory on a larger disk"
            ) from error
        yield PlainSource(plain, tuple(notes), source_hash(path))


def _packing(directory: Path) -> object:
    return read_json(directory / CONFIG).get(_PACKING) if (directory / CONFIG).is_file() else None


def _plain_arrays(directory: Path) -> tuple[Mapping[str, Array], list[str]]:
    """Return the arrays of a directory, unpacked if they are packed, and notes about that."""
    stored, packing = open_weight_files(directory), _packing(directory)
    if packing is None:
        return stored, []
    found = unpack(directory / CONFIG, packing, stored)
    notes = [f"{found.weights} weights are stored as {found.form}; they were unpacked, and are served as plain numbers"]
    notes += [f"{_PACKING} sets {shown(name)}, which is not used" for name in found.ignored]
    return found.arrays, notes


def _write_unpacked(source: Path, plain: Path) -> list[str]:
    arrays, notes = _plain_arrays(source)
    _write(source, plain, arrays)
    return notes


def _write_merged(adapter: Adapter, base: str, plain: Path, progress: Progress) -> list[str]:
    named = base or adapter.base
    if not named:
        raise invalid(f"'{adapter.path}' does not name its base: use --base")
    directory, origin = locate(named, progress)
    progress("merging the adapter")
    arrays, notes = _plain_arrays(directory)
    _write(directory, plain, adapter.merged(arrays))
    _copy(("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*"), adapter.path, plain)
    notes += [f"{ADAPTER} sets {shown(name)}, which is not used" for name in adapter.ignored]
    return [f"the LoRA adapter was merged into '{origin}'", *notes]


def _write(source: Path, plain: Path, arrays: Mapping[str, Array]) -> None:
    _copy(_BESIDE, source, plain)
    settings = {key: value for key, value in read_json(source / CONFIG).items() if key != _PACKING}
    (plain / CONFIG).write_text(json.dumps(settings, indent=2))
    for index in plain.glob("*.index.json"):
        index.unlink()
    write_safetensors(plain / _WEIGHTS, arrays)


def _copy(patterns: Sequence[str], source: Path, target: Path) -> None:
    for pattern in patterns:
        for file in source.glob(pattern):
            if file.is_file():
                copy = target / file.relative_to(source)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy)
