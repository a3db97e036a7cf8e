"""Whose work is done when, on which thread, and what is left when it is done."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, current_thread

import pytest
import torch

from slipway.errors import Code, SlipwayError
from slipway.transformer.aside import aside
from slipway.transformer.torch_engine.lane import Lane, Lanes


@pytest.fixture
def lane():
    opened = Lane("cpu")
    opened.start()
    yield opened
    opened.stop()


def steps(seen, name, count, begun=None, go=None):
    """Work of `count` steps that notes each and returns its name."""
    for step in range(count):
        if step == 0 and begun is not None:
            begun.set()
            assert go.wait(10)
        seen.append((name, step))
        yield
    return name


def test_work_of_several_callers_is_done_a_step_of_each_in_turn(lane):
    seen, begun, go = [], Event(), Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lane.run, steps(seen, "a", 3, begun, go), 1)
        assert begun.wait(10)
        second = pool.submit(lane.run, steps(seen, "b", 2), 1)
        while lane._arrivals.empty():  # the second call stands in the queue
            pass
        go.set()
        assert (first.result(10), second.result(10)) == ("a", "b")
    assert seen == [("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1)]


def test_an_error_is_its_callers_alone_and_leaves_nothing_behind(lane):
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)

    def failing(_held):
        yield
        raise ValueError("this one")

    gc.disable()
    try:
        with pytest.raises(ValueError, match="this one") as raised:
            lane.run(failing(held), 1)
        del held, raised
        assert lane.run(steps([], "next", 1), 1) == "next"
        assert gone() is None  # without the collector: no circle of error, frames and work
    finally:
        gc.enable()


def test_work_computes_with_its_own_number_of_threads_without_gradients(lane):
    def asking():
        yield
        return torch.get_num_threads(), torch.is_inference_mode_enabled(), current_thread()

    before = torch.get_num_threads()
    for threads in (1, 2):
        found, inference, thread = lane.run(asking(), threads)
        assert (found, inference) == (threads, True)
        assert thread is not current_thread()
    assert torch.get_num_threads() == before


def test_a_stopped_lane_finishes_what_it_has_and_refuses_more():
    lane, begun, go = Lane("cpu"), Event(), Event()
    lane.start()
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(lane.run, steps([], "last", 3, begun, go), 1)
        assert begun.wait(10)
        lane.stop()
        go.set()
        assert last.result(10) == "last"
    with pytest.raises(SlipwayError) as refused:
        lane.run(steps([], "late", 1), 1)
    assert refused.value.code is Code.UNAVAILABLE
    lane._thread.join(10)
    assert not lane._thread.is_alive()


@pytest.mark.parametrize(
    ("cores", "threads", "distinct"),
    [(2, [2, 2, 2], 1), (2, [1, 1, 1], 2), (8, [4, 4, 2], 2), (8, [4, 2, 2], 3), (1, [1, 1], 1), (2, [8, 1], 1)],
)
def test_engines_have_lanes_of_their_own_while_all_threads_fit_on_the_cores(cores, threads, distinct):
    lanes = Lanes(lambda: cores)
    held = [lanes.acquire("cpu", count) for count in threads]
    assert len(set(map(id, held))) == distinct
    for lane in held:
        lanes.release(lane)
    for lane in held:
        lane._thread.join(10)
        assert not lane._thread.is_alive()


def test_a_device_has_one_lane_whatever_the_cores():
    lanes = Lanes(lambda: 8)
    first, second, other, cpu = (lanes.acquire(place, 1) for place in ("cuda:0", "cuda:0", "cuda:1", "cpu"))
    assert first is second
    assert len({id(first), id(other), id(cpu)}) == 3
    for lane in (first, second, other, cpu):
        lanes.release(lane)


def test_what_is_done_aside_has_a_thread_that_ends_and_raises_what_it_raised():
    thread = aside(current_thread)
    assert not thread.is_alive()
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)


def test_many_callers_each_get_their_own_result(lane):
    barrier = Barrier(8)

    def call(number):
        barrier.wait(10)
        return [lane.run(steps([], (number, turn), turn + 1), 1) for turn in range(5)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))
    assert results == [[(number, turn) for turn in range(5)] for number in range(8)]
