"""tensor2tensor's beam search, compared with an independent one over whole batches and with complete enumeration."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.transformer.generation import Decoding, Search
from tests.transformer.decoding import reference, tensor2tensor_search
from tests.transformer.decoding.toy import Toy, decode, decode_all

pytestmark = pytest.mark.capability("2.11")

TOYS = st.builds(
    Toy,
    seed=st.integers(0, 10_000),
    vocabulary=st.just(10),  # twice as large as the beam: in a smaller one the original continues ended sequences
    end_bonus=st.sampled_from((-3.0, 0.0, 1.0, 3.0)),
    spread=st.sampled_from((0.3, 2.0)),
)
SEARCHES = st.builds(
    tensor2tensor_search.Search,
    beams=st.integers(1, 5),
    alpha=st.sampled_from((0.0, 0.6, 1.0, 2.0)),
    decode_length=st.integers(1, 7),
    stop_early=st.booleans(),
)


def ours(search: tensor2tensor_search.Search) -> Decoding:
    return Decoding(
        search.decode_length,
        search=Search.TENSOR2TENSOR,
        beam_width=search.beams,
        length_penalty=search.alpha,
        every_beam=not search.stop_early,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(TOYS, min_size=1, max_size=4), SEARCHES)
def test_the_beams_of_a_batch_equal_those_of_the_search_over_the_whole_batch(toys, search):
    expected = tensor2tensor_search.beam_search(toys, search)
    found = decode_all([ours(search)] * len(toys), toys)
    for row, wanted in zip(found, expected, strict=True):
        compared = 1 if search.stop_early else len(wanted)  # of the others, it may go on looking for the batch
        assert [each.ids for each in row[:compared]] == [ids for _, ids in wanted[:compared]]
        assert [each.score for each in row[:compared]] == pytest.approx(
            [score for score, _ in wanted[:compared]], abs=1e-5
        )


@settings(max_examples=60, deadline=None)
@given(TOYS, st.sampled_from((0.0, 0.6, 1.0)))
def test_wide_beams_find_all_sequences_that_end_in_order(toy, alpha):
    toy = replace(toy, vocabulary=4, known={})
    decoding = Decoding(3, search=Search.TENSOR2TENSOR, beam_width=40, length_penalty=alpha, every_beam=True)
    ended = [
        reference.Scored(total / ((5 + len(ids)) / 6) ** alpha, ids)
        for ids, total in reference.everything(toy, 3)
        if ids[-1] == reference.END
    ]
    found = decode(decoding, toy)
    assert [each.ids for each in found] == [each.ids for each in reference.ranked(ended)]
    assert [each.score for each in found] == pytest.approx([each.score for each in reference.ranked(ended)], abs=1e-5)


def test_rows_that_end_at_different_times_do_not_change_each_other():
    toys = [Toy(seed, end_bonus=bonus) for seed, bonus in enumerate((6.0, -20.0, 1.0, 3.0))]
    decodings = [
        Decoding(limit, search=Search.TENSOR2TENSOR, beam_width=width, length_penalty=0.6, every_beam=every)
        for limit, width, every in ((9, 4, False), (3, 2, True), (8, 1, False), (9, 3, True))
    ]
    alone = [decode(decoding, toy) for decoding, toy in zip(decodings, toys, strict=True)]
    assert decode_all(decodings, toys) == alone
    assert len({len(found[0].ids) for found in alone}) > 1


def test_the_search_for_one_beam_stops_before_the_search_for_all():
    class Counting(Toy):
        longest = 0

        def scores(self, prefix):
            self.longest = max(self.longest, len(prefix))
            return super().scores(prefix)

    steps = []
    for every in (False, True):
        toy = Counting(3, vocabulary=12, end_bonus=4.0)
        decode(Decoding(30, search=Search.TENSOR2TENSOR, beam_width=4, length_penalty=0.6, every_beam=every), toy)
        steps.append(toy.longest)
    assert steps[0] < steps[1] < 30
