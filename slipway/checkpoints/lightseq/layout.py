"""Which array of a LightSeq file contains which canonical arrays, and where: one table for reading and writing.

Kernels are [in, out], canonical weights [out, in]. Query, key and value share one array; the cross-attention keys and
values of all layers are one array of the target embedding. Post-norm files store each norm one block late: the engine
normalises before a block, so the slot of the first block has the embedding's norm, and the slot of the stack has the
last block's (LightSeq's `export/huggingface/hf_bart_export.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from slipway.transformer.spec import Positions, Stack, Transformer
from slipway.transformer.weights import Shape, expected_shapes

ArrayCut = tuple[int | slice, ...]
_ALL: Final = slice(None)


@dataclass(frozen=True, slots=True)
class ArrayPart:
    """A canonical array inside an array of the file: `place` cuts it out; weights have their last two axes swapped."""

    name: str
    place: ArrayCut
    swapped: bool

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the canonical array as a view of the file's array, which has the slot's shape."""
        piece = array[self.place]
        return piece.swapaxes(-1, -2) if self.swapped else piece


@dataclass(frozen=True, slots=True)
class ArraySlot:
    """One array of a file: its path, its shape and its parts."""

    path: str
    shape: Shape
    parts: tuple[ArrayPart, ...]

    @property
    def size(self) -> int:
        """The number of values."""
        return prod(self.shape)

    @property
    def field(self) -> str:
        """The name of the field, without the path."""
        return self.path.rpartition("/")[2]

    @property
    def clip_path(self) -> str:
        """The path of a quantised array's clip."""
        name = "emb" if self.field == "token_embedding" else self.field
        return f"{self.path.rpartition('/')[0]}/{name}_clip_max"


# A layer's fields in the file: the block they belong to, and the canonical linear layers in them.
_Row = tuple[str, str, tuple[str, ...]]
_QKV: Final = ("query", "key", "value")
_FEED_FORWARD: Final[tuple[_Row, ...]] = (
    ("ffn_first_{}", "feed_forward", ("up",)),
    ("ffn_second_{}", "feed_forward", ("down",)),
)
_GATED: Final[tuple[_Row, ...]] = (
    ("ffn_first_{}", "feed_forward", ("up",)),
    ("ffn_second_{}", "feed_forward", ("gated",)),  # hf_mt5_export.py: wi_1, and wo is the third
    ("ffn_third_{}", "feed_forward", ("down",)),
)
_ENCODER: Final[tuple[_Row, ...]] = (
    ("multihead_project_{}_qkv", "self_attention", _QKV),
    ("multihead_project_{}_output", "self_attention", ("output",)),
)
_DECODER: Final[tuple[_Row, ...]] = (
    ("self_project_{}_qkv", "self_attention", _QKV),
    ("self_project_{}_output", "self_attention", ("output",)),
    ("encdec_project_{}_q", "cross_attention", ("query",)),
    ("encdec_project_{}_output", "cross_attention", ("output",)),
)
_ENCODER_NORMS: Final = (("multihead_norm", "self_attention"), ("ffn_norm", "feed_forward"))
_DECODER_NORMS: Final = (("self_norm", "self_attention"), ("encdec_norm", "cross_attention"), _ENCODER_NORMS[1])


def array_slots(spec: Transformer, *, transposed_tokens: bool = False) -> list[ArraySlot]:
    """Return the arrays in a file for `spec`, with the canonical arrays that each contains.

    A decoder-only model (Gpt) is stored where the others store their encoder; `transposed_tokens` is QuantGpt's [h, V].
    A shared embedding is in the file twice.
    """
    shapes = expected_shapes(spec)
    if spec.encoder is not None and spec.decoder is not None:
        tokens = "encoder.embedding.tokens" if spec.shared_embedding else "decoder.embedding.tokens"
        return [
            *_embedding("src_embedding", "encoder", spec.encoder, shapes),
            *_layers("encoder_stack", "encoder", spec.encoder, shapes, cross=False),
            _linear("trg_embedding/token_embedding", tokens, shapes),
            *_embedding("trg_embedding", "decoder", spec.decoder, shapes, skip="tokens"),
            *_cross_keys_and_values(spec.decoder, shapes),
            *_head(spec, shapes),
            *_layers("decoder_stack", "decoder", spec.decoder, shapes, cross=True),
        ]
    name, stack = "encoder" if spec.encoder is not None else "decoder", spec.input_stack
    first = [_linear("src_embedding/token_embedding", f"{name}.embedding.tokens", shapes)] if transposed_tokens else []
    return [
        *first,
        *_embedding("src_embedding", name, stack, shapes, skip="tokens" if transposed_tokens else ""),
        *_layers("encoder_stack", name, stack, shapes, cross=False),
    ]


