"""Rows join and leave a running batch, and whatever goes wrong in one of them is its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.errors import Code, SlipwayError, unavailable
from slipway.transformer.generation import Decoding, Hypothesis, Search, SequenceRequest
from slipway.transformer.paged.running_batch import RunningBatch, Steps
from tests.transformer.paged.fake_network import FakeNetwork, alone

NO_END = 1000


@dataclass
class Heard:
    """Notes everything; rows in `stops` stop at their first token, rows in `raises` raise there."""

    stops: set[int] = field(default_factory=set)
    raises: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    tokens: dict[int, list[int]] = field(default_factory=dict)
    results: dict[int, Sequence[Hypothesis]] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        self.tokens.setdefault(row, []).append(token)
        if row in self.raises:
            raise ZeroDivisionError
        return row in self.stops

    def wanted(self, row: int) -> bool:
        return row not in self.gone

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        assert row not in self.results
        self.results[row] = hypotheses

    def failed(self, row: int, error: Exception) -> None:
        assert row not in self.results
        assert row not in self.errors
        self.errors[row] = error

    def ids(self, row: int) -> list[int]:
        return list(self.results[row][0].ids)


class Stepped:
    """A running batch that steps when the test says so."""

    def __init__(self, pages: int = 64, places: int = 8, step_tokens: int = 16) -> None:
        self.network = FakeNetwork(pages)
        self.steps: list[Steps] = []
        self.batch = RunningBatch(self.network, self.steps.append, places=places, step_tokens=step_tokens)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            while self.steps:
                try:
                    next(self.steps[0])
                    break
                except StopIteration:
                    del self.steps[0]

    def finish(self) -> None:
        while self.steps:
            self.step()
        stats = self.batch.stats()
        assert (stats.running, stats.waiting, stats.pages_used) == (0, 0, 0)


def row(prompt: Sequence[int], count: int = 5, *, priority: int = 0) -> SequenceRequest:
    return SequenceRequest(np.array(prompt), Decoding(count, end_id=NO_END), priority=priority)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(1, 12), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    ),
    st.integers(8, 30),
)
def test_rows_that_join_at_any_time_get_what_they_would_alone(arrivals: list, pages: int) -> None:
    running, heard = Stepped(pages), []
    for prompt, count, pause in arrivals:
        heard.append(Heard())
        running.batch.start([row(prompt, count)], heard[-1])
        running.step(pause)
    running.finish()
    for (prompt, count, _), own in zip(arrivals, heard, strict=True):
        assert own.ids(0) == own.tokens[0] == alone(prompt, count)


def test_stepping_ends_when_no_row_is_left_and_begins_again_with_the_next() -> None:
    running = Stepped()
    for prompt in ([1, 2], [3, 4]):
        heard = Heard()
        running.batch.start([row(prompt)], heard)
        assert len(running.steps) == 1
        running.finish()
        assert heard.ids(0) == alone(prompt, 5)


def test_a_row_whose_scores_are_not_numbers_fails_alone() -> None:
    running, heard = Stepped(), Heard()
    running.network.lost = {7}
    running.batch.start([row([1, 2]), row([7, 2]), row([3])], heard)
    running.finish()
    assert {index: heard.ids(index) for index in (0, 2)} == {0: alone([1, 2], 5), 2: alone([3], 5)}
    error = heard.errors[1]
    assert isinstance(error, SlipwayError)
    assert error.code is Code.INTERNAL
    assert "not numbers" in error.message


def test_a_step_that_fails_is_run_again_row_by_row() -> None:
    running, heard = Stepped(), Heard()
    running.network.broken = {7}
    running.batch.start([row([1, 2]), row([7, 2]), row([3])], heard)
    running.finish()
    assert {index: heard.ids(index) for index in (0, 2)} == {0: alone([1, 2], 5), 2: alone([3], 5)}
    assert str(heard.errors[1]) == "generation failed: this token is broken"


def test_a_listener_that_raises_loses_only_its_row() -> None:
    running, heard = Stepped(), Heard(raises={1})
    running.batch.start([row([1, 2]), row([4, 2]), row([3])], heard)
    running.finish()
    assert isinstance(heard.errors[1], ZeroDivisionError)
    assert heard.ids(0) == alone([1, 2], 5)
    assert heard.ids(2) == alone([3], 5)


class Panic(BaseException):
    """What a library in Rust raises where it gives up: not an Exception."""


class Panicking(Heard):
    """Panics at `at`: its row gets a token, is asked whether it is wanted, or ends."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        return self._heard("token") or super().token(row, token, log_probability, figure)

    def wanted(self, row: int) -> bool:
        return not self._heard("wanted") and super().wanted(row)

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        self._heard("done")
        super().done(row, hypotheses)

    def _heard(self, name: str) -> bool:
        if name == self._at:
            raise Panic
        return False


