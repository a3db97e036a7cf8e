"""LightSeq's Transformer written with Google's protobuf, from a hand-made descriptor, and with h5py, independently of
Slipway's readers and writers."""

from __future__ import annotations

import h5py
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HIDDEN, INNER, HEADS, ROWS, SOURCE, TARGET, ENCODERS, DECODERS = 8, 12, 2, 6, 11, 10, 2, 3

ENCODER = {
    "multihead_norm_scale": (1, (HIDDEN,)),
    "multihead_norm_bias": (2, (HIDDEN,)),
    "multihead_project_kernel_qkv": (3, (HIDDEN, 3, HIDDEN)),
    "multihead_project_bias_qkv": (4, (3, HIDDEN)),
    "multihead_project_kernel_output": (5, (HIDDEN, HIDDEN)),
    "multihead_project_bias_output": (6, (HIDDEN,)),
    "ffn_norm_scale": (7, (HIDDEN,)),
    "ffn_norm_bias": (8, (HIDDEN,)),
    "ffn_first_kernel": (9, (HIDDEN, INNER)),
    "ffn_first_bias": (10, (INNER,)),
    "ffn_second_kernel": (11, (INNER, HIDDEN)),
    "ffn_second_bias": (12, (HIDDEN,)),
}
DECODER = {
    "self_norm_scale": (1, (HIDDEN,)),
    "self_norm_bias": (2, (HIDDEN,)),
    "self_project_kernel_qkv": (3, (HIDDEN, 3, HIDDEN)),
    "self_project_bias_qkv": (4, (3, HIDDEN)),
    "self_project_kernel_output": (5, (HIDDEN, HIDDEN)),
    "self_project_bias_output": (6, (HIDDEN,)),
    "encdec_norm_scale": (7, (HIDDEN,)),
    "encdec_norm_bias": (8, (HIDDEN,)),
    "encdec_project_kernel_q": (9, (HIDDEN, HIDDEN)),
    "encdec_project_bias_q": (10, (HIDDEN,)),
    "encdec_project_kernel_output": (11, (HIDDEN, HIDDEN)),
    "encdec_project_bias_output": (12, (HIDDEN,)),
    "ffn_norm_scale": (13, (HIDDEN,)),
    "ffn_norm_bias": (14, (HIDDEN,)),
    "ffn_first_kernel": (15, (HIDDEN, INNER)),
    "ffn_first_bias": (16, (INNER,)),
    "ffn_second_kernel": (17, (INNER, HIDDEN)),
    "ffn_second_bias": (18, (HIDDEN,)),
}
EMBEDDING_NUMBERS = {
    "token_embedding": 1,
    "position_embedding": 2,
    "norm_scale": 3,
    "norm_bias": 4,
    "encode_output_project_kernel_kv": 5,
    "encode_output_project_bias_kv": 6,
    "shared_bias": 7,
    "lang_emb": 8,
}
SOURCE_SHAPES = {
    "token_embedding": (SOURCE, HIDDEN),
    "position_embedding": (ROWS, HIDDEN),
    "norm_scale": (HIDDEN,),
    "norm_bias": (HIDDEN,),
}
TARGET_SHAPES = {
    "token_embedding": (HIDDEN, TARGET),
    "position_embedding": (ROWS, HIDDEN),
    "norm_scale": (HIDDEN,),
    "norm_bias": (HIDDEN,),
    "encode_output_project_kernel_kv": (HIDDEN, DECODERS, 2, HIDDEN),
    "encode_output_project_bias_kv": (DECODERS, 2, HIDDEN),
    "shared_bias": (TARGET,),
}
_INT, _FLOAT, _BOOL, _STRING = 5, 2, 8, 9
CONF = {
    "head_num": (1, _INT, HEADS),
    "beam_size": (2, _INT, 4),
    "extra_decode_length": (3, _INT, 50),
    "length_penalty": (4, _FLOAT, -0.5),
    "src_padding_id": (5, _INT, 1),
    "trg_start_id": (6, _INT, 2),
    "diverse_lambda": (7, _FLOAT, 0.0),
    "sampling_method": (8, _STRING, ""),
    "topp": (9, _FLOAT, 0.75),
    "topk": (10, _INT, 1),
    "trg_end_id": (11, _INT, 0),
    "is_post_ln": (12, _BOOL, False),
    "no_scale_embedding": (13, _BOOL, False),
    "use_gelu": (14, _BOOL, True),
    "multilg_type": (15, _INT, 0),
}


