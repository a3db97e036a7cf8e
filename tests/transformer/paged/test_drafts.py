"""Rows that guess how they go on generate what they would without, in fewer steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.transformer.generation import Decoding, SequenceRequest, TransformersRules
from slipway.transformer.paged.running_batch import RunningBatch
from slipway.transformer.paged.step_budget import StepBudget
from tests.transformer.paged.fake_network import FakeNetwork, alone
from tests.transformer.paged.test_running_batch import NO_END, Heard, Stepped

MEMORY = 1  # the text of the network repeats itself soon


class Drafting(Stepped):
    """A running batch whose tokens cost next to nothing, or all of a step."""

    def __init__(self, pages: int = 64, places: int = 8, *, most: int = 8, free: bool = True) -> None:
        super().__init__(pages, places)
        self.network = FakeNetwork(pages, memory=MEMORY)
        self.batch = RunningBatch(self.network, self.steps.append, places=places, step_tokens=16, most_drafted=most)
        self.batch._budget = Priced(0.001 if free else 1.0)


class Priced(StepBudget):
    """A budget in which one more token makes a step longer by a given share."""

    def __init__(self, cost: float) -> None:
        super().__init__(16)
        self._cost = cost

    @property
    def token_cost(self) -> float:
        return self._cost


def row(prompt: Sequence[int], count: int, **settings) -> SequenceRequest:
    return SequenceRequest(np.array(prompt), Decoding(count, end_id=NO_END, **settings))


def generated(batch: Stepped, rows: Sequence[SequenceRequest]) -> Heard:
    heard = Heard()
    batch.batch.start(rows, heard)
    batch.finish()
    return heard


def test_a_repeating_text_takes_fewer_steps_and_is_the_same():
    batch = Drafting()
    heard = generated(batch, [row([3, 1], 120)])
    assert heard.ids(0) == alone([3, 1], 120, MEMORY)
    assert heard.tokens[0] == heard.ids(0)
    stats = batch.batch.stats()
    assert stats.steps < 60
    assert stats.generated_tokens == 120
    assert stats.accepted_tokens == 120 - stats.steps
    assert stats.accepted_tokens <= stats.draft_tokens


@pytest.mark.parametrize("settings", [{"most": 0}, {"free": False}])
def test_nothing_is_guessed_where_it_does_not_pay(settings):
    batch = Drafting(**settings)
    assert generated(batch, [row([3, 1], 60)]).ids(0) == alone([3, 1], 60, MEMORY)
    assert (batch.batch.stats().draft_tokens, batch.batch.stats().steps) == (0, 60)


@given(
    rows=st.lists(
        st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(1, 30)), min_size=1, max_size=6
    ),
    pages=st.integers(10, 40),
    most=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_rows_in_any_pool_generate_what_they_do_alone(rows, pages, most):
    heard = generated(Drafting(pages, 4, most=most), [row(prompt, count) for prompt, count in rows])
    assert not heard.errors
    for index, (prompt, count) in enumerate(rows):
        assert heard.ids(index) == alone(prompt, count, MEMORY)


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(60, end_id=NO_END, top_k=4, seed=3, temperature=4.0),
        Decoding(60, end_id=NO_END, top_p=0.99, seed=5, temperature=6.0),
        Decoding(60, end_id=NO_END, rules=TransformersRules(no_repeat_ngram_size=4)),
        Decoding(60, end_id=NO_END, rules=TransformersRules(frequency_penalty=3.0)),
        Decoding(60, end_id=NO_END, repetition_penalty=1.1),
        Decoding(60, end_id=7),
        Decoding(60, end_id=NO_END, stop_words=((2, 40),)),
        Decoding(60, end_id=NO_END, log_probabilities=True),
    ],
)
@pytest.mark.parametrize("prompt", [[3, 1], [5]])
def test_every_decoding_has_the_same_tokens_and_log_probabilities_with_and_without(decoding, prompt):
    results = []
    for most in (0, 8):
        heard = generated(Drafting(most=most), [SequenceRequest(np.array(prompt), decoding)])
        results.append(heard.results[0][0])
        assert heard.tokens[0] == list(results[-1].ids)
    assert results[0] == results[1]


def test_a_row_does_not_fail_because_of_its_draft():
    batch = Drafting()
    first, second = alone([1], 2, MEMORY)
    wrong = (second + 1) % 50
    heard = Heard()
    batch.batch.start([row([3, 1, first, wrong, 3, 1], 12)], heard)  # `wrong` is guessed after 3, 1, `first`
    batch.step()
    batch.network.broken.add(wrong)
    tokens = len(batch.network.steps)
    batch.step()
    assert batch.network.steps[tokens:] == [9, 1]  # with a draft of eight tokens, and again without
    batch.network.broken.clear()
    batch.finish()
    assert heard.ids(0) == alone([1], 12, MEMORY)


def test_a_client_that_leaves_gets_no_more_of_a_draft():
    batch = Drafting()
    heard = Heard()
    counted: Callable[..., bool] = heard.token
    seen: list[int] = []

    def token(index: int, token: int, log_probability: float, figure: float) -> bool:
        seen.append(token)
        counted(index, token, log_probability, figure)
        return len(seen) == 50

    heard.token = token
    batch.batch.start([row([3, 1], 200)], heard)
    batch.finish()
    assert seen == alone([3, 1], 50, MEMORY)


def test_pages_filled_by_accepted_drafts_are_shared_with_later_prompts():
    batch = Drafting()
    text = alone([3, 1], 60, MEMORY)
    generated(batch, [row([3, 1], 60)])
    before = batch.batch.stats().cached_tokens
    assert generated(batch, [row([3, 1, *text[:50]], 5)]).ids(0) == alone([3, 1, *text[:50]], 5, MEMORY)
    assert batch.batch.stats().cached_tokens - before >= 40


def test_the_price_of_a_token_is_measured_from_steps():
    budget = StepBudget(16)
    assert budget.token_cost == 1.0
    budget.observe(1, 0, 1000)
    budget.observe(1, 4, 1200)
    assert budget.token_cost == pytest.approx(0.05)
    for _ in range(20):
        budget.observe(1, 4, 1200)
    assert budget.token_cost == 1.0  # a step without drafts is due
    budget.observe(1, 0, 1000)
    assert budget.token_cost == pytest.approx(0.05)