def _embedding(group: str, name: str, stack: Stack, shapes: Mapping[str, Shape], skip: str = "") -> Iterator[ArraySlot]:
    positions = f"{name}.relative_bias" if stack.positions is Positions.RELATIVE else f"{name}.embedding.positions"
    fields = {
        "token_embedding": "" if skip == "tokens" else f"{name}.embedding.tokens",
        "conv_weight": f"{name}.embedding.patch.weight",
        "conv_bias": f"{name}.embedding.patch.bias",
        "cls_embedding": f"{name}.embedding.class",
        "position_embedding": positions,
        "lang_emb": f"{name}.embedding.languages",
    }
    for field, canonical in fields.items():
        if canonical in shapes:
            yield _whole(f"{group}/{field}", canonical, shapes)
    yield from _norms(group, name, stack, shapes, cross=group == "trg_embedding")


def _norms(group: str, name: str, stack: Stack, shapes: Mapping[str, Shape], *, cross: bool) -> Iterator[ArraySlot]:
    """Yield the norms of a whole stack, in the same order in file and model; a post-norm model begins one earlier."""
    rows = _DECODER_NORMS if cross else _ENCODER_NORMS
    layers = "decoder_stack" if cross else "encoder_stack"
    places = [f"{layers}/{layer}/{field}" for layer in range(stack.layers) for field, _ in rows]
    blocks = [f"{name}.layers.{layer}.{block}.norm" for layer in range(stack.layers) for _, block in rows]
    ordered = [*blocks, f"{name}.final_norm"] if stack.pre_norm else [f"{name}.embedding.norm", *blocks]
    for place, canonical in zip([*places, f"{group}/norm"], ordered, strict=True):
        for part in ("scale", "bias"):
            if f"{canonical}.{part}" in shapes:
                yield _whole(f"{place}_{part}", f"{canonical}.{part}", shapes)


def _layers(group: str, name: str, stack: Stack, shapes: Mapping[str, Shape], *, cross: bool) -> Iterator[ArraySlot]:
    rows = (*(_DECODER if cross else _ENCODER), *(_GATED if stack.gated else _FEED_FORWARD))
    for layer in range(stack.layers):
        for field, block, parts in rows:
            prefix = f"{name}.layers.{layer}.{block}"
            for word, kind in (("kernel", "weight"), ("bias", "bias")):
                names = [f"{prefix}.{part}.{kind}" for part in parts]
                path = f"{group}/{layer}/{field.format(word)}"
                if names[0] not in shapes:
                    continue
                yield _packed(path, (3,), names, shapes) if len(names) > 1 else _linear(path, names[0], shapes)
        router = f"{name}.layers.{layer}.feed_forward.router.weight"
        if router in shapes:
            yield _linear(f"{group}/{layer}/gate_kernel", router, shapes)


def _cross_keys_and_values(stack: Stack, shapes: Mapping[str, Shape]) -> Iterator[ArraySlot]:
    for word, kind in (("kernel", "weight"), ("bias", "bias")):
        names = [
            f"decoder.layers.{layer}.cross_attention.{part}.{kind}"
            for layer in range(stack.layers)
            for part in ("key", "value")
        ]
        if names[0] in shapes:
            yield _packed(f"trg_embedding/encode_output_project_{word}_kv", (stack.layers, 2), names, shapes)


def _head(spec: Transformer, shapes: Mapping[str, Shape]) -> Iterator[ArraySlot]:
    if spec.head_bias:
        yield _whole("trg_embedding/shared_bias", "head.bias", shapes)
    if not spec.tied_head:
        yield _linear("trg_embedding/lm_head", "head.weight", shapes)


def _whole(path: str, name: str, shapes: Mapping[str, Shape]) -> ArraySlot:
    """Return the slot of an array that is stored as it is."""
    return ArraySlot(path, shapes[name], (ArrayPart(name, (), swapped=False),))


def _linear(path: str, name: str, shapes: Mapping[str, Shape]) -> ArraySlot:
    """Return the slot of one weight [..., out, in], stored as [..., in, out], or of its bias."""
    if name.endswith(".bias"):
        return _whole(path, name, shapes)
    *outer, out, into = shapes[name]
    return ArraySlot(path, (*outer, into, out), (ArrayPart(name, (), swapped=True),))


def _packed(path: str, grid: Shape, names: list[str], shapes: Mapping[str, Shape]) -> ArraySlot:
    """Return the slot of equally shaped weights side by side, [in, *grid, out], or of their biases, [*grid, out]."""
    first = shapes[names[0]]
    weight = len(first) == 2
    outer: ArrayCut = (_ALL,) if weight else ()
    places = [(*outer, *(int(each) for each in position)) for position in np.ndindex(*grid)]
    parts = tuple(ArrayPart(name, place, swapped=weight) for name, place in zip(names, places, strict=True))
    return ArraySlot(path, (*first[1:], *grid, first[0]), parts)
