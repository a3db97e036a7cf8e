"""Batches: every pair once, within the token count, seeded, resumable at any place, shared by processes."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.hparams import named_hparams, override
from slipway.errors import SlipwayError
from slipway.train.batches import BatchingRule, bucket_boundaries, cut_batches
from slipway.train.loader import BatchStream, Position, Share, evaluation_batches
from slipway.train.pairs import Dropped, read_pools

RULE = BatchingRule.of(override(named_hparams("transformer_tiny"), "batch_size=64,max_length=30"))


def corpus(count=200, longest=20, seed=0):
    source = np.random.default_rng(seed)
    return [
        tuple(np.append(source.integers(2, 99, source.integers(1, longest)), 1).astype(np.int32) for _ in range(2))
        for _ in range(count)
    ]


def stream(pairs, rule=RULE, seed=7, share=None):
    return BatchStream(lambda: iter(pairs), rule, seed, share or Share())


def rows_of(batch):
    return [(tuple(a[a != 0]), tuple(b[b != 0])) for a, b in zip(batch.inputs, batch.targets, strict=True)]


def epoch(source, number=0):
    found = []
    for batch in source.batches(Position(number)):
        found.append(batch)
        if batch.following.pool:
            return found
    raise AssertionError


def test_boundaries_grow_by_the_step_and_end_at_the_longest():
    assert bucket_boundaries(8, 1.1, 15) == (8, 9, 10, 11, 12, 13, 14, 15)
    assert bucket_boundaries(8, 2.0, 100) == (8, 16, 32, 64, 100)
    assert bucket_boundaries(8, 1.1, 5) == (5,)


def test_every_pair_is_in_one_batch_and_no_batch_has_more_tokens_than_allowed():
    lengths = np.random.default_rng(0).integers(1, 31, 500)
    batches = cut_batches(lengths, RULE, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert max(len(rows) * lengths[rows].max() for rows in batches) <= 64
    full = sorted(len(rows) * lengths[rows].max() for rows in batches)
    assert np.mean(full) > 40


def test_long_pair_has_a_batch_of_its_own():
    assert RULE.rows(100) == 1
    assert [rows.tolist() for rows in cut_batches(np.array([100]), RULE, np.random.default_rng(0))] == [[0]]


def test_fixed_batch_size_counts_rows():
    rule = replace(RULE, fixed=True, tokens=3)
    batches = cut_batches(np.full(10, 5), rule, np.random.default_rng(0))
    assert sorted(map(len, batches)) == [1, 3, 3, 3]


def test_epoch_has_every_pair_once_and_the_next_one_in_another_order():
    pairs = corpus()
    source = stream(pairs)
    first, second = epoch(source, 0), epoch(source, 1)
    expected = sorted((tuple(a), tuple(b)) for a, b in pairs)
    for batches in (first, second):
        assert sorted(row for batch in batches for row in rows_of(batch)) == expected
    assert [rows_of(batch) for batch in first] != [rows_of(batch) for batch in second]


def test_same_seed_gives_the_same_batches_and_another_seed_others():
    pairs = corpus()
    first, again, other = (
        [rows_of(batch) for batch in islice(stream(pairs, seed=seed).batches(), 20)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("tokens", [300, 1 << 24])
def test_stream_resumes_at_any_batch(tokens, monkeypatch):
    monkeypatch.setattr("slipway.train.loader.read_pools", lambda *given: read_pools(*given, tokens=tokens))
    pairs = corpus(60)
    whole = list(islice(stream(pairs).batches(), 60))
    assert max(batch.following.epoch for batch in whole) > 1
    for stop in (0, 1, 17, 41):
        rest = islice(stream(pairs).batches(whole[stop].following), 60 - stop - 1)
        assert [rows_of(each) for each in rest] == [rows_of(each) for each in whole[stop + 1 :]]


def test_pools_bound_what_is_read_at_once():
    pools = list(read_pools(lambda: iter(corpus()), RULE, Dropped(), tokens=100))
    assert len(pools) > 10
    assert max(len(pool.inputs.tokens) + len(pool.targets.tokens) for pool in pools) < 100 + 40


def test_processes_share_each_batch():
    pairs = corpus()
    whole = list(islice(stream(pairs).batches(), 10))
    parts = [list(islice(stream(pairs, share=Share(rank, 3)).batches(), 10)) for rank in range(3)]
    for index, batch in enumerate(whole):
        together = [row for part in parts for row in rows_of(part[index])]
        assert sorted(together) == sorted(rows_of(batch))
        assert {part[index].tokens for part in parts} == {batch.tokens}


def test_process_without_a_row_gets_a_row_of_padding():
    [batch] = islice(stream(corpus(1), share=Share(1, 2)).batches(), 1)
    assert batch.inputs.tolist() == batch.targets.tolist() == [[0]]
    assert batch.tokens > 0
    assert batch.read_tokens == 0


def test_pairs_of_unusable_length_are_left_out_and_counted():
    pairs = [(np.ones(n, np.int32), np.ones(2, np.int32)) for n in (1, 5, 31, 30)]
    source = stream(pairs, replace(RULE, shortest=3))
    assert len(epoch(source)) == 1
    assert (source.dropped.used, source.dropped.too_long, source.dropped.too_short) == (2, 1, 1)


def test_corpus_without_a_usable_pair_is_refused():
    with pytest.raises(SlipwayError, match=r"no pair to train on: 1 have more than 30 tokens \(max_length\)"):
        next(stream([(np.ones(31, np.int32), np.ones(2, np.int32))]).batches())


def test_long_sequences_are_cut_where_the_hyper_parameters_say_so():
    source = stream(corpus(), replace(RULE, cut_inputs=4, cut_targets=3))
    batch = next(source.batches())
    assert batch.inputs.shape[1] <= 4
    assert batch.targets.shape[1] <= 3


def test_evaluation_reads_every_pair_once_whatever_its_length():
    pairs = corpus(50, longest=60)
    found = [row for batch in evaluation_batches(lambda: iter(pairs), RULE, Share()) for row in rows_of(batch)]
    assert sorted(found) == sorted((tuple(a), tuple(b)) for a, b in pairs)
