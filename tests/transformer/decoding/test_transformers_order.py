"""Each processor and filter changes random scores as its class in transformers does; all together do what `generate()`
does, in greedy search, beam search and sampling."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.generation import logits_process as theirs

from slipway.convert.generation.fixed_draws import FixedDraws
from slipway.transformer.decoding import sampling_filters as ours
from slipway.transformer.decoding.logits_processor import RowContext
from slipway.transformer.decoding.transformers_order import ORDER, Step, TransformersProcessor
from slipway.transformer.generation import Decoding, Search, TransformersRules
from tests.transformer.decoding.test_against_transformers import ToyModel, trimmed
from tests.transformer.decoding.toy import Toy, decode

VOCABULARY = 40
SOURCE = (3, 9, 4, 9, 4, 7, 1)
ENDS = (1, 6)


def scores(seed: int, rows: int = 3, *, probabilities: bool = False) -> torch.Tensor:
    drawn = torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3
    return drawn.log_softmax(dim=-1) if probabilities else drawn


def sequences(seed: int, length: int, rows: int = 3) -> list[tuple[int, ...]]:
    chance = random.Random(seed)
    return [tuple(chance.randrange(2, 8) for _ in range(length)) for _ in range(rows)]


# One case for each processor: the settings of the row, and the class of transformers with the same settings.
PROCESSORS: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[], Any]]] = {
    "sequence_bias": (
        {"sequence_bias": (((5,), -4.0), ((3, 4), 7.0), ((2, 3, 4), 1.5), ((4,), 2.0))},
        {},
        lambda: theirs.SequenceBiasLogitsProcessor({(5,): -4.0, (3, 4): 7.0, (2, 3, 4): 1.5, (4,): 2.0}),
    ),
    "encoder_repetition_penalty": (
        {"encoder_repetition_penalty": 1.7},
        {},
        lambda: theirs.EncoderRepetitionPenaltyLogitsProcessor(1.7, torch.tensor([SOURCE])),
    ),
    "repetition_penalty": (
        {},
        {"repetition_penalty": 1.4},
        lambda: theirs.RepetitionPenaltyLogitsProcessor(1.4),
    ),
    "no_repeat_ngram_size": (
        {"no_repeat_ngram_size": 2},
        {},
        lambda: theirs.NoRepeatNGramLogitsProcessor(2),
    ),
    "encoder_no_repeat_ngram_size": (
        {"encoder_no_repeat_ngram_size": 2},
        {},
        lambda: theirs.EncoderNoRepeatNGramLogitsProcessor(2, torch.tensor([SOURCE])),
    ),
    "bad_words_ids": (
        {"bad_words": ((0,), (1,), (4, 5), (3, 4, 6), (7,))},
        {},
        lambda: theirs.NoBadWordsLogitsProcessor([[0], [1], [4, 5], [3, 4, 6], [7]], list(ENDS)),
    ),
    "min_new_tokens": (
        {},
        {"min_tokens": 4},
        lambda: theirs.MinNewTokensLengthLogitsProcessor(2, 4, list(ENDS)),
    ),
    "forced_bos_token_id": ({}, {"forced": (11,)}, lambda: theirs.ForcedBOSTokenLogitsProcessor(11)),
    "forced_eos_token_id": (
        {"forced_end_ids": (1, 8)},
        {"max_tokens": 5},
        lambda: theirs.ForcedEOSTokenLogitsProcessor(7, [1, 8]),
    ),
    "remove_invalid_values": ({"remove_invalid_values": True}, {}, theirs.InfNanRemoveLogitsProcessor),
    "exponential_decay_length_penalty": (
        {"exponential_decay": (2, 1.3)},
        {},
        lambda: theirs.ExponentialDecayLengthPenalty((2, 1.3), list(ENDS), 2),
    ),
    "suppress_tokens": (
        {"suppress_tokens": (2, 30)},
        {},
        lambda: theirs.SuppressTokensLogitsProcessor([2, 30]),
    ),
    "begin_suppress_tokens": (
        {"begin_suppress_tokens": (2, 30)},
        {},
        lambda: theirs.SuppressTokensAtBeginLogitsProcessor([2, 30], 2),
    ),
    "renormalize_logits": ({"renormalize_logits": True}, {}, theirs.LogitNormalization),
}


def test_every_processor_has_its_case():
    assert PROCESSORS.keys() == ORDER.keys()


def test_a_long_list_of_biases_is_as_exact_as_a_short_one():
    chance = random.Random(5)
    longer = [tuple(chance.randrange(VOCABULARY) for _ in range(chance.randint(2, 4))) for _ in range(2000)]
    biases = {ids: chance.uniform(-3, 3) for ids in [(token,) for token in range(VOCABULARY)] + longer}
    rules = TransformersRules(ENDS, sequence_bias=tuple(biases.items()))
    processor = TransformersProcessor(Decoding(9, rules=rules), rules, RowContext((2, 3), SOURCE, torch.device("cpu")))
    reference = theirs.SequenceBiasLogitsProcessor(biases)
    for length in range(5):
        given, generated = scores(length), sequences(length, length)
        ids = torch.tensor([(2, 3, *each) for each in generated])
        assert processor.apply(given, generated).allclose(reference(ids, given.clone()), atol=1e-5)


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_changes_scores_as_that_of_transformers(name, probabilities):
    rules, decoding, make = PROCESSORS[name]
    prompt = (2,) if name == "forced_bos_token_id" else (2, 3)
    row = Decoding(**({"max_tokens": 9} | decoding))
    for generated_tokens in range(5):
        processor = ORDER[name](row, TransformersRules(ENDS, **rules), RowContext(prompt, SOURCE, torch.device("cpu")))
        given = scores(generated_tokens, probabilities=probabilities)
        if name == "remove_invalid_values":
            given[0, 3], given[1, 4], given[2, 5] = torch.nan, torch.inf, -torch.inf
        generated = sequences(generated_tokens, generated_tokens)
        ids = torch.tensor([(*prompt, *each) for each in generated])
        before = given.clone()
        found = processor(given, Step(RowContext(prompt, SOURCE, torch.device("cpu")), generated))
        torch.testing.assert_close(found, make()(ids, given.clone()), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(given, before, rtol=0, atol=0, equal_nan=True)


def test_processors_are_in_the_order_of_generate():
    source = inspect.getsource(GenerationMixin._get_logits_processor)
    places = [re.search(rf"if \(?\s*generation_config\.{name} is ", source).start() for name in ORDER]
    assert places == sorted(places)


FILTERS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Any]] = {
    "top_h": (lambda given: ours.entropy_share(given, 0.4), theirs.TopHLogitsWarper(0.4)),
    "top_k": (lambda given: ours.best(given, 5), theirs.TopKLogitsWarper(5)),
    "top_p": (lambda given: ours.nucleus(given, 0.8), theirs.TopPLogitsWarper(0.8)),
    "min_p": (lambda given: ours.near_best(given, 0.1), theirs.MinPLogitsWarper(0.1)),
    "typical_p": (lambda given: ours.typical(given, 0.6), theirs.TypicalLogitsWarper(0.6)),
    "epsilon_cutoff": (lambda given: ours.likely(given, 0.03), theirs.EpsilonLogitsWarper(0.03)),
    "eta_cutoff": (lambda given: ours.likely_for_entropy(given, 0.02), theirs.EtaLogitsWarper(0.02)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_leaves_what_that_of_transformers_leaves(name):
    ours_, theirs_ = FILTERS[name]
    for seed in range(50):
        given = scores(seed, rows=1) * (0.2 + seed % 5)
        if seed % 3 == 0:  # the result of a previous filter
            given = ours.best(given, 12)
        assert torch.equal(ours_(given), theirs_(torch.zeros(1, 1, dtype=torch.int64), given.clone()))


def settings(chance: random.Random) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return some settings of `generate()`, as fields of the rules and of the decoding."""
    maximum = chance.randint(4, 10)
    pool: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        ({"repetition_penalty": 1.6}, {}, {"repetition_penalty": 1.6}),
        ({"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 2}, {}),
        ({"encoder_no_repeat_ngram_size": 2}, {"encoder_no_repeat_ngram_size": 2}, {}),
        ({"encoder_repetition_penalty": 1.5}, {"encoder_repetition_penalty": 1.5}, {}),
        ({"bad_words_ids": [[0], [5, 6], [7]]}, {"bad_words": ((0,), (5, 6), (7,))}, {}),
        ({"min_new_tokens": 3}, {}, {"min_tokens": 3}),
        ({"forced_eos_token_id": 1}, {"forced_end_ids": (1,)}, {}),
        ({"exponential_decay_length_penalty": (2, 1.2)}, {"exponential_decay": (2, 1.2)}, {}),
        ({"suppress_tokens": [9, 10]}, {"suppress_tokens": (9, 10)}, {}),
        ({"begin_suppress_tokens": [11, 12]}, {"begin_suppress_tokens": (11, 12)}, {}),
        ({"sequence_bias": [[[8], 2.5], [[3, 4], -3.0]]}, {"sequence_bias": (((8,), 2.5), ((3, 4), -3.0))}, {}),
        ({"forced_bos_token_id": 13}, {}, {"forced": (13,)}),
        ({"renormalize_logits": True}, {"renormalize_logits": True}, {}),
    ]
    own: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = (
        {"max_new_tokens": maximum},
        {},
        {"max_tokens": maximum},
    )
    for each in chance.sample(pool, chance.randint(1, 4)):
        for into, added in zip(own, each, strict=True):
            into.update(added)
    return own


def generated(toy: Toy, prompt: list[int], **config: Any) -> list[tuple[int, ...]]:
    made = GenerationConfig(pad_token_id=0, **config)
    with torch.inference_mode():
        answer = ToyModel(toy).generate(torch.tensor([prompt]), generation_config=made, use_cache=False)
    return [trimmed(row[len(prompt) :]) for row in answer.tolist()]


@pytest.mark.parametrize("way", ["greedy", "beams", "draws"])
def test_random_settings_give_the_ids_of_transformers(way):
    chance = random.Random(way)
    for seed in range(60):
        config, rules, decoding = settings(chance)
        prompt = [2] if "forced" in decoding else [2, 3, 4, 3][: chance.randint(1, 4)]
        ends = chance.choice(((1,), (1, 14)))
        toy = Toy(seed, end_bonus=chance.choice((0.0, 2.0)))
        if way == "beams":
            width, early, penalty = (
                chance.choice((2, 4)),
                chance.choice((True, False, "never")),
                chance.choice((0.0, 1.0, 2.0, -1.0)),
            )
            config |= {"num_beams": width, "num_return_sequences": width, "early_stopping": early}
            config["length_penalty"] = penalty
            rules["never_early"] = early == "never"
            decoding |= {"beam_width": width, "length_penalty": penalty, "early_stopping": early is True}
            decoding["search"] = Search.HUGGING_FACE
        if way == "draws":
            top_k, top_p = chance.choice(((5, 0.0), (0, 0.8), (8, 0.7), (0, 1.0)))
            config |= {"do_sample": True, "temperature": 0.7, "top_k": top_k, "top_p": top_p or 1.0}
            decoding |= {"temperature": 0.7, "top_k": top_k, "top_p": top_p, "seed": seed}
        asked = Decoding(**decoding, rules=TransformersRules(ends, **rules), stop_words=tuple((e,) for e in ends[1:]))
        with FixedDraws(seed):
            expected = generated(toy, prompt, eos_token_id=list(ends), **config)
        found = [hypothesis.ids for hypothesis in decode(asked, toy, prompt)]
        assert found == [cut(ids, ends) for ids in expected], (seed, config)


def cut(ids: tuple[int, ...], ends: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ids up to their first end."""
    places = [place for place, token in enumerate(ids) if token in ends]
    return ids[: places[0] + 1] if places else ids


def test_processors_of_a_row_that_asks_for_nothing_change_nothing():
    given = scores(0)
    processor = TransformersProcessor(
        Decoding(4), TransformersRules(ENDS), RowContext((2,), SOURCE, torch.device("cpu"))
    )
    assert processor.apply(given, sequences(0, 2)) is given