@pytest.mark.parametrize("at", ["token", "wanted", "done"])
def test_a_listener_that_panics_loses_only_its_row(at: str) -> None:
    running, panicking, heard = Stepped(step_tokens=4), Panicking(at), Heard()
    running.batch.start([row(range(9))], panicking)
    running.batch.start([row([3])], heard)
    running.finish()
    assert str(panicking.errors[0]) == "generation failed: Panic"
    assert heard.ids(0) == alone([3], 5)


def test_a_network_that_panics_loses_its_rows_and_serves_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(_: object) -> None:
        raise Panic

    running, heard, later = Stepped(), Heard(), Heard()
    with monkeypatch.context() as patched:
        patched.setattr(running.network, "copy_pages", panic)
        patched.setattr(running.network, "run", panic)
        running.batch.start([row([1, 2]), row([3])], heard)
        running.finish()
    running.batch.start([row([1, 2])], later)
    running.finish()
    assert sorted(heard.errors) == [0, 1]
    assert later.ids(0) == alone([1, 2], 5)


def test_a_row_that_is_stopped_at_a_token_ends_there() -> None:
    running, heard = Stepped(), Heard(stops={0})
    running.batch.start([row([1, 2]), row([3])], heard)
    running.finish()
    assert heard.ids(0) == alone([1, 2], 1)
    assert heard.ids(1) == alone([3], 5)
    assert running.batch.stats().cancelled == 1


def test_a_row_that_is_cancelled_in_the_first_piece_of_its_prompt_frees_its_pages_with_the_next_step() -> None:
    running, heard = Stepped(step_tokens=4), Heard()
    running.batch.start([row(range(30)), row([3], 9)], heard)
    running.step()
    assert running.batch.stats().pages_used == 8 + 1
    heard.gone.add(0)
    running.step()
    assert running.batch.stats().pages_used == 1
    assert heard.results[0] == ()
    running.finish()


def test_a_row_that_is_cancelled_while_it_waits_never_runs() -> None:
    running, heard = Stepped(places=1), Heard()
    running.batch.start([row([1], 4), row([2], 4)], heard)
    running.step()
    heard.gone.add(1)
    running.step()
    assert heard.results[1] == ()
    assert 1 not in heard.tokens
    running.finish()


def test_urgent_rows_run_first() -> None:
    running, heard = Stepped(places=1), Heard()
    running.batch.start([row([1], 2, priority=1), row([2], 2)], heard)
    running.finish()
    assert list(heard.results) == [1, 0]


def test_a_thousand_rows_wait_and_are_all_served() -> None:
    running, heard = Stepped(pages=200, places=64), Heard()
    running.batch.start([row([index % 50, index // 50], 2) for index in range(1000)], heard)
    running.step()
    stats = running.batch.stats()
    assert stats.running + stats.waiting == 1000
    assert stats.running <= 64
    running.finish()
    assert all(heard.ids(index) == alone([index % 50, index // 50], 2) for index in range(1000))


def test_rows_that_cannot_be_stepped_any_more_fail() -> None:
    running, heard = Stepped(), Heard()
    running.batch.start([row([1, 2])], heard)
    running.step()
    late = Heard()
    running.batch.start([row([1])], late)
    running.steps[0].close()
    for own in (heard, late):
        assert isinstance(own.errors[0], SlipwayError)
        assert own.errors[0].code is Code.UNAVAILABLE


def test_rows_for_a_closed_engine_fail() -> None:
    def closed(_: Steps) -> None:
        raise unavailable("the engine is closed")

    heard = Heard()
    RunningBatch(FakeNetwork(8), closed, places=2, step_tokens=8).start([row([1])], heard)
    assert str(heard.errors[0]) == "the engine is closed"


def test_beams_are_refused_before_any_row_runs() -> None:
    running, heard = Stepped(), Heard()
    beams = SequenceRequest(np.array([1]), Decoding(3, search=Search.HUGGING_FACE, beam_width=2))
    with pytest.raises(SlipwayError, match="beams"):
        running.batch.start([row([1]), beams], heard)
    assert not running.steps


def test_the_figures_count_what_was_done() -> None:
    running, heard = Stepped(), Heard()
    running.batch.start([row(range(9), 3)], heard)
    running.finish()
    running.batch.start([row(range(9), 3)], heard := Heard())
    running.finish()
    stats = running.batch.stats()
    assert (stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens) == (18, 8, 6)
    assert (stats.finished, stats.failed, stats.cancelled, stats.preemptions) == (2, 0, 0, 0)
    assert stats.time_to_first.count == 2
    assert stats.time_per_token.count == 4
    assert stats.time_of_row.count == 2
    assert (stats.pages_total, stats.page_size, stats.usage) == (64, 4, 0.0)
