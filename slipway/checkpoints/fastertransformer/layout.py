"""Where each canonical array is stored in the files of a FasterTransformer checkpoint: one table per family.

A file is a raw array without a header. Linear weights are stored [in, out], the transpose of the canonical form.
Tensor parallelism splits one axis over several files, whose names end in their rank. Knows no bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from slipway.transformer.weights import Shape

FUSED: Final = 3  # query, key and value in one file: [in, 3, out]
_LAYER: Final = re.compile(r"\.layers\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one canonical array is stored: `file` without rank and `.bin`, and the form it has there."""

    file: str
    split: int | None = None  # the axis of the stored array that is split over the ranks
    transposed: bool = False
    part: int | None = None  # its index in the axis before the last of a fused array

    def stored_shape(self, shape: Shape) -> Shape:
        """Return the stored shape, all ranks together, of an array whose canonical shape is `shape`."""
        stored = shape[::-1] if self.transposed else shape
        return stored if self.part is None else (*stored[:-1], FUSED, stored[-1])


Table = Mapping[str, Place]


def place(table: Table, name: str) -> Place | None:
    """Return where the array `name` is stored, None if the family has no file for it."""
    found = _LAYER.search(name)
    number = found.group(1) if found else ""
    if name.startswith("prompts."):
        number = name.removeprefix("prompts.")
        row = table.get("prompts.{}")
    else:
        row = table.get(_LAYER.sub(".layers.{}.", name))
    return None if row is None else replace(row, file=row.file.replace("{}", number))


def _norm(name: str, file: str) -> dict[str, Place]:
    return {f"{name}.scale": Place(f"{file}.weight"), f"{name}.bias": Place(f"{file}.bias")}


def _column(name: str, file: str, part: int | None = None) -> dict[str, Place]:
    """Return the places of a linear layer whose outputs are split over the ranks."""
    return {
        f"{name}.weight": Place(f"{file}.weight", split=-1, transposed=True, part=part),
        f"{name}.bias": Place(f"{file}.bias", split=-1, part=part),
    }


def _row(name: str, file: str) -> dict[str, Place]:
    """Return the places of a linear layer whose inputs are split over the ranks; its bias is not split."""
    return {
        f"{name}.weight": Place(f"{file}.weight", split=0, transposed=True),
        f"{name}.bias": Place(f"{file}.bias"),
    }


def _scales(name: str, file: str) -> dict[str, Place]:
    return {
        f"{name}.key_scale": Place(f"{file}.k.ia3.weight", split=-1),
        f"{name}.value_scale": Place(f"{file}.v.ia3.weight", split=-1),
    }


def _attention(name: str, query: str, key: str, value: str, output: str) -> dict[str, Place]:
    names = zip(("query", "key", "value"), (query, key, value), strict=True)
    rows = [_column(f"{name}.{part}", file) for part, file in names]
    return rows[0] | rows[1] | rows[2] | _row(f"{name}.output", output)


def _fused_attention(name: str, fused: str, output: str) -> dict[str, Place]:
    rows = [_column(f"{name}.{part}", fused, index) for index, part in enumerate(("query", "key", "value"))]
    return rows[0] | rows[1] | rows[2] | _row(f"{name}.output", output)


def _t5_attention(name: str, file: str) -> dict[str, Place]:
    parts = [f"{file}.{part}" for part in "qkvo"]
    return _attention(name, *parts) | _scales(name, file)


def _t5_feed_forward(name: str, file: str) -> dict[str, Place]:
    return (
        _column(f"{name}.up", f"{file}.DenseReluDense.wi")
        | _column(f"{name}.gated", f"{file}.DenseReluDense.wi2")
        | _row(f"{name}.down", f"{file}.DenseReluDense.wo")
        | {f"{name}.scale": Place(f"{file}.DenseReluDense.ia3.weight", split=-1)}
        | _norm(f"{name}.norm", f"{file}.layer_norm")
    )


