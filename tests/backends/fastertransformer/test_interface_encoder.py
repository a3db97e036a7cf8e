"""Requests that are answered with hidden states."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.backends.fastertransformer.configuration import ModelType, SequenceLimits
from slipway.backends.fastertransformer.interface_encoder import BertInterface, T5EncoderInterface
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from slipway.transformer.generation import Encoded
from slipway.transformer.spec import Positions, Transformer
from tests.backends.fastertransformer.requests import HIDDEN, arrays, request, signature, stack


def encoder(data_type="fp32", **limits):
    return T5EncoderInterface(
        signature(ModelType.T5_ENCODER, data_type), Transformer(encoder=stack()), SequenceLimits(**limits)
    )


def ids(table, lengths, **more):
    return request(ModelType.T5_ENCODER, {"input_ids": table, "sequence_length": [[n] for n in lengths], **more})


def states(tokens, attentions=False):
    maps = np.ones((2, 2, tokens, tokens), np.float32) if attentions else None
    return Encoded(np.ones((tokens, HIDDEN), np.float32), maps)


@pytest.mark.capability("0.17")
def test_hidden_states_are_as_wide_as_the_request_and_zero_after_a_row():
    job = encoder().read(ids([[5, 6, 7], [8, 0, 0]], [3, 1]))
    assert ([row.ids.tolist() for row in job.rows], job.attentions) == ([[5, 6, 7], [8]], False)
    got = arrays(job.answer([states(3), states(1)]))
    assert got.keys() == {"output_hidden_state"}
    assert got["output_hidden_state"][:, :, 0].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_attentions_come_when_asked_for():
    job = encoder().read(ids([[5, 6], [8, 0]], [2, 1], is_return_attentions=[[True], [True]]))
    got = arrays(job.answer([states(2, True), states(1, True)]))["output_attentions"]
    assert got.shape == (2, 2, 2, 2, 2)
    assert got[1, 0, 0].tolist() == [[1, 0], [0, 0]]


@pytest.mark.capability("0.17")
@pytest.mark.parametrize(("data_type", "name"), [("fp32", "FP32"), ("fp16", "FP16"), ("bf16", "BF16")])
def test_the_datatype_follows_data_type(data_type, name):
    job = encoder(data_type).read(ids([[5]], [1]))
    assert job.answer([states(1)])[0].datatype == name


def test_what_cannot_be_encoded_is_refused():
    with pytest.raises(SlipwayError, match="contains the id 100"):
        encoder().read(ids([[100]], [1]))
    with pytest.raises(SlipwayError, match="make 4352 output elements, at most 100"):
        encoder(output_elements=100).read(ids([[5] * 32], [32], is_return_attentions=[[True]]))


def bert():
    spec = Transformer(encoder=stack(vocabulary=0, positions=Positions.NONE, relative_buckets=0, embedded_input=True))
    return BertInterface(signature(ModelType.BERT), spec, SequenceLimits())


def hidden(array, lengths):
    inputs = {"input_hidden_state": np.float32(array), "sequence_lengths": np.int32(lengths)[:, None]}
    return InferRequest("m", inputs={name: Tensor.from_array(name, each) for name, each in inputs.items()})


def test_bert_takes_embedded_tokens():
    job = bert().read(hidden(np.ones((2, 3, HIDDEN)), [3, 2]))
    assert [row.hidden.shape for row in job.rows] == [(3, HIDDEN), (2, HIDDEN)]
    assert job.answer([states(3), states(2)])[0].array[:, :, 0].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_bert_refuses_other_sizes():
    with pytest.raises(SlipwayError, match=f"hidden size is {HIDDEN}.*'sequence_lengths' of row 0 is -1"):
        bert().read(hidden(np.ones((1, 3, 5)), [-1]))
