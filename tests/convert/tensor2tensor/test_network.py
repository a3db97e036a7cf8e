"""The plain network and its searches give the published numbers of tensor2tensor's test checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.export import read_hparams
from slipway.checkpoints.tensor2tensor.reader import read_tensor2tensor
from slipway.convert.tensor2tensor.network import PlainTransformer
from slipway.convert.tensor2tensor.reference import ReferenceTranslator
from slipway.runtime.translation import Translation
from slipway.transformer.engines import open_engine
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.options import EngineOptions
from tests.checkpoints.tensor2tensor.public_data import CHECKPOINT, needs_public_files

pytestmark = [needs_public_files, pytest.mark.capability("2.11")]

HELLO_WORLD = np.array([4928, 4071, 220, 1])
BEST = (6774, 6774, *[1366] * 6, 2765, 620, 620, 620)
LIMIT = 12


@pytest.fixture(scope="module")
def checkpoint():
    return read_tensor2tensor(CHECKPOINT, read_hparams(CHECKPOINT))


@pytest.fixture(scope="module")
def plain(checkpoint):
    return PlainTransformer(checkpoint.spec, checkpoint.weights)


@pytest.fixture(scope="module")
def engine(checkpoint):
    options = EngineOptions("torch", threads=1)
    engine = open_engine(checkpoint.spec, checkpoint.weights, options, name="m")
    yield engine
    engine.close()


def test_the_first_scores_are_the_published_ones(plain):
    scores = plain.step(plain.read(HELLO_WORLD), np.array([0]))[0]
    published = np.array([1.058246, 1.391081, -0.094394, 0.866728, -0.812492, 0.650296])
    assert scores.argmax() == 6774
    assert scores[:6] - scores[6774] == pytest.approx(published - 3.475062, abs=1e-4)


def test_the_reference_finds_the_published_beam_and_greedy_row(plain):
    reference = ReferenceTranslator(plain)
    found = reference.beams(HELLO_WORLD, LIMIT, width=4, alpha=0.6)
    assert found.ids == BEST
    assert found.score == pytest.approx(-34.2178, abs=1e-3)
    assert reference.greedy(HELLO_WORLD, LIMIT).ids == (6774,) * LIMIT


def test_the_engine_finds_the_published_beam_and_greedy_row(engine):
    beams = Decoding(LIMIT, search=Search.TENSOR2TENSOR, beam_width=4, length_penalty=0.6)
    rows = [SequenceRequest(HELLO_WORLD, beams), SequenceRequest(HELLO_WORLD, Decoding(LIMIT))]
    searched, greedy = collect(engine, rows)
    assert searched[0].ids == BEST
    assert searched[0].score == pytest.approx(-34.2178, abs=1e-3)
    assert greedy[0].ids == (6774,) * LIMIT
    assert greedy[0].log_probability == pytest.approx(-67.259933, abs=1e-3)


def test_the_engine_and_the_reference_agree_on_other_rows(plain, engine):
    reference = ReferenceTranslator(plain)
    random = np.random.default_rng(1)
    for alpha in (0.0, 0.6, 1.5):
        ids = np.array([*random.integers(2, 8000, 5), 1])
        beams = Decoding(8, search=Search.TENSOR2TENSOR, beam_width=3, length_penalty=alpha)
        ((found, *_),) = collect(engine, [SequenceRequest(ids, beams)])
        expected = reference.beams(ids, 8, width=3, alpha=alpha)
        assert found.ids == expected.ids
        assert found.score == pytest.approx(expected.score, abs=1e-3)


def test_the_length_rule_is_that_of_tensor2tensor(checkpoint, tmp_path):
    from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
    from tests.kits.tensor2tensor_models import vocabulary  # any: only lengths count

    translation = Translation(checkpoint.spec, vocabulary(), DecodeHParams(extra_length=8))
    row = translation.row(np.array([4928, 4071, 220, 1, 0, 0]))
    assert row.ids.tolist() == HELLO_WORLD.tolist()
    assert row.decoding.max_tokens == 6 + 8
