"""The scheduler computes every row as if it were alone, whatever joins, leaves, waits or is preempted."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.transformer.paged.assembly import assemble
from slipway.transformer.paged.pool import PagePool
from slipway.transformer.paged.scheduler import PageScheduler, StepPlan
from slipway.transformer.paged.sequence import PATIENCE, PagedSequence
from tests.transformer.paged.fake_network import FakeNetwork, alone

SIZE = 4


@dataclass
class Simulation:
    """Sequences on a scheduler and a network of pages."""

    pages: int = 16
    places: int = 8
    scheduler: PageScheduler = field(init=False)
    network: FakeNetwork = field(init=False)
    open: dict[int, tuple[PagedSequence, int]] = field(default_factory=dict)
    results: dict[int, list[int]] = field(default_factory=dict)
    first_steps: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scheduler = PageScheduler(PagePool(self.pages, SIZE), places=self.places)
        self.network = FakeNetwork(self.pages, SIZE)
        self._serial = 0

    def add(self, prompt: list[int], count: int, *, priority: int = 0) -> PagedSequence:
        assert not self.scheduler.refusal(len(prompt) + count - 1)
        sequence = PagedSequence(self._serial, prompt, now=self.scheduler.now, priority=priority)
        self.open[self._serial] = sequence, count
        self._serial += 1
        self.scheduler.add(sequence)
        return sequence

    def cancel(self, serial: int) -> None:
        sequence, _ = self.open.pop(serial)
        self.scheduler.remove(sequence)
        assert not sequence.pages

    def step(self, budget: int) -> StepPlan:
        plan = self.scheduler.plan(budget)
        if not plan.pieces:
            assert not self.open, "nothing is computed although rows wait"
            return plan
        assert plan.prompt_tokens <= budget
        self.check(plan)
        self.network.copy_pages(plan.copies)
        chosen = iter(self.network.run(assemble(plan.pieces, SIZE)).argmax(axis=-1).tolist())
        self.scheduler.advance(plan.pieces)
        for piece in plan.pieces:
            if piece.scored:
                self._append(piece.sequence, next(chosen))
        return plan

    def _append(self, sequence: PagedSequence, token: int) -> None:
        _, count = self.open[sequence.serial]
        sequence.tokens.append(token)
        self.first_steps.setdefault(sequence.serial, self.scheduler.now)
        if len(sequence.tokens) - sequence.prompt == count:
            self.results[sequence.serial] = sequence.tokens[sequence.prompt :]
            self.cancel(sequence.serial)

    def check(self, plan: StepPlan) -> None:
        """Check that no page is lost, and that what is written belongs to one sequence."""
        pool = self.scheduler.pool
        holders: dict[int, int] = {}
        for sequence, _ in self.open.values():
            for page in sequence.pages:
                holders[page] = holders.get(page, 0) + 1
        assert len(holders) == pool.held
        written = [
            piece.sequence.pages[place]
            for piece in plan.pieces
            for place in range(piece.begin // SIZE, -(-piece.end // SIZE))
        ]
        written += [target for _, target in plan.copies]
        assert all(holders[page] == 1 for page in written)

    def finish(self, budget: int = 3) -> None:
        for _ in range(10_000):
            if not self.open:
                break
            self.step(budget)
        assert not self.open
        assert self.scheduler.pool.available == self.pages


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=24)  # two tokens, so that beginnings are often equal
arrivals = st.tuples(st.just("add"), prompts, st.integers(1, 20), st.integers(0, 2))
cancels = st.tuples(st.just("cancel"), st.integers(0, 30))
steps = st.tuples(st.just("step"), st.integers(1, 12))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(arrivals, arrivals, cancels, steps, steps), max_size=40),
    st.integers(11, 30),  # pages: the longest row needs 11
    st.integers(1, 6),
)
def test_rows_generate_what_they_would_alone_and_no_page_is_lost(events: list, pages: int, places: int) -> None:
    simulation = Simulation(pages, places)
    asked: dict[int, tuple[list[int], int]] = {}
    for event in events:
        if event[0] == "add":
            _, prompt, count, priority = event
            sequence = simulation.add(prompt, count, priority=priority)
            asked[sequence.serial] = prompt, count
        elif event[0] == "cancel" and event[1] in simulation.open:
            simulation.cancel(event[1])
            del asked[event[1]]
        elif event[0] == "step":
            simulation.step(event[1])
    simulation.finish()
    assert simulation.results == {serial: alone(prompt, count) for serial, (prompt, count) in asked.items()}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(11, 20))
def test_a_row_of_low_priority_runs_although_more_urgent_ones_keep_coming(priority: int, pages: int) -> None:
    simulation = Simulation(pages, places=2)
    for _ in range(3):
        simulation.add([7] * 8, 8)
    patient = simulation.add([8] * 8, 8, priority=priority)
    limit = (priority + 1) * PATIENCE + 200
    while patient.serial in simulation.open:
        simulation.step(8)
        if len(simulation.open) < 6:
            simulation.add([simulation.scheduler.now % 40] * 8, 8)
        assert simulation.scheduler.now < limit
    assert simulation.results[patient.serial] == alone([8] * 8, 8)


def test_rows_begin_in_order_of_priority_and_then_of_arrival() -> None:
    simulation = Simulation(places=1)
    for priority in (1, 0, 1, 0):
        simulation.add([priority, priority], 3, priority=priority)
    simulation.finish()
    assert sorted(simulation.first_steps, key=simulation.first_steps.__getitem__) == [1, 3, 0, 2]


def test_a_long_prompt_is_computed_in_pieces_between_the_tokens_of_the_others() -> None:
    simulation = Simulation(pages=40)
    simulation.add([1, 2, 3], 30)
    simulation.step(8)
    simulation.add(list(range(40)), 2)
    while 1 not in simulation.first_steps:
        plan = simulation.step(8)
        assert plan.generating >= 1
    assert simulation.network.steps == [3, *[1 + 8] * 5, *simulation.network.steps[6:]]


def test_the_last_row_gives_its_pages_back_when_none_is_left_and_is_computed_again() -> None:
    simulation = Simulation(pages=8)
    simulation.add([1] * 10, 14)
    simulation.add([2] * 10, 14)
    simulation.finish()
    assert simulation.scheduler.preemptions > 0
    assert simulation.results == {0: alone([1] * 10, 14), 1: alone([2] * 10, 14)}


def test_a_row_that_cannot_ever_fit_is_refused_with_both_numbers() -> None:
    scheduler = PageScheduler(PagePool(8, SIZE), places=4)
    assert scheduler.refusal(32) == ""
    refusal = scheduler.refusal(33)
    assert "needs 33 tokens" in refusal
    assert "the pool has 32" in refusal


def test_a_prompt_that_was_computed_before_is_found_up_to_its_last_token() -> None:
    simulation = Simulation()
    prompt = list(range(14))
    simulation.add(prompt, 2)
    simulation.finish()
    simulation.network.steps.clear()
    simulation.add(prompt, 2)
    simulation.finish()
    assert simulation.network.steps == [2, 1]  # three pages of 4 are found; the rest of 14 is computed in one step
    assert simulation.scheduler.cached_tokens == 12
    assert simulation.results[0] == simulation.results[1]


def test_samples_of_one_prompt_compute_it_once_and_copy_the_page_that_is_not_full() -> None:
    simulation = Simulation()
    prompt = list(range(15))
    for _ in range(3):
        simulation.add(prompt, 4)
    plans = [simulation.step(100) for _ in range(2)]
    assert simulation.network.steps == [15, 1 + 1 + 1]
    assert len(plans[1].copies) == 2
    simulation.finish()
    assert set(map(tuple, simulation.results.values())) == {tuple(alone(prompt, 4))}


def test_rows_that_may_not_share_find_nothing() -> None:
    scheduler = PageScheduler(PagePool(16, SIZE), places=4)
    network = FakeNetwork(16, SIZE)
    for serial in range(2):
        scheduler.add(PagedSequence(serial, range(9), cacheable=serial == 0))
        plan = scheduler.plan(100)
        network.run(assemble(plan.pieces, SIZE))
        scheduler.advance(plan.pieces)
        scheduler.remove(plan.pieces[0].sequence)
    assert network.steps == [9, 9]


def test_removing_a_row_frees_its_pages_at_once() -> None:
    simulation = Simulation()
    simulation.add(list(range(20)), 4)
    simulation.step(4)  # in the middle of its prompt
    assert simulation.scheduler.pool.held == 5
    simulation.cancel(0)
    assert simulation.scheduler.pool.held == 0
