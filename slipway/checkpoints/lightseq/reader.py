"""Open a LightSeq file: the extension decides the format, sizes the architecture; arrays are read on access.

Knows the file's layout only through `layout.py`. Opening reads no array, except the two token tables if source and
target have the same number of tokens, to see whether they are equal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.lightseq.architecture import describe, refuse
from slipway.checkpoints.lightseq.conf import LightSeqConf
from slipway.checkpoints.lightseq.contents import FileContents
from slipway.checkpoints.lightseq.hdf5 import read_hdf5
from slipway.checkpoints.lightseq.layout import ArrayPart, ArraySlot, array_slots
from slipway.checkpoints.lightseq.protobuf import read_protobuf
from slipway.checkpoints.lightseq.quantise import dequantise
from slipway.checkpoints.lightseq.schema import SCHEMAS, MessageSchema
from slipway.errors import unavailable, unsupported
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Array, Weights, check_complete, expected_shapes

_LOG: Final = logging.getLogger("slipway.checkpoints")
FORMATS: Final[dict[str, Callable[[Path, MessageSchema], FileContents]]] = {".pb": read_protobuf, ".hdf5": read_hdf5}
_COMPARED: Final = 4096  # tokens whose embeddings are compared at once
_SOURCE_TOKENS: Final = "src_embedding/token_embedding"
_TARGET_TOKENS: Final = "trg_embedding/token_embedding"


@dataclass(frozen=True, slots=True)
class LightSeqCheckpoint:
    """A checkpoint, and the decoding settings of its file."""

    checkpoint: Checkpoint
    conf: LightSeqConf


def read_lightseq(path: Path, model_type: str, *, norm_epsilon: float | None = None) -> LightSeqCheckpoint:
    """Return the model in `path` without reading its arrays. `norm_epsilon` replaces the engine's 1e-12 (T5: 1e-6).

    Raise UNSUPPORTED for an unknown extension or model type, UNAVAILABLE if the file does not exist, INVALID_ARG naming
    everything that does not fit.
    """
    schema = schema_of(model_type)
    opener = FORMATS.get(path.suffix)
    if opener is None:
        raise unsupported(
            f"'{path}' has the extension '{path.suffix}' and is not supported. Supported extensions are: "
            f"{', '.join(FORMATS)}"
        )
    if not path.is_file():
        raise unavailable(f"file '{path}' does not exist; put the exported model there")
    contents = opener(path, schema)
    architecture = describe(model_type, contents, norm_epsilon)
    transposed = _tokens_transposed(model_type, contents)
    places = array_slots(architecture.spec, transposed_tokens=transposed)
    problems = [*architecture.problems, *_wrong_sizes(places, contents), *_wrong_clips(places, contents)]
    if problems:
        raise refuse(str(path), problems)
    _warn_unused(places, contents)
    spec = architecture.spec
    if _tables_equal(spec, contents):
        spec = replace(spec, shared_embedding=True)
        places = array_slots(spec)
    weights = _weights(spec, places, contents)
    check_complete(spec, weights, str(path))
    return LightSeqCheckpoint(Checkpoint(str(path), spec, weights), architecture.conf)


def schema_of(model_type: str) -> MessageSchema:
    """Return the message of a model type; raise UNSUPPORTED if the engine does not have it."""
    schema = SCHEMAS.get(model_type)
    if schema is None:
        raise unsupported(f"Model not supported: model_type is '{model_type}', expected one of {', '.join(SCHEMAS)}")
    return schema


def _tokens_transposed(model_type: str, contents: FileContents) -> bool:
    """Return whether the only token table is [h, V]: QuantGpt's is, since the revision that stores the logits' clip."""
    return model_type == "QuantGpt" and "src_embedding/output_ln_clip_max" in contents.settings


def _wrong_sizes(places: list[ArraySlot], contents: FileContents) -> list[str]:
    problems = []
    for slot in places:
        size = contents.size(slot.path)
        if size != slot.size:
            found = f"has {size} values" if size else "is missing"
            problems.append(
                f"Wrong {slot.field}_size ! {slot.path} {found}, expected {slot.size} for shape {list(slot.shape)}"
            )
    return problems


def _wrong_clips(places: list[ArraySlot], contents: FileContents) -> list[str]:
    problems = []
    for slot in places:
        stored = contents.arrays.get(slot.path)
        if stored is None or not stored.quantised:
            continue
        clips = _clips(slot, contents)
        expected = slot.shape[1] if slot.field == "encode_output_project_kernel_kv" else 1
        if clips.size != expected or not (np.isfinite(clips) & (clips > 0)).all():
            problems.append(
                f"Wrong {slot.clip_path.rpartition('/')[2]} ! {slot.clip_path} is {clips.tolist()}, "
                f"expected {expected} positive number(s)"
            )
    return problems


def _clips(slot: ArraySlot, contents: FileContents) -> np.ndarray:
    """Return the clips of a quantised array: one, or one per layer."""
    stored = contents.arrays.get(slot.clip_path)
    if stored is not None:
        return stored.read()
    value = contents.settings.get(slot.clip_path)
    return np.asarray([] if value is None else [value], np.float32)


def _warn_unused(places: list[ArraySlot], contents: FileContents) -> None:
    used = {slot.path for slot in places}
    unused = [
        path
        for path, stored in contents.arrays.items()
        if stored.size and path not in used and not path.endswith("_clip_max")
    ]
    if unused:
        _LOG.warning("%s: the engine does not use %s", contents.source, ", ".join(unused))


def _tables_equal(spec: Transformer, contents: FileContents) -> bool:
    """Return whether the target's token table [h, V] equals the source's [V, h], so that it is kept in memory once."""
    if spec.encoder is None or spec.decoder is None or spec.encoder.vocabulary != spec.decoder.vocabulary:
        return False
    clips = [contents.settings.get(f"{group}/emb_clip_max") for group in ("src_embedding", "trg_embedding")]
    if clips[0] != clips[1]:
        return False
    vocabulary, hidden = spec.encoder.vocabulary, spec.encoder.hidden
    source = contents.arrays[_SOURCE_TOKENS].read().reshape(vocabulary, hidden)
    target = contents.arrays[_TARGET_TOKENS].read().reshape(hidden, vocabulary)
    starts = range(0, vocabulary, _COMPARED)
    return all(np.array_equal(source[at : at + _COMPARED], target[:, at : at + _COMPARED].T) for at in starts)


def _weights(spec: Transformer, places: list[ArraySlot], contents: FileContents) -> Weights:
    shapes = expected_shapes(spec)
    arrays: dict[str, Array] = {}
    for slot in places:
        for part in slot.parts:
            if part.name not in arrays:  # for a shared table, the source's, which needs no transposition
                arrays[part.name] = Array(shapes[part.name], partial(_read, contents, slot, part))
    return Weights(arrays)


def _read(contents: FileContents, slot: ArraySlot, part: ArrayPart) -> np.ndarray:
    """Return one canonical array, float32: a view of the file if nothing has to be changed."""
    stored = contents.arrays[slot.path]
    piece = part.cut(stored.read().reshape(slot.shape))
    if stored.quantised:
        clips = _clips(slot, contents)
        layer = part.place[1] if clips.size > 1 else 0  # [h, L, 2, h] has one part per layer
        return np.ascontiguousarray(dequantise(piece, clips[layer]))
    if piece.flags.c_contiguous and piece.flags.aligned:
        return piece
    return np.array(piece, order="C")
