"""Steps of a fixed size compute the same as growing ones; on a GPU they are recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.transformer.generation import SequenceRequest, collect
from slipway.transformer.module.relative_bias import RelativeBias
from slipway.transformer.module.static_decoder_state import StaticDecoderState
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.torch_engine import engine as engine_module
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.torch_engine.step_runner import StaticStepRunner
from tests.transformer.torch_engine.models import random_weights
from tests.transformer.torch_engine.test_architectures import ARCHITECTURES, DECODING, rows_for

NAMES = (
    "post-norm", "t5", "umt5", "padding", "adapters", "languages-every", "decoder", "decoder-relative",
    "decoder-padding",
)  # fmt: skip


def mixed_rows(spec):
    lengths = (8, 2, 5, 1)
    return [
        replace(row, decoding=replace(DECODING, max_tokens=tokens))
        for row, tokens in zip(rows_for(spec), lengths, strict=True)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_fixed_steps_give_the_ids_of_growing_ones_while_rows_finish(name, monkeypatch):
    spec = ARCHITECTURES[name]
    engine, rows = TorchEngine.open(spec, random_weights(spec), running=RunningOptions(places=0)), mixed_rows(spec)
    growing = collect(engine, rows)
    made = []

    def fixed(network, state, rows):
        most = max(row.decoding.max_tokens for row in rows)
        made.append(StaticStepRunner(network, StaticDecoderState(state, state.cache.length + most)))
        return made[-1]

    monkeypatch.setattr(engine_module, "choose_step_runner", fixed)
    for expected, found in zip(growing, collect(engine, rows), strict=True):
        assert found[0].ids == expected[0].ids
        assert found[0].log_probability == pytest.approx(expected[0].log_probability, abs=1e-4)
    assert made


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*NAMES, "experts-2"])
def test_a_gpu_gives_the_ids_of_the_cpu(name):
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    spec = ARCHITECTURES[name]
    weights, rows = random_weights(spec), mixed_rows(spec)
    expected, gpu = TorchEngine.open(spec, weights), TorchEngine.open(spec, weights, device="cuda")
    for own, found in zip(collect(expected, rows), collect(gpu, rows), strict=True):
        assert found[0].ids == own[0].ids
    for own, found in zip(expected.encode(rows), gpu.encode(rows), strict=True):
        np.testing.assert_allclose(found.hidden, own.hidden, atol=1e-3)


@pytest.mark.parametrize("name", ["decoder", "decoder-padding", "post-norm"])
def test_a_finished_row_never_walks_past_the_table_of_positions(name, monkeypatch):
    spec = ARCHITECTURES[name]
    stack = spec.input_stack
    random, most = np.random.default_rng(7), stack.position_rows
    limits = (2, most - 2)
    prompts = [random.integers(5, stack.vocabulary, length) for length in (most - 2, 2)]
    rows = [
        SequenceRequest(ids, replace(DECODING, end_id=-1, max_tokens=tokens))
        for ids, tokens in zip(prompts, limits, strict=True)
    ]
    engine = TorchEngine.open(spec, random_weights(spec))
    growing = collect(engine, rows)
    monkeypatch.setattr(
        engine_module,
        "choose_step_runner",
        lambda network, state, _rows: StaticStepRunner(network, StaticDecoderState(state, state.cache.length + most)),
    )
    assert [row[0].ids for row in collect(engine, rows)] == [row[0].ids for row in growing]


def test_a_recorded_step_keeps_the_bias_it_reads():
    bias = RelativeBias(torch.arange(32.0).view(8, 4), furthest=20, both_ways=False)
    kept = bias.static(6)
    before = kept(torch.arange(-5, 1)).clone()
    held = kept._by_distance
    bias.last(500)  # a longer sequence: the layer has a new table
    assert bias._by_distance is not held
    assert torch.equal(kept(torch.arange(-5, 1)), before)
    assert torch.equal(before, bias.last(6))
