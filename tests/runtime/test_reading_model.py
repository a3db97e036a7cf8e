"""A checkpoint whose encoder is another model: requests contain encoder states, with all arguments of generation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from slipway.errors import Code
from slipway.runtime import GenerationModel
from tests.kits.image_readers import write_reader
from tests.runtime.test_generation_model import Sink

PARAMETERS = {"ENGINE": "torch", "COMPUTE_TYPE": "float32", "max_output_len": "8"}
STATES = np.random.default_rng(3).normal(size=(4, 24, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_reader(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def model(checkpoint):
    opened = GenerationModel(checkpoint, PARAMETERS, name="m")
    yield opened
    opened.close()


def asked(states: np.ndarray = STATES, **arguments: object) -> dict[str, np.ndarray]:
    return {"encoder_states": states, **{name: np.array(value) for name, value in arguments.items()}}


def ids(sink: Sink) -> list[list[int]]:
    assert sink.arrays is not None, sink.error
    lengths = sink.arrays["sequence_length"][:, 0]
    return [row[0, :length].tolist() for row, length in zip(sink.arrays["output_ids"], lengths, strict=True)]


def alone(model: GenerationModel, **arguments: object) -> list[list[int]]:
    found = []
    for states in STATES:
        sink = Sink()
        model.run([(asked(states[None], **arguments), sink)])
        found += ids(sink)
    return found


@pytest.mark.parametrize(
    "arguments", [{}, {"beam_width": 3}, {"top_k": 9, "seed": 4}], ids=["greedy", "beams", "draws"]
)
def test_images_of_one_request_and_of_several_are_read_as_each_alone(model, arguments):
    expected = alone(model, **arguments)
    together, first, rest = Sink(), Sink(), Sink()
    model.run([(asked(**arguments), together)])
    model.run([(asked(STATES[:1], **arguments), first), (asked(STATES[1:], **arguments), rest)])
    assert ids(together) == ids(first) + ids(rest) == expected
    assert len({tuple(row) for row in expected}) > 1


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (asked(STATES[:, :, :8]), r"shape \[4, 24, 8\], expected \[rows, tokens, 16\]"),
        (asked(STATES[:, :0]), r"shape \[4, 0, 16\]"),
        (asked(encoder_no_repeat_ngram_size=2), "need a source text, but the source is an image"),
        (asked(max_new_tokens=[[41]] * 4), "max_new_tokens is 41, but only 40 tokens are possible"),
        (asked(num_baems=2), "did you mean 'num_beams'"),
    ],
    ids=["size", "empty", "source", "length", "name"],
)
def test_a_request_that_does_not_fit_fails_alone(model, inputs, reason):
    bad, good = Sink(), Sink()
    model.run([(inputs, bad), (asked(STATES[:1]), good)])
    assert bad.error is not None
    assert bad.error.code is Code.INVALID_ARG
    assert re.search(reason, bad.error.message), bad.error.message
    assert ids(good) == alone(model)[:1]