def _t5_stack(name: str) -> dict[str, Place]:
    first = f"{name}.block.0.layer.0.SelfAttention"
    return {
        f"{name}.embedding.positions": Place("shared.ape"),
        f"{name}.relative_bias": Place(f"{first}.relative_attention_bias.weight", split=0, transposed=True),
    } | _norm(f"{name}.final_norm", f"{name}.final_layer_norm")


_PROMPTS: Final = {"prompts.{}": Place("model.prompt_table.{}.weight")}
_ENCODER: Final = "encoder.layers.{}"
_DECODER: Final = "decoder.layers.{}"

T5: Final[Table] = (
    {
        "encoder.embedding.tokens": Place("shared.weight_T"),
        "head.weight": Place("lm_head.weight"),
        "head.bias": Place("shared.bias"),
    }
    | _PROMPTS
    | _t5_stack("encoder")
    | _norm(f"{_ENCODER}.self_attention.norm", "encoder.block.{}.layer.0.layer_norm")
    | _t5_attention(f"{_ENCODER}.self_attention", "encoder.block.{}.layer.0.SelfAttention")
    | _t5_feed_forward(f"{_ENCODER}.feed_forward", "encoder.block.{}.layer.1")
    | _t5_stack("decoder")
    | _norm(f"{_DECODER}.self_attention.norm", "decoder.block.{}.layer.0.layer_norm")
    | _fused_attention(
        f"{_DECODER}.self_attention",
        "decoder.block.{}.layer.0.SelfAttention.qkv",
        "decoder.block.{}.layer.0.SelfAttention.o",
    )
    | _scales(f"{_DECODER}.self_attention", "decoder.block.{}.layer.0.SelfAttention")
    | _norm(f"{_DECODER}.cross_attention.norm", "decoder.block.{}.layer.1.layer_norm")
    | _t5_attention(f"{_DECODER}.cross_attention", "decoder.block.{}.layer.1.EncDecAttention")
    | _t5_feed_forward(f"{_DECODER}.feed_forward", "decoder.block.{}.layer.2")
)
T5_UNREAD: Final = "shared.weight"  # the token table again, transposed; no runtime reads it

_GPT_LAYER: Final = "model.layers.{}"
GPT: Final[Table] = (
    {
        "decoder.embedding.tokens": Place("model.wte"),
        "decoder.embedding.positions": Place("model.wpe"),
        "head.weight": Place("model.lm_head.weight"),
    }
    | _PROMPTS
    | _norm("decoder.embedding.norm", "model.pre_decoder_layernorm")
    | _norm("decoder.final_norm", "model.final_layernorm")
    | _norm(f"{_DECODER}.self_attention.norm", f"{_GPT_LAYER}.input_layernorm")
    | _fused_attention(
        f"{_DECODER}.self_attention", f"{_GPT_LAYER}.attention.query_key_value", f"{_GPT_LAYER}.attention.dense"
    )
    | _norm(f"{_DECODER}.feed_forward.norm", f"{_GPT_LAYER}.post_attention_layernorm")
    | _column(f"{_DECODER}.feed_forward.up", f"{_GPT_LAYER}.mlp.dense_h_to_4h")
    | _row(f"{_DECODER}.feed_forward.down", f"{_GPT_LAYER}.mlp.dense_4h_to_h")
)

_BERT_LAYER: Final = "model.encoder.layer.{}"
_BERT_SELF: Final = f"{_BERT_LAYER}.attention.self"
BERT: Final[Table] = (
    _attention(
        f"{_ENCODER}.self_attention",
        f"{_BERT_SELF}.query",
        f"{_BERT_SELF}.key",
        f"{_BERT_SELF}.value",
        f"{_BERT_LAYER}.attention.output.dense",
    )
    | _norm(f"{_ENCODER}.self_attention.norm", f"{_BERT_LAYER}.attention.output.LayerNorm")
    | _column(f"{_ENCODER}.feed_forward.up", f"{_BERT_LAYER}.intermediate.dense")
    | _row(f"{_ENCODER}.feed_forward.down", f"{_BERT_LAYER}.output.dense")
    | _norm(f"{_ENCODER}.feed_forward.norm", f"{_BERT_LAYER}.output.LayerNorm")
)
