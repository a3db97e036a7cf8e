"""Requests of several rows on an engine that knows rows alone: each is answered once, and none for another's sake."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from slipway.errors import Code, SlipwayError, internal, invalid
from slipway.transformer.dispatch import GenerationRequest, OpenRequests, begin, dispatch
from slipway.transformer.generation import Decoding, GenerationListener, Hypothesis, Search, SequenceRequest

TOKENS = 3
POISON = 13


def row(first: int, *, beams: int = 1) -> SequenceRequest:
    search = Search.SAMPLE if beams == 1 else Search.HUGGING_FACE
    return SequenceRequest(np.array([first]), Decoding(TOKENS, search=search, beam_width=beams))


class Counting:
    """An engine whose rows count on from their first id, all rows a step at a time; poison fails at `fails_at`."""

    description = "counting"

    def __init__(self, fails_at: int = 0) -> None:
        self.calls: list[list[int]] = []
        self._fails_at = fails_at

    def joins(self, row) -> bool:  # noqa: ARG002
        return False

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        firsts = [int(each.ids[0]) for each in rows]
        self.calls.append(firsts)
        open_rows = dict(enumerate(rows))
        for step in range(TOKENS):
            if POISON in firsts and step == self._fails_at:
                raise internal("out of memory")
            for index, each in list(open_rows.items()):
                if each.decoding.beam_width > 1:
                    stop = not listener.wanted(index)
                else:
                    stop = listener.token(index, firsts[index] + step, -1.0, -1.0)
                if stop:
                    listener.done(index, [])
                    del open_rows[index]
        for index in open_rows:
            ids = tuple(range(firsts[index], firsts[index] + TOKENS))
            listener.done(index, [Hypothesis(ids, -3.0, -3.0)])


class Noted(GenerationRequest):
    """A request that records its calls. `leaves` after this many tokens or questions; `sends` every token."""

    def __init__(
        self, *rows: SequenceRequest, leaves: int | None = None, sends: bool = False, answers: bool = True
    ) -> None:
        super().__init__(rows)
        self.heard: list[tuple[int, int]] = []
        self.outcome: list[object] = []
        self._leaves = leaves
        self._sends = sends
        self._answers = answers
        self._asked = 0

    def _gone(self) -> bool:
        self._asked += 1
        return self._leaves is not None and self._asked > self._leaves

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        self.heard.append((row, token))
        self.sent = self.sent or self._sends
        return self._gone()

    def wanted(self) -> bool:
        return not self._gone()

    def answer(self) -> None:
        if not self._answers:
            raise invalid("too long to answer")
        self.outcome.append([hypotheses[0].ids for hypotheses in self.results])

    def fail(self, error: SlipwayError) -> None:
        self.outcome.append((error.code, error.message))


def run(*requests: Noted, fails_at: int = 0) -> list[list[int]]:
    """Return the rows of every call that the engine had."""
    engine = Counting(fails_at)
    dispatch(engine, requests)
    assert all(len(request.outcome) == 1 for request in requests)
    return engine.calls


def test_rows_of_all_requests_run_together_and_find_their_own():
    one, two = Noted(row(1)), Noted(row(20), row(30))
    assert run(one, two) == [[1, 20, 30]]
    assert one.outcome == [[(1, 2, 3)]]
    assert two.outcome == [[(20, 21, 22), (30, 31, 32)]]
    assert two.heard == [(0, 20), (1, 30), (0, 21), (1, 31), (0, 22), (1, 32)]


def test_a_request_without_rows_is_answered_and_asks_nothing_of_the_engine():
    nothing = Noted()
    assert run(nothing) == []
    assert nothing.outcome == [[]]


def test_when_a_run_fails_each_request_is_tried_alone_from_its_beginning():
    good, bad = Noted(row(1), row(2)), Noted(row(POISON))
    assert run(good, bad, fails_at=1) == [[1, 2, POISON], [1, 2], [POISON]]
    assert good.outcome == [[(1, 2, 3), (2, 3, 4)]]
    assert bad.outcome == [(Code.INTERNAL, "out of memory")]


def test_a_lone_request_gets_the_error_at_once():
    bad, nothing = Noted(row(POISON)), Noted()
    assert run(nothing, bad) == [[POISON]]
    assert bad.outcome == [(Code.INTERNAL, "out of memory")]


def test_a_request_that_has_sent_part_of_its_answer_is_not_run_again():
    streamed, whole, bad = Noted(row(1), sends=True), Noted(row(2)), Noted(row(POISON))
    assert run(streamed, whole, bad, fails_at=1) == [[1, 2, POISON], [2], [POISON]]
    assert streamed.outcome == [(Code.INTERNAL, "out of memory")]
    assert whole.outcome == [[(2, 3, 4)]]


class Broken(Counting):
    """Raises what no engine should raise, where the poison is."""

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        if any(int(each.ids[0]) == POISON for each in rows):
            raise RuntimeError("/a/path/of/the/server")
        super().generate(rows, listener)


def test_an_exception_nobody_foresaw_fails_its_own_request_and_shows_only_its_type():
    good, bad = Noted(row(1)), Noted(row(POISON))
    dispatch(Broken(), [good, bad])
    assert good.outcome == [[(1, 2, 3)]]
    assert bad.outcome == [(Code.INTERNAL, "generation failed: RuntimeError")]


class Unanswerable(Noted):
    """A request whose answer raises what nobody foresaw."""

    def answer(self) -> None:
        raise ZeroDivisionError


def test_an_answer_that_raises_what_nobody_foresaw_fails_its_own_request():
    bad, good = Unanswerable(row(1)), Noted(row(2))
    assert run(bad, good) == [[1, 2]]
    assert bad.outcome == [(Code.INTERNAL, "generation failed: ZeroDivisionError")]
    assert good.outcome == [[(2, 3, 4)]]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_client_that_is_gone_stops_its_rows_and_no_other(beams):
    gone, other = Noted(row(1, beams=beams), row(5, beams=beams), leaves=1), Noted(row(2))
    run(gone, other)
    assert gone.outcome == [(Code.CANCELLED, "")]
    assert len(gone.heard) <= 2
    assert other.outcome == [[(2, 3, 4)]]


def test_an_answer_that_cannot_be_made_fails_its_own_request():
    bad, good = Noted(row(1), answers=False), Noted(row(2))
    assert run(bad, good) == [[1, 2]]
    assert bad.outcome == [(Code.INVALID_ARG, "too long to answer")]
    assert good.outcome == [[(2, 3, 4)]]


class Full(Counting):
    """An engine that has no memory for a running batch, and says so as its library does."""

    def joins(self, row) -> bool:  # noqa: ARG002
        return True

    def start(self, rows, listener):  # noqa: ARG002
        raise RuntimeError("not enough memory: you tried to allocate 4294967296 bytes")


def test_requests_that_cannot_join_because_of_what_nobody_foresaw_are_answered_and_not_waited_for():
    one, two, open_requests = Noted(row(1)), Noted(row(2)), OpenRequests()
    begin(Full(), [one, two], open_requests)
    assert one.outcome == two.outcome == [(Code.INTERNAL, "generation failed: RuntimeError")]
    open_requests.wait()
