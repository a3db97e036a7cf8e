"""LightSeq's messages as tables: field numbers, names and kinds of the 11 model types, for `.pb` and `.hdf5` alike.

Facts of the format only (lightseq/inference/proto/*.proto); what an array means is in `layout.py`. A path such as
`encoder_stack/0/ffn_first_kernel` names a field in both formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What a field holds."""

    FLOATS = "repeated float"
    BYTES = "bytes"  # uint8 weights
    FLOAT = "float"
    INT = "int32"
    INTS = "repeated int32"
    BOOL = "bool"
    STRING = "string"
    MESSAGE = "message"
    STACK = "repeated message"  # one per layer


ARRAY_KINDS: Final = frozenset({Kind.FLOATS, Kind.BYTES})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; `message` is what is inside of a message kind."""

    number: int
    name: str
    kind: Kind
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """The fields of one message, by number."""

    fields: dict[int, Field]

    def named(self, name: str) -> Field | None:
        """Return the field called `name`, None when there is none."""
        return next((field for field in self.fields.values() if field.name == name), None)

    def leaves(self, layers: Mapping[str, int], prefix: str = "") -> Iterator[tuple[str, Field]]:
        """Yield path and field of everything that is no message, in the order of numbers, of so many layers."""
        for number in sorted(self.fields):
            field = self.fields[number]
            path = f"{prefix}{field.name}"
            if field.message is None:
                yield path, field
                continue
            counted = [f"{path}/{index}/" for index in range(layers.get(path, 0))]
            for inside in counted if field.kind is Kind.STACK else [f"{path}/"]:
                yield from field.message.leaves(layers, inside)


def _message(*groups: Iterable[Field]) -> Message:
    return Message({field.number: field for group in groups for field in group})


def _run(start: int, kind: Kind, names: str) -> list[Field]:
    """Return fields of one kind with consecutive numbers."""
    return [Field(number, name, kind) for number, name in enumerate(names.split(), start)]


def _clips(start: int, names: str) -> list[Field]:
    return [Field(number, f"{name}_clip_max", Kind.FLOAT) for number, name in enumerate(names.split(), start)]


def _quantised(fields: Iterable[Field], names: frozenset[str]) -> list[Field]:
    return [Field(each.number, each.name, Kind.BYTES) if each.name in names else each for each in fields]


_ENCODER = _run(
    1,
    Kind.FLOATS,
    "multihead_norm_scale multihead_norm_bias multihead_project_kernel_qkv multihead_project_bias_qkv "
    "multihead_project_kernel_output multihead_project_bias_output ffn_norm_scale ffn_norm_bias "
    "ffn_first_kernel ffn_first_bias ffn_second_kernel ffn_second_bias",
)
_DECODER = _run(
    1,
    Kind.FLOATS,
    "self_norm_scale self_norm_bias self_project_kernel_qkv self_project_bias_qkv self_project_kernel_output "
    "self_project_bias_output encdec_norm_scale encdec_norm_bias encdec_project_kernel_q encdec_project_bias_q "
    "encdec_project_kernel_output encdec_project_bias_output ffn_norm_scale ffn_norm_bias "
    "ffn_first_kernel ffn_first_bias ffn_second_kernel ffn_second_bias",
)
_EMBEDDING = _run(
    1,
    Kind.FLOATS,
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
    Field(10, "encode_output_project_kernel_kv_clip_max", Kind.FLOATS),
    *_clips(11, "output_ln logits"),
]
_CONF = [
    *_run(1, Kind.INT, "head_num beam_size extra_decode_length"),
    Field(4, "length_penalty", Kind.FLOAT),
    *_run(5, Kind.INT, "src_padding_id trg_start_id"),
    Field(7, "diverse_lambda", Kind.FLOAT),
    Field(8, "sampling_method", Kind.STRING),
    Field(9, "topp", Kind.FLOAT),
    *_run(10, Kind.INT, "topk trg_end_id"),
    *_run(12, Kind.BOOL, "is_post_ln no_scale_embedding use_gelu"),
    Field(15, "multilg_type", Kind.INT),
]
_T5_CONF = [*_CONF, Field(16, "max_step", Kind.INT)]
_MOE_CONF = [
    *_CONF,
    *_run(16, Kind.INT, "expert_num_encoder expert_num_decoder moe_topk_encoder moe_topk_decoder"),
    *_run(20, Kind.INTS, "moe_list_encoder moe_list_decoder"),
    Field(22, "gate_type", Kind.INT),
]
_BERT_CONF = [
    *_run(1, Kind.INT, "head_num src_padding_id"),
    *_run(3, Kind.BOOL, "is_post_ln use_gelu"),
    Field(5, "multilg_type", Kind.INT),
]
_GPT_CONF = [
    *_run(1, Kind.INT, "head_num src_padding_id"),
    Field(3, "sampling_method", Kind.STRING),
    Field(4, "topp", Kind.FLOAT),
    *_run(5, Kind.INT, "topk eos_id extra_decode_length"),
]
_VIT_CONF = [
    Field(1, "head_num", Kind.INT),
    Field(2, "use_gelu", Kind.BOOL),
    *_run(3, Kind.INT, "image_size patch_size"),
    Field(5, "is_post_ln", Kind.BOOL),
]
_IMAGE_EMBEDDING = _run(1, Kind.FLOATS, "conv_weight conv_bias position_embedding cls_embedding norm_scale norm_bias")
_GATE = [Field(19, "gate_kernel", Kind.FLOATS)]
_LANG2GATE = Field(6, "lang2gate", Kind.MESSAGE, _message(_run(1, Kind.INTS, "langs gates")))


def _encoder_only(embedding: Iterable[Field], layer: Iterable[Field], conf: Iterable[Field]) -> Message:
    return _message(
        [
            Field(1, "src_embedding", Kind.MESSAGE, _message(embedding)),
            Field(2, "encoder_stack", Kind.STACK, _message(layer)),
            Field(3, "model_conf", Kind.MESSAGE, _message(conf)),
        ]
    )


def _both(
    embedding: Iterable[Field], encoder: Iterable[Field], decoder: Iterable[Field], conf: Iterable[Field]
) -> Message:
    embedding = list(embedding)
    return _message(
        [
            Field(1, "src_embedding", Kind.MESSAGE, _message(embedding)),
            Field(2, "encoder_stack", Kind.STACK, _message(encoder)),
            Field(3, "trg_embedding", Kind.MESSAGE, _message(embedding)),
            Field(4, "decoder_stack", Kind.STACK, _message(decoder)),
            Field(5, "model_conf", Kind.MESSAGE, _message(conf)),
        ]
    )


SCHEMAS: Final[dict[str, Message]] = {
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
    "Moe": Message(
        _both(_EMBEDDING, [*_ENCODER, *_GATE], [*_DECODER, *_GATE], _MOE_CONF).fields | {_LANG2GATE.number: _LANG2GATE}
    ),
    "T5": _both(_EMBEDDING, _ENCODER, _DECODER, _T5_CONF),
    "MT5": _both(
        [*_EMBEDDING, Field(9, "lm_head", Kind.FLOATS)],
        [*_ENCODER, Field(13, "ffn_third_kernel", Kind.FLOATS)],
        [*_DECODER, Field(19, "ffn_third_kernel", Kind.FLOATS)],
        _T5_CONF,
    ),
    "Vit": _encoder_only(_IMAGE_EMBEDDING, _ENCODER, _VIT_CONF),
    "QuantVit": _encoder_only(_IMAGE_EMBEDDING, [*_QUANT_ENCODER, *_clips(13, _ENCODER_CLIPS)], _VIT_CONF),
}
