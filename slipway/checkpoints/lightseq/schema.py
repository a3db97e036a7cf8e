"""LightSeq's messages as tables: field numbers, names and kinds of the 11 model types, for `.pb` and `.hdf5` alike.

Only facts of the format (lightseq/inference/proto/*.proto); `layout.py` knows what an array means. A path, for example
`encoder_stack/0/ffn_first_kernel`, names a field in both formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class FieldKind(Enum):
    """The type of a field's contents."""

    FLOATS = "repeated float"
    BYTES = "bytes"  # uint8 weights
    FLOAT = "float"
    INT = "int32"
    INTS = "repeated int32"
    BOOL = "bool"
    STRING = "string"
    MESSAGE = "message"
    STACK = "repeated message"  # one per layer


ARRAY_KINDS: Final = frozenset({FieldKind.FLOATS, FieldKind.BYTES})


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One field of a message; `message` is the schema of a field that is a message."""

    number: int
    name: str
    kind: FieldKind
    message: MessageSchema | None = None


@dataclass(frozen=True, slots=True)
class MessageSchema:
    """The fields of one message, by number."""

    fields: dict[int, SchemaField]

    def named(self, name: str) -> SchemaField | None:
        """Return the field called `name`, or None."""
        return next((field for field in self.fields.values() if field.name == name), None)

    def leaves(self, layers: Mapping[str, int], prefix: str = "") -> Iterator[tuple[str, SchemaField]]:
        """Yield path and field of everything that is not a message, in the order of field numbers; `layers` says how
        many layers each stack has."""
        for number in sorted(self.fields):
            field = self.fields[number]
            path = f"{prefix}{field.name}"
            if field.message is None:
                yield path, field
                continue
            counted = [f"{path}/{index}/" for index in range(layers.get(path, 0))]
            for inside in counted if field.kind is FieldKind.STACK else [f"{path}/"]:
                yield from field.message.leaves(layers, inside)


def _message(*groups: Iterable[SchemaField]) -> MessageSchema:
    return MessageSchema({field.number: field for group in groups for field in group})


def _run(start: int, kind: FieldKind, names: str) -> list[SchemaField]:
    """Return fields of one kind with consecutive numbers."""
    return [SchemaField(number, name, kind) for number, name in enumerate(names.split(), start)]


def _clips(start: int, names: str) -> list[SchemaField]:
    return [
        SchemaField(number, f"{name}_clip_max", FieldKind.FLOAT) for number, name in enumerate(names.split(), start)
    ]


def _quantised(fields: Iterable[SchemaField], names: frozenset[str]) -> list[SchemaField]:
    return [SchemaField(each.number, each.name, FieldKind.BYTES) if each.name in names else each for each in fields]


_ENCODER = _run(
    1,
    FieldKind.FLOATS,
    "multihead_norm_scale multihead_norm_bias multihead_project_kernel_qkv multihead_project_bias_qkv "
    "multihead_project_kernel_output multihead_project_bias_output ffn_norm_scale ffn_norm_bias "
    "ffn_first_kernel ffn_first_bias ffn_second_kernel ffn_second_bias",
)
_DECODER = _run(
    1,
    FieldKind.FLOATS,
    "self_norm_scale self_norm_bias self_project_kernel_qkv self_project_bias_qkv self_project_kernel_output "
    "self_project_bias_output encdec_norm_scale encdec_norm_bias encdec_project_kernel_q encdec_project_bias_q "
    "encdec_project_kernel_output encdec_project_bias_output ffn_norm_scale ffn_norm_bias "
    "ffn_first_kernel ffn_first_bias ffn_second_kernel ffn_second_bias",
)
_EMBEDDING = _run(
    1,
    FieldKind.FLOATS,
    "token_embedding position_embedding norm_scale norm_bias encode_output_project_kernel_kv "
    "encode_output_project_bias_kv shared_bias lang_emb",
)
_ENCODER_CLIPS: Final = (
    "multihead_project_kernel_qkv multihead_project_kernel_output ffn_first_kernel ffn_second_kernel multihead_ln "
    "multihead_project_output ffn_ln ffn_first_act multihead_qkv_dense multihead_output_dense ffn_first_output"
)
_KERNELS: Final = frozenset(
    "multihead_project_kernel_qkv multihead_project_kernel_output self_project_kernel_qkv self_project_kernel_output "
    "encdec_project_kernel_q encdec_project_kernel_output ffn_first_kernel ffn_second_kernel "
    "encode_output_project_kernel_kv token_embedding".split()
)
_QUANT_ENCODER = _quantised(_ENCODER, _KERNELS)
_QUANT_DECODER = [
    *_quantised(_DECODER, _KERNELS),
    *_clips(
        19,
        "self_project_kernel_qkv self_project_kernel_output encdec_project_kernel_q encdec_project_kernel_output "
        "ffn_first_kernel ffn_second_kernel self_ln self_project_output encdec_ln encdec_project_output ffn_ln "
        "ffn_first_act self_qkv_dense self_output_dense encdec_q_dense encdec_output_dense ffn_first_output "
        "ffn_second_output self_qkv_bias_out",
    ),
]
_QUANT_EMBEDDING = [
    *_quantised(_EMBEDDING, _KERNELS),
    *_clips(9, "emb"),
    SchemaField(10, "encode_output_project_kernel_kv_clip_max", FieldKind.FLOATS),
    *_clips(11, "output_ln logits"),
]
_CONF = [
    *_run(1, FieldKind.INT, "head_num beam_size extra_decode_length"),
    SchemaField(4, "length_penalty", FieldKind.FLOAT),
    *_run(5, FieldKind.INT, "src_padding_id trg_start_id"),
    SchemaField(7, "diverse_lambda", FieldKind.FLOAT),
    SchemaField(8, "sampling_method", FieldKind.STRING),
    SchemaField(9, "topp", FieldKind.FLOAT),
    *_run(10, FieldKind.INT, "topk trg_end_id"),
    *_run(12, FieldKind.BOOL, "is_post_ln no_scale_embedding use_gelu"),
    SchemaField(15, "multilg_type", FieldKind.INT),
]
_T5_CONF = [*_CONF, SchemaField(16, "max_step", FieldKind.INT)]
_MOE_CONF = [
    *_CONF,
    *_run(16, FieldKind.INT, "expert_num_encoder expert_num_decoder moe_topk_encoder moe_topk_decoder"),
    *_run(20, FieldKind.INTS, "moe_list_encoder moe_list_decoder"),
    SchemaField(22, "gate_type", FieldKind.INT),
]
_BERT_CONF = [
    *_run(1, FieldKind.INT, "head_num src_padding_id"),
    *_run(3, FieldKind.BOOL, "is_post_ln use_gelu"),
    SchemaField(5, "multilg_type", FieldKind.INT),
]
_GPT_CONF = [
    *_run(1, FieldKind.INT, "head_num src_padding_id"),
    SchemaField(3, "sampling_method", FieldKind.STRING),
    SchemaField(4, "topp", FieldKind.FLOAT),
    *_run(5, FieldKind.INT, "topk eos_id extra_decode_length"),
]
_VIT_CONF = [
    SchemaField(1, "head_num", FieldKind.INT),
    SchemaField(2, "use_gelu", FieldKind.BOOL),
    *_run(3, FieldKind.INT, "image_size patch_size"),
    SchemaField(5, "is_post_ln", FieldKind.BOOL),
]
_IMAGE_EMBEDDING = _run(
    1, FieldKind.FLOATS, "conv_weight conv_bias position_embedding cls_embedding norm_scale norm_bias"
)
_GATE = [SchemaField(19, "gate_kernel", FieldKind.FLOATS)]
_LANG2GATE = SchemaField(6, "lang2gate", FieldKind.MESSAGE, _message(_run(1, FieldKind.INTS, "langs gates")))


def _encoder_only(
    embedding: Iterable[SchemaField], layer: Iterable[SchemaField], conf: Iterable[SchemaField]
) -> MessageSchema:
    return _message(
        [
            SchemaField(1, "src_embedding", FieldKind.MESSAGE, _message(embedding)),
            SchemaField(2, "encoder_stack", FieldKind.STACK, _message(layer)),
            SchemaField(3, "model_conf", FieldKind.MESSAGE, _message(conf)),
        ]
    )


def _both(
    embedding: Iterable[SchemaField],
    encoder: Iterable[SchemaField],
    decoder: Iterable[SchemaField],
    conf: Iterable[SchemaField],
) -> MessageSchema:
    embedding = list(embedding)
    return _message(
        [
            SchemaField(1, "src_embedding", FieldKind.MESSAGE, _message(embedding)),
            SchemaField(2, "encoder_stack", FieldKind.STACK, _message(encoder)),
            SchemaField(3, "trg_embedding", FieldKind.MESSAGE, _message(embedding)),
            SchemaField(4, "decoder_stack", FieldKind.STACK, _message(decoder)),
            SchemaField(5, "model_conf", FieldKind.MESSAGE, _message(conf)),
        ]
    )


SCHEMAS: Final[dict[str, MessageSchema]] = {
    "Transformer": _both(_EMBEDDING, _ENCODER, _DECODER, _CONF),
    "QuantTransformer": _both(
        _QUANT_EMBEDDING, [*_QUANT_ENCODER, *_clips(13, f"{_ENCODER_CLIPS} ffn_second_output")], _QUANT_DECODER, _CONF
    ),
    "Bert": _encoder_only(_EMBEDDING[:4], _ENCODER, _BERT_CONF),
    "QuantBert": _encoder_only(
        [*_quantised(_EMBEDDING[:4], _KERNELS), *_clips(5, "emb")],
        [*_QUANT_ENCODER, *_clips(13, f"{_ENCODER_CLIPS} ffn_second_output")],
        _BERT_CONF,
    ),
    "Gpt": _encoder_only(_EMBEDDING[:4], _ENCODER, _GPT_CONF),
    "QuantGpt": _encoder_only(
        [*_quantised(_EMBEDDING[:4], _KERNELS), *_clips(5, "emb output_ln logits")],
        [*_QUANT_ENCODER, *_clips(13, f"{_ENCODER_CLIPS} self_qkv_bias_out")],
        _GPT_CONF,
    ),
    "Moe": MessageSchema(
        _both(_EMBEDDING, [*_ENCODER, *_GATE], [*_DECODER, *_GATE], _MOE_CONF).fields | {_LANG2GATE.number: _LANG2GATE}
    ),
    "T5": _both(_EMBEDDING, _ENCODER, _DECODER, _T5_CONF),
    "MT5": _both(
        [*_EMBEDDING, SchemaField(9, "lm_head", FieldKind.FLOATS)],
        [*_ENCODER, SchemaField(13, "ffn_third_kernel", FieldKind.FLOATS)],
        [*_DECODER, SchemaField(19, "ffn_third_kernel", FieldKind.FLOATS)],
        _T5_CONF,
    ),
    "Vit": _encoder_only(_IMAGE_EMBEDDING, _ENCODER, _VIT_CONF),
    "QuantVit": _encoder_only(_IMAGE_EMBEDDING, [*_QUANT_ENCODER, *_clips(13, _ENCODER_CLIPS)], _VIT_CONF),
}