def transformer_class(*, packed: bool = True):
    """Return the message class `Transformer`."""
    file = descriptor_pb2.FileDescriptorProto(name=f"independent_{packed}.proto", package=f"p{packed}", syntax="proto3")
    for name, fields in {
        "EncoderLayer": {name: number for name, (number, _) in ENCODER.items()},
        "DecoderLayer": {name: number for name, (number, _) in DECODER.items()},
        "EmbeddingLayer": EMBEDDING_NUMBERS,
    }.items():
        message = file.message_type.add(name=name)
        for field, number in fields.items():
            added = message.field.add(name=field, number=number, type=_FLOAT, label=3)
            added.options.packed = packed
    conf = file.message_type.add(name="ModelConf")
    for field, (number, kind, _) in CONF.items():
        conf.field.add(name=field, number=number, type=kind, label=1)
    whole = file.message_type.add(name="Transformer")
    rows = (
        "src_embedding Embedding 1",
        "encoder_stack Encoder 3",
        "trg_embedding Embedding 1",
        "decoder_stack Decoder 3",
    )
    for number, row in enumerate(rows, 1):
        field, kind, label = row.split()
        whole.field.add(name=field, number=number, type=11, label=int(label), type_name=f".p{packed}.{kind}Layer")
    whole.field.add(name="model_conf", number=5, type=11, label=1, type_name=f".p{packed}.ModelConf")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"p{packed}.Transformer"))


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Return random shaped arrays by their paths in `.hdf5`."""
    generator = np.random.default_rng(seed)
    shapes = {f"src_embedding/{name}": shape for name, shape in SOURCE_SHAPES.items()}
    shapes |= {f"trg_embedding/{name}": shape for name, shape in TARGET_SHAPES.items()}
    for layer in range(ENCODERS):
        shapes |= {f"encoder_stack/{layer}/{name}": shape for name, (_, shape) in ENCODER.items()}
    for layer in range(DECODERS):
        shapes |= {f"decoder_stack/{layer}/{name}": shape for name, (_, shape) in DECODER.items()}
    return {path: generator.standard_normal(shape).astype(np.float32) for path, shape in shapes.items()}


def transformer(values: dict[str, np.ndarray], *, packed: bool = True, **conf):
    """Return the message with `values`."""
    message = transformer_class(packed=packed)()
    for _ in range(ENCODERS):
        message.encoder_stack.add()
    for _ in range(DECODERS):
        message.decoder_stack.add()
    for path, array in values.items():
        *outer, name = path.split("/")
        inner = getattr(message, outer[0])
        if len(outer) == 2:
            inner = inner[int(outer[1])]
        getattr(inner, name).extend(array.reshape(-1).tolist())
    for name, (_, _, value) in CONF.items():
        setattr(message.model_conf, name, conf.get(name, value))
    return message


def write_hdf5(path, values, *, dtype, shaped, options=None, conf=None, without=()):
    """Write the tree with h5py, `without` some settings; if `shaped` is false, every array is flat."""
    with h5py.File(path, "w") as file:
        for name, array in values.items():
            data = array if shaped else array.reshape(-1)
            file.create_dataset(name, data=data.astype(dtype), **(options or {}))
        settings = {name: value for name, (_, _, value) in CONF.items()} | (conf or {})
        for name, value in settings.items():
            codes = np.array([ord(each) for each in value], np.int8) if isinstance(value, str) else value
            if name not in without:
                file.create_dataset(f"model_conf/{name}", data=codes)
        file.create_dataset("model_conf/n_encoder_stack", data=ENCODERS)
        file.create_dataset("model_conf/n_decoder_stack", data=np.int64(DECODERS))
