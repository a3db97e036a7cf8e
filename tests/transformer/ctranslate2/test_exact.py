"""The same ids and log-probabilities as transformers, architecture by architecture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from tests.transformer.ctranslate2.checkpoints import MODELS

LENGTHS = (5, 9, 3, 1)
GENERATING = [name for name in MODELS if name != "bert"]


def sources():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 60, (length,), generator=generator) for length in LENGTHS]


def reference(model, spec, source, tokens, **options):
    """Return ids and log-probabilities as transformers has them."""
    settings = {"max_new_tokens": tokens, "do_sample": False, "num_beams": 1, "eos_token_id": spec.end_id}
    mask = torch.ones_like(source[None])
    answer = model.generate(
        source[None],
        attention_mask=mask,
        output_scores=True,
        return_dict_in_generate=True,
        **settings | options,
    )
    ids = answer.sequences[0].tolist()[1 if spec.encoder else len(source) :]
    figures = [float(scores[0].log_softmax(-1)[token]) for token, scores in zip(ids, answer.scores, strict=False)]
    return tuple(ids), figures


@pytest.mark.parametrize("name", GENERATING)
def test_greedy_ids_and_log_probabilities_are_those_of_transformers(opened, name):
    tiny, engine = opened(name)
    spec = tiny.checkpoint.spec
    decoding = Decoding(12, start_id=spec.start_id, end_id=spec.end_id, log_probabilities=True)
    results = collect(engine, [SequenceRequest(source.numpy(), decoding) for source in sources()])
    for source, [hypothesis] in zip(sources(), results, strict=True):
        ids, figures = reference(tiny.reference, spec, source, 12, bad_words_ids=None)
        assert hypothesis.ids == ids
        assert hypothesis.log_probabilities == pytest.approx(figures, abs=1e-4)
        assert hypothesis.log_probability == pytest.approx(sum(figures), abs=1e-3)
        assert hypothesis.score == hypothesis.log_probability


@pytest.mark.parametrize("name", ["t5 gated untied", "gpt2"])
def test_bad_words_of_one_token_and_a_minimum_are_those_of_transformers(opened, name):
    tiny, engine = opened(name)
    spec = replace(tiny.checkpoint.spec, end_id=7)
    words = tuple((token,) for token in range(8, 40))
    decoding = Decoding(12, min_tokens=5, start_id=spec.start_id, end_id=7, bad_words=words)
    results = collect(engine, [SequenceRequest(source.numpy(), decoding) for source in sources()])
    for source, [hypothesis] in zip(sources(), results, strict=True):
        banned = [list(word) for word in words]
        ids, figures = reference(tiny.reference, spec, source, 12, bad_words_ids=banned, min_new_tokens=5)
        assert hypothesis.ids == ids
        assert hypothesis.log_probability == pytest.approx(sum(figures), abs=1e-3)


@pytest.mark.parametrize("name", ["t5 gated untied", "gpt2"])
@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_beam_search_with_early_stopping_is_that_of_transformers(opened, name, penalty):
    tiny, engine = opened(name)
    spec = tiny.checkpoint.spec
    decoding = Decoding(
        10,
        start_id=spec.start_id,
        end_id=7,
        search=Search.HUGGING_FACE,
        beam_width=4,
        length_penalty=penalty,
        early_stopping=True,
    )
    results = collect(engine, [SequenceRequest(source.numpy(), decoding) for source in sources()])
    for source, hypotheses in zip(sources(), results, strict=True):
        options = {"num_beams": 4, "num_return_sequences": 4, "early_stopping": True, "length_penalty": penalty}
        answer = tiny.reference.generate(
            source[None],
            attention_mask=torch.ones_like(source[None]),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=7,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
        start = 1 if spec.encoder else len(source)
        expected = [_until(ids[start:], 7) for ids in answer.sequences.tolist()]
        assert [hypothesis.ids for hypothesis in hypotheses] == expected
        scores = answer.sequences_scores.tolist()
        assert [hypothesis.score for hypothesis in hypotheses] == pytest.approx(scores, abs=1e-2)
        for hypothesis in hypotheses:
            total = hypothesis.score * len(hypothesis.ids) ** penalty
            assert hypothesis.log_probability == pytest.approx(total)


def _until(ids, end):
    return tuple(ids[: ids.index(end) + 1] if end in ids else ids)


def test_an_encoder_gives_the_hidden_states_of_transformers(opened):
    tiny, engine = opened("bert")
    states = engine.encode([SequenceRequest(source.numpy()) for source in sources()])
    for source, encoded in zip(sources(), states, strict=True):
        expected = tiny.reference(source[None]).last_hidden_state[0].detach().numpy()
        assert encoded.hidden.dtype == np.float32
        np.testing.assert_allclose(encoded.hidden, expected, atol=1e-5)


def test_a_decoder_only_model_scores_its_own_tokens_as_transformers_does(opened):
    tiny, engine = opened("gpt2")
    rows = [source for source in sources() if len(source) > 1]
    losses = [float(tiny.reference(row[None], labels=row[None]).loss.detach()) for row in rows]
    assert engine.score([SequenceRequest(row.numpy()) for row in rows]) == pytest.approx(losses, abs=1e-4)


def test_int8_follows_the_float32_model(opened, tmp_path):
    from slipway.transformer.ctranslate2.engine import CTranslate2Engine

    tiny, exact = opened("bert")
    spec, weights = tiny.checkpoint.spec, tiny.checkpoint.weights
    engine = CTranslate2Engine.open(spec, weights, compute_type="int8", cache_directory=tmp_path)
    rows = [SequenceRequest(source.numpy()) for source in sources()]
    for ours, theirs in zip(engine.encode(rows), exact.encode(rows), strict=True):
        difference = np.linalg.norm(ours.hidden - theirs.hidden) / np.linalg.norm(theirs.hidden)
        assert 0 < difference < 0.1
