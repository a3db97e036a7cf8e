"""The running batch: rows of all callers, computed together on one network, each by its own decoding.

Any thread puts rows in; one thread steps. Rows join and leave between two steps. A listener that raises, a row whose
scores are not numbers, or a step that fails harms no row but its own. Knows no tensor library but torch, and that only
through `decoding/`; the thread that steps belongs to the engine.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from itertools import accumulate, count
from threading import Lock
from time import monotonic, perf_counter_ns
from typing import Final

import numpy as np
import torch

from slipway.core.pace import never_waiting
from slipway.errors import SlipwayError, internal, unavailable
from slipway.transformer.decoding.single_rows import Choice, choose
from slipway.transformer.generation import SequenceRequest, StartedListener
from slipway.transformer.paged.assembly import assemble
from slipway.transformer.paged.pool import PagePool
from slipway.transformer.paged.running_row import RunningRow, most_tokens
from slipway.transformer.paged.scheduler import PageScheduler, Piece, StepPlan
from slipway.transformer.paged.stats import RunningCounters, RunningStats
from slipway.transformer.paged.step import PagedNetwork
from slipway.transformer.paged.step_budget import StepBudget

_LOG: Final = logging.getLogger("slipway.transformer")
_CAUTION: Final = 1.5  # a guess must gain this much more than it costs, because both are only estimates
_ASKED: Final = 16  # waiting rows whose clients are asked at each step whether they are still there
Steps = Generator[None, None, None]
StartSteps = Callable[[Steps], None]
"""Iterates over the steps on the thread that computes, and returns at once."""


class RunningBatch:
    """The rows that a network computes. `start_steps` is called whenever there is work and nobody steps."""

    def __init__(
        self,
        network: PagedNetwork,
        start_steps: StartSteps,
        *,
        places: int,
        step_tokens: int,
        shared_length: int | None = None,
        most_drafted: int = 0,
    ) -> None:
        """Run up to `places` rows at once, with up to `step_tokens` tokens of prompts in a step. Rows that may grow
        beyond `shared_length` share no pages: what is in theirs depends on their length. Up to `most_drafted` tokens
        of a row are guessed and computed with its newest one."""
        self._network = network
        self._start_steps = start_steps
        self._shared_length = shared_length
        self._most_drafted = most_drafted
        self._scheduler = PageScheduler(PagePool(network.page_count, network.page_size), places=places)
        self._budget = StepBudget(step_tokens)
        self._counters = RunningCounters()
        self._rows: dict[int, RunningRow] = {}  # of the stepping thread, by serial number
        self._serials = count()
        self._lock = Lock()
        self._arrivals: deque[RunningRow] = deque()
        self._stepping = False

    def refusal(self, row: SequenceRequest) -> str:
        """Return why a row can never run, "" if it can."""
        return self._scheduler.refusal(most_tokens(row))

    def start(self, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:
        """Put rows in and return; `listener` learns of each row's tokens and its end, on the thread that steps.

        Raise `SlipwayError` for rows that cannot run; then none of them does.
        """
        arrived = monotonic()
        opened = [RunningRow(index, row, listener, arrived) for index, row in enumerate(rows)]
        with self._lock:
            self._arrivals.extend(opened)
            begins, self._stepping = not self._stepping, True
        if begins:
            self._begin()

    def stats(self) -> RunningStats:
        """Return the figures of this moment; from any thread."""
        scheduler = self._scheduler
        counters = self._counters
        counters.preemptions, counters.cached_tokens = scheduler.preemptions, scheduler.cached_tokens
        return counters.snapshot(
            running=scheduler.running,
            waiting=scheduler.waiting + len(self._arrivals),
            pages_used=scheduler.pool.held,
            pages_total=scheduler.pool.count,
            page_size=scheduler.pool.page_size,
        )

    def _begin(self) -> None:
        try:
            self._start_steps(self._steps())
        except SlipwayError as error:  # the engine is closed
            self._stop(error)

    def _steps(self) -> Steps:
        """Step until no row is left. Closing the generator fails the rows that are."""
        try:
            while self._take_in():
                try:
                    with never_waiting():  # for the receivers of one row
                        self._step()
                except BaseException as error:  # noqa: BLE001  the rows must end, and later ones run
                    _LOG.exception("a step of the running batch failed")
                    self._fail_rows(internal(f"generation failed: {type(error).__name__}"))
                yield
        except GeneratorExit:
            self._stop(unavailable("the server is stopping"))
            raise

    def _take_in(self) -> bool:
        """Let the rows that have arrived wait for their turn; return False, and stop stepping, if there is none."""
        with self._lock:
            arrived = list(self._arrivals)
            self._arrivals.clear()
            if not (arrived or self._rows):
                self._stepping = False
                return False
        for row in arrived:
            serial = next(self._serials)
            self._rows[serial] = row
            self._scheduler.add(row.wait(serial, now=self._scheduler.now, cacheable=self._keeps_keys(row)))
        return True

    def _step(self) -> None:
        self._drop_unwanted()
        began = perf_counter_ns()
        plan = self._scheduler.plan(self._budget.tokens(self._scheduler.generating))
        if not plan.pieces:
            return
        if plan.copies:
            self._network.copy_pages(plan.copies)
        drafted = self._draft(plan)
        self._compute(plan.pieces)
        self._counters.steps += 1
        self._counters.draft_tokens += drafted
        self._budget.observe(plan.generating, plan.prompt_tokens + drafted, perf_counter_ns() - began)

    def _draft(self, plan: StepPlan) -> int:
        """Add drafts to the rows that generate, as far as they pay and find room; return how many tokens they have."""
        cost = _CAUTION * self._budget.token_cost * plan.generating  # what one row gains, all of them wait for
        drafted = 0
        for place, piece in enumerate(plan.pieces[: plan.generating]):
            sequence = piece.sequence
            row = self._rows[sequence.serial]
            draft = row.draft(cost, self._most_drafted) if self._most_drafted and self._keeps_keys(row) else []
            if draft and (room := self._scheduler.room(sequence, len(draft))):
                plan.pieces[place] = replace(piece, draft=tuple(draft[:room]))
                drafted += min(room, len(draft))
        return drafted

    def _keeps_keys(self, row: RunningRow) -> bool:
        """Return whether the keys of a row's tokens do not depend on its length."""
        return self._shared_length is None or most_tokens(row.request) <= self._shared_length

    def _compute(self, pieces: Sequence[Piece]) -> None:
        """Compute pieces together; if that fails, each alone and without its draft: no row fails because of another, or
        of what it would not have generated."""
        try:
            scores = self._network.run(assemble(pieces, self._network.page_size))
        except BaseException as error:  # noqa: BLE001  a network's library may raise anything
            if len(pieces) == 1 and not pieces[0].draft:
                self._end(pieces[0].sequence.serial, _failure(error))
                return
            _LOG.warning("a step of %d rows failed, and is run again row by row: %s", len(pieces), error)
            for piece in pieces:
                self._compute([replace(piece, draft=())])
            return
        self._scheduler.advance(pieces)
        self._continue([piece for piece in pieces if piece.scored], scores)

    def _continue(self, scored: Sequence[Piece], scores: np.ndarray) -> None:
        """Let the rows whose scores are there choose their next tokens: one more while it is that of the draft."""
        firsts = accumulate((1 + len(piece.draft) for piece in scored), initial=0)
        choosing = list(zip(scored, firsts, strict=False))
        now = monotonic()
        position = 0
        while choosing:
            rows = [self._rows[piece.sequence.serial] for piece, _ in choosing]
            own = scores if len(choosing) == len(scores) else scores[[first + position for _, first in choosing]]
            choices = choose([row.decoding for row in rows], torch.from_numpy(own))
            going_on = []
            for row, choice, (piece, first) in zip(rows, choices, choosing, strict=True):
                self._count(row, choice, now)
                self._counters.accepted_tokens += bool(position) and not isinstance(choice, Exception)
                if not isinstance(choice, int):
                    self._end(row.sequence.serial, choice)
                    continue
                row.take(choice)
                if position:
                    self._scheduler.accept(row.sequence)
                if piece.draft[position : position + 1] == (choice,):
                    going_on.append((piece, first))
            choosing = going_on
            position += 1

    def _count(self, row: RunningRow, choice: Choice, now: float) -> None:
        counters = self._counters
        if isinstance(choice, Exception):
            return
        counters.generated_tokens += 1
        if not row.sequence.begun:
            counters.prompt_tokens += row.sequence.prompt
            counters.time_to_first.observe(now - row.arrived)
        else:
            counters.time_per_token.observe(now - row.latest)
        row.latest = now
        if row.gone:
            counters.cancelled += 1
        elif choice is None:
            counters.finished += 1
            counters.time_of_row.observe(now - row.arrived)

    def _end(self, serial: int, error: BaseException | None = None) -> None:
        """Free what a row has; report the error, if there is one, or the result."""
        row = self._rows.pop(serial)
        self._scheduler.remove(row.sequence, failed=error is not None)
        if error is None:
            row.report()
        else:
            self._counters.failed += 1
            row.fail(error)

    def _drop_unwanted(self) -> None:
        """Drop rows without a new token whose clients are gone; the others learn it with their next token."""
        for sequence in self._scheduler.silent(_ASKED):
            row = self._rows[sequence.serial]
            try:
                wanted = row.wanted(row.index)
            except BaseException as error:  # noqa: BLE001  a listener may raise anything
                self._end(sequence.serial, error)
                continue
            if not wanted:
                self._counters.cancelled += 1
                self._end(sequence.serial)

    def _fail_rows(self, error: SlipwayError) -> None:
        for serial in list(self._rows):
            self._end(serial, error.without_frames())

    def _stop(self, error: SlipwayError) -> None:
        """Fail all rows: nobody steps any more."""
        with self._lock:
            arrived = list(self._arrivals)
            self._arrivals.clear()
            self._stepping = False
        self._fail_rows(error)
        for row in arrived:
            row.fail(error.without_frames())


def _failure(error: BaseException) -> SlipwayError:
    if isinstance(error, SlipwayError):
        return error.without_frames()
    return internal(f"generation failed: {error}")
