"""Rows that guess how they go on generate with OpenVINO what torch generates for each alone."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.transformer.generation import Decoding, SequenceRequest, collect
from slipway.transformer.openvino.engine import OpenVinoEngine
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.kits.decoder_models import VOCABULARY, save_decoder
from tests.transformer.paged.test_drafts import Priced

NEW = 30


@pytest.mark.parametrize("most", [8, 0])
def test_rows_that_repeat_themselves_are_as_with_torch(tmp_path, most):
    save_decoder("llama", tmp_path / "llama")
    checkpoint = read_huggingface(tmp_path / "llama")
    rows = [
        SequenceRequest(np.tile(np.random.default_rng(length).integers(3, VOCABULARY, length), 6), decoding)
        for length, decoding in ((4, Decoding(NEW, end_id=-1)), (5, Decoding(NEW, end_id=-1, top_k=2, seed=4)))
    ]
    reference = TorchEngine.open(checkpoint.spec, checkpoint.weights, threads=1, running=RunningOptions(places=0))
    alone = [collect(reference, [row])[0][0] for row in rows]
    reference.close()
    engine = OpenVinoEngine.open(
        checkpoint.spec,
        checkpoint.weights,
        threads=1,
        cache_directory=tmp_path / "cache",
        running=RunningOptions(cache_mib=1, most_drafted=most),
    )
    collect(engine, [SequenceRequest(np.array([5, 9]), Decoding(1, end_id=-1))])  # opens the batch
    batch = engine._running._batch
    assert batch is not None
    batch._budget = Priced(0.001)
    together = collect(engine, rows)
    drafted = engine.stats().draft_tokens
    engine.close()
    assert (drafted > 0) == (most > 0)
    for (found,), right in zip(together, alone, strict=True):
        assert found.ids == right.ids
        assert found.log_probability == pytest.approx(right.log_probability, abs=1e-3)
