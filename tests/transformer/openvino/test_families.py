"""The graph computes what transformers computes, for every family that it can express."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.transformer.openvino import support
from tests.kits.decoder_models import DECODERS, VOCABULARY, save_decoder
from tests.transformer.openvino.opened import open_network
from tests.transformer.openvino.paged_run import PagedRun

EXPERTS = "a mixture of experts"
REFUSED = {
    "gemma2": "a soft cap of attention scores",
    "mixtral": EXPERTS,
    "qwen2_moe": EXPERTS,
    "qwen3_moe": EXPERTS,
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wanted(model, ids):
    with torch.inference_mode():
        return model(torch.from_numpy(ids)[None], use_cache=False).logits[0].numpy()


@pytest.mark.parametrize("name", DECODERS)
def test_scores_are_those_of_transformers_however_prompts_are_cut(name, tmp_path):
    model = save_decoder(name, tmp_path / "checkpoint")
    checkpoint = read_huggingface(tmp_path / "checkpoint")
    reason = support.why_not(checkpoint.spec)
    assert reason == REFUSED.get(name, "")
    if reason:
        return
    network = open_network(checkpoint.spec, checkpoint.weights, tmp_path / "stored")
    prompts = [np.random.default_rng(length).integers(3, VOCABULARY, length) for length in (70, 5, 33)]
    run, parts = PagedRun(network, prompts), [[], [], []]
    for counts in ({0: 40, 1: 4}, {0: 29, 2: 1}, {1: 1, 2: 31, 0: 1}, {2: 1}):
        scores = run.advance(counts)
        for sequence, count in counts.items():
            parts[sequence].append(scores[:count])
            scores = scores[count:]
    for ids, found in zip(prompts, parts, strict=True):
        expected = wanted(model, ids)
        assert np.std(expected) > 0.3  # so that the comparison says something
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4)
    network.close()
