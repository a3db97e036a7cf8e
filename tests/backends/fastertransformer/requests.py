"""Specifications, signatures and requests of the tests here, each in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.backends.fastertransformer.completion import complete_interface
from slipway.backends.fastertransformer.configuration import ModelType, SequenceLimits
from slipway.backends.fastertransformer.interface_current import GPT_FORM, T5_FORM, CurrentInterface
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.transformer.generation import Hypothesis
from slipway.transformer.spec import Positions, Stack, Transformer
from tests.backends.models import signature_of

VOCABULARY = 100
HIDDEN = 8

Arrays = Mapping[str, Any]


def stack(**changes: Any) -> Stack:
    figures: dict[str, Any] = {
        "layers": 2,
        "hidden": HIDDEN,
        "heads": 2,
        "head_size": 4,
        "inner": 16,
        "vocabulary": VOCABULARY,
        "positions": Positions.RELATIVE,
        "relative_buckets": 32,
    }
    return Stack(**figures | changes)


def t5(**changes: Any) -> Transformer:
    parts = {"encoder": stack(), "decoder": stack(), "shared_embedding": True, "start_id": 0, "end_id": 1}
    return Transformer(**parts | changes)


def gpt(positions: int = 64) -> Transformer:
    decoder = stack(positions=Positions.TABLE, position_rows=positions, relative_buckets=0)
    return Transformer(decoder=decoder, start_id=99, end_id=99)


def signature(kind: ModelType, data_type: str = "") -> ModelSignature:
    config = model_config_pb2.ModelConfig(name="m")
    complete_interface(config, kind, data_type)
    return signature_of(config)


def current(spec: Transformer, **limits: int) -> CurrentInterface:
    is_t5 = spec.encoder is not None
    kind, form = (ModelType.T5, T5_FORM) if is_t5 else (ModelType.GPT, GPT_FORM)
    return CurrentInterface(signature(kind), spec, SequenceLimits(**limits), form=form, engine=None)


TYPES = {
    "FP32": np.float32,
    "BOOL": np.bool_,
    "UINT64": np.uint64,
    "INT32": np.int32,
    "UINT32": np.uint32,
    "FP16": np.float16,
}


def request(kind: ModelType, arrays: Arrays) -> InferRequest:
    """Return a request whose values have the datatypes that the model type declares."""
    declared = signature(kind).inputs
    tensors = {
        name: Tensor.from_array(name, np.array(values, TYPES[declared[name].datatype]))
        for name, values in arrays.items()
    }
    return InferRequest("m", id="r", inputs=tensors)


def t5_request(ids: Any = ((5, 6, 7),), lengths: Any = None, tokens: int = 8, **arguments: Any) -> InferRequest:
    rows = len(ids)
    given = lengths if lengths is not None else [len(row) for row in ids]
    arrays = {"input_ids": ids, "sequence_length": [[n] for n in given], "max_output_len": [[tokens]] * rows}
    return request(ModelType.T5, arrays | arguments)


def gpt_request(ids: Any = ((5, 6, 7),), lengths: Any = None, tokens: Any = None, **arguments: Any) -> InferRequest:
    rows = len(ids)
    given = lengths if lengths is not None else [len(row) for row in ids]
    limits = [[each] for each in tokens or [8] * rows]
    arrays = {"input_ids": ids, "input_lengths": [[n] for n in given], "request_output_len": limits}
    return request(ModelType.GPT, arrays | arguments)


def hypothesis(*ids: int, total: float = -1.0, each: tuple[float, ...] = ()) -> Hypothesis:
    return Hypothesis(tuple(ids), total, total, each)


def arrays(tensors: list[Tensor]) -> dict[str, np.ndarray]:
    return {tensor.name: tensor.array for tensor in tensors}
