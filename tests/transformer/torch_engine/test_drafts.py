"""Rows that guess how they go on get from the torch engine what they get alone, on every kind of decoder."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from slipway.transformer.generation import Decoding, SequenceRequest, TransformersRules
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network
from slipway.transformer.paged.running_batch import RunningBatch, Steps
from slipway.transformer.spec import Transformer
from slipway.transformer.torch_engine.paged_network import TorchPagedNetwork
from slipway.transformer.weights import Array, Weights
from tests.transformer.paged.test_drafts import Priced
from tests.transformer.torch_engine.models import random_weights
from tests.transformer.torch_engine.test_running import SPECS, Collected, alone

KINDS = (
    Decoding(40, end_id=1, log_probabilities=True),
    Decoding(30, end_id=1, top_k=2, seed=3),
    Decoding(35, end_id=1, rules=TransformersRules(end_ids=(1,), frequency_penalty=0.2)),
)


def repeating_rows(spec: Transformer) -> list[SequenceRequest]:
    random = Random(4)
    rows = []
    for index, kind in enumerate(KINDS):
        period = [random.randrange(2, spec.decoder.vocabulary) for _ in range(4 + index)]
        rows.append(SequenceRequest(np.array(period * 5), kind))
    return rows


@pytest.mark.parametrize("name", SPECS)
def test_rows_with_drafts_generate_what_they_do_alone(name: str) -> None:
    spec = SPECS[name]
    weights, rows = random_weights(spec), repeating_rows(spec)
    network = Network(spec, LayerBuilder(weights, device=torch.device("cpu"), dtype=torch.float32))
    steps: list[Steps] = []
    paged = TorchPagedNetwork(network, page_count=60, page_size=4)
    batch = RunningBatch(paged, steps.append, places=6, step_tokens=64, most_drafted=6)
    batch._budget = Priced(0.001)
    heard = Collected()
    with torch.inference_mode():
        batch.start(rows, heard)
        for _ in steps[-1]:
            pass
    assert batch.stats().draft_tokens > 0
    for index, expected in enumerate(alone(spec, weights, rows)):
        (found,) = heard.results[index]
        assert found.ids == expected.ids
        assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-3)
        assert found.log_probabilities == pytest.approx(expected.log_probabilities, abs=1e-4)


def test_a_text_that_repeats_itself_takes_fewer_steps() -> None:
    spec = SPECS["rotary"]
    random = random_weights(spec)
    quiet = {name: random[name] * (0.02 if ".layers." in name else 1.0) for name in random}  # the last token decides
    weights = Weights({name: Array(array.shape, lambda array=array: array) for name, array in quiet.items()})
    row = SequenceRequest(np.array([5, 9]), Decoding(80, end_id=1000))
    network = Network(spec, LayerBuilder(weights, device=torch.device("cpu"), dtype=torch.float32))
    steps: list[Steps] = []
    paged = TorchPagedNetwork(network, page_count=40, page_size=4)
    batch = RunningBatch(paged, steps.append, places=1, step_tokens=64, most_drafted=8)
    batch._budget = Priced(0.001)
    heard = Collected()
    with torch.inference_mode():
        batch.start([row], heard)
        for _ in steps[-1]:
            pass
    assert heard.results[0][0].ids == alone(spec, weights, [row])[0].ids
    assert batch.stats().steps < 60
    assert batch.stats().accepted_tokens == 80 - batch.stats().steps
