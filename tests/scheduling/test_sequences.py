"""Which sequence a request belongs to, and which sequences have a place: exact, in every order of events."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.sequences import NotStartedError, SequenceTable

IDLE = 100


class Model:
    """A table, and what has become of every request: `done` by id, in order."""

    def __init__(self, lanes=1, slots=2):
        self.table = SequenceTable(lanes, slots, IDLE)
        self.places = lanes * slots
        self.now = 0
        self.runs = {}  # request -> run
        self.done = []
        self.dropped = []
        self.timed_out = []
        self.numbers = defaultdict(int)

    def push(self, id_, flags="", timeout=None):
        """Push a request, named by its id and number; flags are S and E."""
        self.numbers[id_] += 1
        item = f"{id_}{self.numbers[id_]}"
        deadline = None if timeout is None else self.now + timeout
        run = self.table.push(item, id_, start="S" in flags, end="E" in flags, deadline=deadline)
        self.runs[item] = run
        return run

    def take(self, run):
        return self.table.take(run)

    def finish(self, run):
        self.done.append(run.running)
        return [each.id for each in self.table.finish(run, self.now)]

    def execute(self, run):
        """Take and finish the next request of a run; return the ids that have got a slot by that."""
        self.take(run)
        return self.finish(run)

    def cancel(self, item):
        dropped, promoted = self.table.cancel(self.runs[item], item, self.now)
        self.dropped += dropped
        return [each.id for each in promoted]

    def wait(self, time):
        self.now += time
        timed_out, promoted = self.table.expire(self.now)
        self.timed_out += timed_out
        return [each.id for each in promoted]


def test_a_sequence_keeps_its_place_until_its_end():
    model = Model()
    a = model.push("a", "S")
    assert (a.lane, a.slot) == (0, 0)
    model.execute(a)
    assert model.push("a") is a
    model.execute(a)
    assert model.push("a", "E") is a
    model.execute(a)
    assert (len(model.table), model.done) == (0, ["a1", "a2", "a3"])


def test_requests_of_a_sequence_execute_one_at_a_time():
    model = Model()
    a = model.push("a", "S")
    model.take(a)
    model.push("a")
    assert not a.is_ready
    model.finish(a)
    assert a.is_ready


@pytest.mark.parametrize("first", ["", "E"])
def test_a_sequence_begins_with_a_start(first):
    model = Model()
    with pytest.raises(NotStartedError):
        model.push("a", first)
    assert len(model.table) == 0


def test_a_request_after_the_end_is_refused_even_if_the_end_still_waits():
    model = Model()
    model.push("a", "SE")
    with pytest.raises(NotStartedError):
        model.push("a")


def test_the_lowest_slots_are_taken_first_and_spread_over_the_lanes():
    model = Model(lanes=2, slots=2)
    places = [(run.lane, run.slot) for run in (model.push(id_, "S") for id_ in "abcd")]
    assert places == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_a_sequence_without_a_place_waits_for_the_first_that_ends():
    model = Model()
    a, b = model.push("a", "SE"), model.push("b", "S")
    c, d = model.push("c", "S"), model.push("d", "SE")
    model.push("c", "E")
    assert (c.lane, d.lane, model.table.backlogged) == (None, None, 3)
    assert model.execute(a) == ["c"]
    assert (c.slot, model.table.backlogged, model.table.queued) == (0, 1, 3)
    model.execute(c)
    assert model.execute(c) == ["d"]
    model.execute(d)
    model.execute(b)
    assert model.done == ["a1", "c1", "c2", "d1", "b1"]


def test_a_start_before_the_end_goes_on_in_the_same_place():
    model = Model()
    a = model.push("a", "S")
    assert model.table.is_open("a")
    assert model.push("a", "S") is a


def test_the_next_sequence_with_an_id_waits_for_the_one_before():
    model = Model()
    first = model.push("a", "SE")
    model.take(first)
    second = model.push("a", "S")
    third = model.push("a", "E")
    assert third is second
    assert second is not first
    assert (second.lane, model.table.backlogged) == (None, 2)
    assert model.finish(first) == ["a"]
    model.execute(second)
    model.execute(second)
    assert model.done == ["a1", "a2", "a3"]


def test_one_id_does_not_keep_its_place_from_the_others():
    model = Model(slots=1)
    first = model.push("a", "SE")
    second = model.push("a", "SE")
    b = model.push("b", "SE")
    assert model.execute(first) == ["b"]
    assert model.execute(b) == ["a"]
    model.execute(second)
    assert model.done == ["a1", "b1", "a2"]


def test_a_sequence_without_requests_ends_after_a_while():
    model = Model(slots=1)
    a = model.push("a", "S")
    model.push("b", "S")
    model.execute(a)
    assert model.table.next_deadline() == IDLE
    assert model.wait(IDLE - 1) == []
    assert model.wait(1) == ["b"]
    with pytest.raises(NotStartedError):
        model.push("a")


def test_a_request_begins_the_time_again():
    model = Model()
    a = model.push("a", "S")
    model.execute(a)
    model.wait(IDLE - 1)
    model.push("a")
    assert model.table.next_deadline() is None
    model.wait(10 * IDLE)
    model.execute(a)
    assert model.table.next_deadline() == model.now + IDLE


def test_a_sequence_in_the_backlog_times_out_as_a_whole():
    model = Model(slots=1)
    a = model.push("a", "S")
    model.push("b", "S", timeout=50)
    model.push("b", timeout=20)
    model.push("c", "SE")
    assert model.table.next_deadline() == 20
    model.wait(20)
    assert model.timed_out == ["b1", "b2"]
    assert model.table.backlogged == 1
    with pytest.raises(NotStartedError):
        model.push("b")
    model.push("a", "E")
    model.execute(a)
    assert model.execute(a) == ["c"]


def test_a_sequence_with_a_place_does_not_time_out():
    model = Model(slots=1)
    a = model.push("a", "S", timeout=10)
    model.push("b", "S", timeout=30)
    model.push("a", "E")
    model.wait(10)
    model.execute(a)
    assert model.execute(a) == ["b"]
    model.wait(30)
    assert model.timed_out == []


def test_a_cancelled_request_takes_those_behind_it_with_it():
    model = Model(slots=1)
    a = model.push("a", "S")
    for _ in range(3):
        model.push("a")
    model.push("b", "SE")
    assert model.cancel("a3") == []
    assert model.dropped == ["a3", "a4"]
    with pytest.raises(NotStartedError):
        model.push("a")
    model.execute(a)
    assert model.execute(a) == ["b"]


def test_a_request_that_was_taken_can_be_cancelled_until_it_executes():
    model = Model(slots=1)
    model.take(model.push("a", "S"))
    model.push("a")
    model.push("b", "SE")
    assert model.cancel("a1") == ["b"]
    assert (model.dropped, model.table.running) == (["a1", "a2"], 0)


def test_a_request_cancelled_in_the_backlog_leaves_it():
    model = Model(slots=1)
    model.push("a", "S")
    model.push("b", "S")
    model.cancel("b1")
    assert (len(model.table), model.table.backlogged) == (1, 0)


def test_a_request_that_is_gone_cannot_be_cancelled():
    model = Model()
    a = model.push("a", "S")
    model.execute(a)
    assert model.cancel("a1") == []
    assert model.dropped == []
    model.push("a")


def test_a_request_executes_again_before_those_behind_it():
    model = Model()
    a = model.push("a", "S")
    model.push("a")
    model.take(a)
    model.table.repeat(a)
    assert (model.table.queued, model.table.running) == (2, 0)
    assert [model.execute(a), model.execute(a)] == [[], []]
    assert model.done == ["a1", "a2"]


def test_after_closing_no_sequence_waits_for_more_requests():
    model = Model(slots=1)
    a = model.push("a", "S")
    model.execute(a)
    model.push("b", "S")
    (b,) = model.table.close()
    assert b.id == "b"
    model.execute(b)
    assert (model.done, len(model.table)) == (["a1", "b1"], 0)


def test_places_that_nobody_has_used_cost_nothing():
    table = SequenceTable(8, 2**31 - 1, IDLE)
    assert table.push("x", "a", start=True, end=False).slot == 0


def test_idle_ends_leave_nothing_behind():
    model = Model(slots=1000)
    for number in range(1000):
        model.execute(model.push(number, "S", timeout=5))
    model.wait(IDLE)
    table = model.table
    assert (len(table), table._idle, table._backlog, len(table._deadlines)) == (0, {}, {}, 0)


IDS = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), IDS, st.sampled_from(["S", "", "E", "SE"]), st.sampled_from([None, 5, 50])),
        st.tuples(st.just("take"), st.integers(0, 3)),
        st.tuples(st.just("finish"), st.integers(0, 3)),
        st.tuples(st.just("repeat"), st.integers(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.sampled_from([1, 20, IDLE])),
    ),
    max_size=60,
)


class World(Model):
    """A model that takes random steps and checks after each that everything is in order."""

    def __init__(self, lanes, slots):
        super().__init__(lanes, slots)
        self.accepted = []
        self.running = []

    def step(self, verb, *arguments):
        getattr(self, f"step_{verb}")(*arguments)
        self.check()

    def step_push(self, id_, flags, timeout):
        try:
            self.push(id_, flags, timeout)
        except NotStartedError:
            return
        self.accepted.append(f"{id_}{self.numbers[id_]}")

    def step_take(self, index):
        ready = list(self.table.ready())
        if index < len(ready):
            self.take(ready[index])
            self.running.append(ready[index])

    def step_finish(self, index):
        if index < len(self.running):
            self.finish(self.running.pop(index))

    def step_repeat(self, index):
        if index < len(self.running):
            self.table.repeat(self.running.pop(index))

    def step_cancel(self, index):
        if index < len(self.accepted):
            run = self.runs[self.accepted[index]]
            self.cancel(self.accepted[index])
            if run in self.running and run.running is None:
                self.running.remove(run)

    def step_wait(self, time):
        self.wait(time)

    def check(self):
        table = self.table
        runs = [run for same in table._runs.values() for run in same]
        placed = [run for run in runs if run.lane is not None]
        assert len({(run.lane, run.slot) for run in placed}) == len(placed) <= self.places
        assert len(placed) == self.places or not table._backlog
        assert len({run.id for run in placed}) == len(placed)
        assert table.running == len(self.running) == sum(run.running is not None for run in runs)
        assert table.queued == sum(len(run.waiting) for run in placed)
        assert table.backlogged == sum(len(run.waiting) for run in runs if run.lane is None)
        assert all(run.waiting for run in runs if run.lane is None)

    def end(self):
        """Execute all that is left; nothing may stay behind."""
        for run in self.running:
            self.finish(run)
        self.running = []
        self.table.close()
        while ready := list(self.table.ready()):
            for run in ready:
                self.execute(run)
        assert self.table.is_settled()
        assert len(self.table) == 0
        assert sorted(self.done + self.dropped + self.timed_out) == sorted(self.accepted)
        for id_ in "abcd":
            numbers = [int(item[1:]) for item in self.done if item[0] == id_]
            assert numbers == sorted(numbers)


@given(STEPS, st.integers(1, 2), st.integers(1, 2))
def test_no_sequence_mixes_with_another_and_none_starves(steps, lanes, slots):
    world = World(lanes, slots)
    for step in steps:
        world.step(*step)
    world.end()


@given(st.lists(IDS, max_size=12), st.integers(1, 3))
def test_sequences_get_places_in_the_order_in_which_they_came(ids, slots):
    model = Model(slots=slots)
    begun, placed = [], []
    for id_ in dict.fromkeys(ids):
        run = model.push(id_, "SE")
        begun.append(id_)
        if run.lane is not None:
            placed.append(id_)
    while ready := next(model.table.ready(), None):
        placed += model.execute(ready)
    assert placed == begun
