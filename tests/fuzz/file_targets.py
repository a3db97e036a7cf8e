"""Targets: foreign files that conversions and backends open - checkpoints, their settings, graphs, arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.backends.pytorch.archive import kind_of, refuse_pickles
from slipway.checkpoints.fastertransformer.reader import read_fastertransformer
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.checkpoints.huggingface.safetensors_file import open_safetensors
from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.convert.encoders.given import read_sample
from slipway.convert.encoders.source import read_source
from slipway.convert.generation.source import generates, read_generation_source
from slipway.documents.canvas import centred
from slipway.documents.pages import open_page
from slipway.documents.reading import read_page
from slipway.drafting.draft import draft_config
from slipway.machine import Machine
from slipway.transformer.weights import Weights
from tests.fuzz.target import SEEDS, Target, in_directory, text_of

_MOST_VALUES: Final = 1 << 20  # of the arrays that are read; a mapped file cannot hold more
_CONFIG: Final = (
    b'"model_type":', b'"architectures":', b'"bert"', b'"t5"', b'"gpt2"', b'"num_layers":', b'"d_model":',
    b'"vocab_size":', b'"id2label":', b'"num_hidden_layers":', b'"max_position_embeddings":', b'"hidden_size":',
    b'"rope_parameters":', b'"rope_type":', b'"layer_types":', b'"sliding_window":', b'"num_experts":',
)  # fmt: skip
_INI: Final = (
    b"[gpt]\n",
    b"[encoder]\n",
    b"[decoder]\n",
    b"num_layer = ",
    b"head_num = ",
    b"weight_data_type = fp16\n",
)


def _read_all(weights: Weights | Mapping[str, Any]) -> None:
    for name in weights:
        _ = np.asarray(weights[name]).shape


@cache
def _stored(name: str) -> bytes:
    return (SEEDS / name).read_bytes()


def _safetensors(data: bytes) -> None:
    with in_directory("model.safetensors", data) as directory:
        for array in open_safetensors(directory / "model.safetensors").values():
            if int(np.prod(array.shape)) <= _MOST_VALUES:
                array.read()


def _torch(data: bytes) -> None:
    from slipway.checkpoints.huggingface.torch_file import open_torch

    with in_directory("pytorch_model.bin", data) as directory:
        for array in open_torch(directory / "pytorch_model.bin").values():
            if int(np.prod(array.shape)) <= _MOST_VALUES:
                array.read()


def _fairseq(data: bytes) -> None:
    from slipway.checkpoints.lightseq.fairseq import read_fairseq

    with in_directory("checkpoint_best.pt", data) as directory:
        _read_all(read_fairseq(directory / "checkpoint_best.pt", 64).weights)


def _torch_kind(data: bytes) -> None:
    with in_directory("model.pt", data) as directory:
        kind_of(directory / "model.pt", "m")
        refuse_pickles(directory / "model.pt", "m")


def _encoder(data: bytes) -> None:
    with in_directory("config.json", data) as directory:
        read_source(directory)


def _sentence(data: bytes) -> None:
    """The list of modules of sentence-transformers, beside a valid configuration."""
    config = _stored("encoder-config/bert.json")
    with in_directory("modules.json", data, config__json=config, sentence_bert_config__json=data) as directory:
        read_source(directory)


def _tokenizer_settings(data: bytes) -> None:
    """The settings of tokenizer and generation, beside a valid checkpoint."""
    files = {"config__json": _stored("huggingface-config/t5.json"), "generation_config__json": data}
    weights = _stored("safetensors/t5.safetensors")
    with in_directory("tokenizer_config.json", data, model__safetensors=weights, **files) as directory:
        read_generation_source(directory, None)


def _huggingface(data: bytes) -> None:
    weights = _stored("safetensors/t5.safetensors")
    with in_directory("config.json", data, model__safetensors=weights) as directory:
        if generates(directory):
            _read_all(read_huggingface(directory).weights)


def _weight_index(data: bytes) -> None:
    config = _stored("huggingface-config/t5.json")
    with in_directory("model.safetensors.index.json", data, config__json=config) as directory:
        _read_all(read_huggingface(directory).weights)


def _fastertransformer(data: bytes) -> None:
    """The first byte chooses the kind of model."""
    kinds = ("T5", "T5-Encoder", "GPT", "bert")
    with in_directory("config.ini", data[1:], model__wpe__bin=bytes(64)) as directory:
        _read_all(read_fastertransformer(directory, kind=kinds[data[0] % 4 if data else 0]).weights)


def _lightseq(suffix: str, data: bytes) -> None:
    with in_directory(f"model{suffix}", data) as directory:
        _read_all(read_lightseq(directory / f"model{suffix}", "Transformer").checkpoint.weights)


def _sample(data: bytes) -> None:
    with in_directory("sample.npz", data) as directory:
        read_sample(directory / "sample.npz")


def _onnx(data: bytes) -> None:
    """Draft a configuration of a graph, which onnxruntime opens."""
    with in_directory("model.onnx", data) as directory:
        draft_config(Path(directory / "model.onnx"), Machine(1, 0))


def _image(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged metadata
        open_page(data)


def _eclair_markup(data: bytes) -> None:
    read_page(text_of(data), centred(np.zeros((40, 30), np.uint8), 50, 60))


FILE_TARGETS: Final = (
    Target("safetensors", _safetensors, (b'"dtype":', b'"F32"', b'"BF16"', b'"shape":', b'"data_offsets":')),
    Target("torch-file", _torch, needs=("torch",), slow=True),
    Target("fairseq", _fairseq, needs=("torch",), slow=True),
    Target("torch-kind", _torch_kind, (b"PK\x03\x04", b"data.pkl", b"constants.pkl")),
    Target("huggingface-config", _huggingface, _CONFIG),
    Target("weight-index", _weight_index, (b'"weight_map":', b"../", b"model.safetensors")),
    Target("encoder-config", _encoder, _CONFIG),
    Target(
        "sentence-modules", _sentence, (b'"path":', b'"type":', b'"idx":', b'"sentence_transformers.models.Pooling"')
    ),
    Target("generation-settings", _tokenizer_settings, (b'"model_max_length":', b'"eos_token_id":', b'"num_beams":')),
    Target("fastertransformer-ini", _fastertransformer, _INI),
    Target("lightseq-pb", lambda data: _lightseq(".pb", data), (b"\x0a", b"\x12", b"\x2a")),
    Target("lightseq-hdf5", lambda data: _lightseq(".hdf5", data), needs=("h5py",), slow=True),
    Target("sample-npz", _sample, (b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"'descr': '<f4'", b"'shape': (2, 3)", b"|O")),
    Target(
        "image", _image, (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"\xff\xda", b"RIFF", b"II*\0", b"BM"), needs=("PIL",)
    ),
    Target(
        "eclair-markup", _eclair_markup, (b"<x_10>", b"<y_20>", b"<class_Table>", b"<class_Picture>", b"```", b"\\[")
    ),
    Target("onnx-draft", _onnx, needs=("onnxruntime",), slow=True),
)
