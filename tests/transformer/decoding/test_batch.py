"""A batch: every row as if it were alone, listeners, broken scores, and mistakes of the caller."""

from __future__ import annotations

import math
import random

import pytest
import torch

from slipway.errors import SlipwayError
from slipway.transformer.decoding.batch import DecodingBatch
from slipway.transformer.generation import CollectingListener, Decoding, Search
from tests.transformer.decoding.toy import Constant, Toy, decode, decode_all, drive


def any_decoding(chance: random.Random) -> Decoding:
    search = chance.choice((Search.SAMPLE, Search.SAMPLE, *Search))
    penalty = chance.random()
    return Decoding(
        chance.randint(1, 8),
        min_tokens=chance.choice((0, 0, 3)),
        end_id=chance.choice((1, 1, 2)),
        search=search,
        beam_width=1 if search is Search.SAMPLE else chance.choice((1, 2, 4)),
        length_penalty=chance.choice((0.0, 1.0)),
        diversity=chance.choice((0.0, 0.2)),
        early_stopping=chance.random() < 0.5,
        top_k=chance.choice((0, 0, 1, 5)),
        top_p=chance.choice((0.0, 0.0, 0.8)),
        temperature=chance.choice((1.0, 0.7)),
        seed=chance.randrange(1000),
        repetition_penalty=1.5 if penalty < 0.2 else 1.0,
        presence_penalty=0.5 if penalty > 0.8 else 0.0,
        bad_words=((3,), (4, 5)) if chance.random() < 0.3 else (),
        stop_words=((6,), (7, 8)) if chance.random() < 0.3 else (),
        log_probabilities=chance.random() < 0.5,
    )


@pytest.mark.capability("0.10")
def test_a_row_gets_the_same_result_with_any_batch_mates():
    chance = random.Random(0)
    for case in range(40):
        count = chance.randint(2, 9)
        decodings = [any_decoding(chance) for _ in range(count)]
        toys = [Toy(100 * case + row, end_bonus=chance.choice((-1.0, 1.0, 3.0))) for row in range(count)]
        prompts = [[chance.randrange(20) for _ in range(chance.randint(1, 4))] for _ in range(count)]
        together = decode_all(decodings, toys, prompts)
        for decoding, toy, prompt, found in zip(decodings, toys, prompts, together, strict=True):
            alone = decode(decoding, toy, prompt)
            assert [hypothesis.ids for hypothesis in found] == [hypothesis.ids for hypothesis in alone]
            for one, other in zip(found, alone, strict=True):
                assert one.score == pytest.approx(other.score, abs=1e-4)
                assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


def test_greedy_takes_the_best_token_and_the_lowest_id_of_equals():
    toy = Toy(1)
    ids = decode(Decoding(10), toy)[0].ids
    assert all(token == toy.scores((0, *ids[:at])).argmax() for at, token in enumerate(ids))
    equal = Constant(0, given=[0.0, 0.0, 2.0, 2.0, 2.0])
    assert decode(Decoding(3), equal)[0].ids == decode(Decoding(3, temperature=0.5), equal)[0].ids == (2, 2, 2)


def test_plain_greedy_rows_move_nothing_until_one_is_finished():
    batch = DecodingBatch([Decoding(2), Decoding(3)], [[0], [0]], CollectingListener(), device="cpu")
    scores = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    assert batch.step(scores) is None
    assert batch.step(scores).tolist() == [1]
    assert batch.rows.tolist() == [1]
    assert batch.step(scores[:1]).tolist() == []
    assert not batch.alive


class Impatient(CollectingListener):
    """Stops row 0 after its second token, and records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, int, float]] = []

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        self.heard.append((row, token, log_probability))
        return row == 0 and sum(heard == 0 for heard, *_ in self.heard) == 2


@pytest.mark.parametrize("temperature", [1.0, 0.9])
def test_a_row_whose_listener_has_enough_stops_at_once_with_what_there_is(temperature):
    listener = Impatient()
    decoding = Decoding(6, temperature=temperature, end_id=-1)
    drive([decoding, decoding], [Toy(1), Toy(2)], [[0], [0]], listener)
    assert [len(listener.results[row][0].ids) for row in (0, 1)] == [2, 6]
    for row in (0, 1):
        heard = [(token, figure) for other, token, figure in listener.heard if other == row]
        assert tuple(token for token, _ in heard) == listener.results[row][0].ids
        assert sum(figure for _, figure in heard) == pytest.approx(listener.results[row][0].log_probability)


@pytest.mark.parametrize("search", [search for search in Search if search is not Search.SAMPLE])
def test_only_rows_of_one_hypothesis_report_their_tokens(search):
    listener = Impatient()
    drive([Decoding(4, search=search, beam_width=2)], [Toy(3)], [[0]], listener)
    assert not listener.heard
    assert len(listener.results[0]) == 2


WAYS = [
    Decoding(4),
    Decoding(4, temperature=0.5),
    Decoding(4, top_k=3),
    Decoding(4, top_p=0.9),
    *(Decoding(4, search=search, beam_width=3) for search in Search if search is not Search.SAMPLE),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.search.value}-{way.top_k}-{way.top_p}-{way.temperature}")
@pytest.mark.parametrize("broken", [math.nan, -math.inf])
def test_a_row_without_any_finite_score_ends_and_its_mates_do_not_notice(way, broken, caplog):
    mate = decode(Decoding(6), Toy(1))
    found = decode_all([way, Decoding(6)], [Constant(0, given=[broken] * 20), Toy(1)])
    assert [hypothesis.ids for hypothesis in found[1]] == [hypothesis.ids for hypothesis in mate]
    assert found[0][0].ids == (1,)
    assert math.isfinite(found[0][0].score)
    assert "no token has a finite score" in caplog.text


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.search.value}-{way.top_k}-{way.top_p}-{way.temperature}")
def test_a_score_that_is_not_a_number_is_impossible_and_an_infinite_one_is_certain(way):
    scores = [0.0, -math.inf, math.nan, 2.0, math.inf, 1.0, -math.inf]
    found = decode(way, Constant(0, given=scores))
    assert found[0].ids[:2] == (4, 4)
    assert math.isfinite(found[0].score)
    assert all(2 not in hypothesis.ids and 6 not in hypothesis.ids for hypothesis in found)


def test_a_batch_of_no_rows_is_finished():
    batch = DecodingBatch([], [], CollectingListener(), device="cpu")
    assert not batch.alive
    assert batch.tokens.tolist() == batch.rows.tolist() == []


def test_an_end_token_outside_the_vocabulary_is_never_reached():
    for search in Search:
        found = decode(Decoding(4, min_tokens=2, end_id=500, search=search, beam_width=2), Toy(1))
        assert all(len(hypothesis.ids) == 4 for hypothesis in found)


def test_figures_that_no_rule_is_defined_for_are_all_named():
    wrong = Decoding(
        0, top_k=-1, top_p=1.5, temperature=math.nan, repetition_penalty=0.0, length_penalty=math.inf, top_p_min=0.0
    )
    with pytest.raises(SlipwayError) as raised:
        DecodingBatch([Decoding(1), wrong], [[0], [0]], CollectingListener(), device="cpu")
    for name in "max_tokens top_k top_p temperature repetition_penalty length_penalty top_p_min".split():
        assert name in raised.value.message
    assert "row 1" in raised.value.message


@pytest.mark.parametrize("prompts", [[], [[]]])
def test_a_row_without_a_first_token_is_refused(prompts):
    with pytest.raises(SlipwayError, match="prompts"):
        DecodingBatch([Decoding(1)], prompts, CollectingListener(), device="cpu")
