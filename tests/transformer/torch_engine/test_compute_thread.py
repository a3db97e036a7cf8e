"""When and on which thread work is done, and that nothing is left afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Barrier, Event, current_thread

import pytest
import torch

from slipway.errors import Code, SlipwayError
from slipway.transformer.temporary_thread import run_in_temporary_thread
from slipway.transformer.torch_engine import compute_thread as compute_thread_module
from slipway.transformer.torch_engine.compute_thread import ComputeThread, ComputeThreads
from tests.kits.signals import interruptible

HANGS = 120  # seconds after which a thread will never come


@pytest.fixture
def compute_thread():
    opened = ComputeThread("cpu")
    opened.start()
    yield opened
    opened.stop()


def steps(seen, name, count, begun=None, go=None):
    """Work of `count` steps that notes each and returns its name."""
    for step in range(count):
        if step == 0 and begun is not None:
            begun.set()
            assert go.wait(HANGS)
        seen.append((name, step))
        yield
    return name


def test_work_of_several_callers_is_done_a_step_of_each_in_turn(compute_thread):
    seen, begun, go = [], Event(), Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(compute_thread.run, steps(seen, "a", 3, begun, go), 1)
        assert begun.wait(HANGS)
        second = pool.submit(compute_thread.run, steps(seen, "b", 2), 1)
        while compute_thread._arrivals.empty():  # the second call is in the queue
            pass
        go.set()
        assert (first.result(HANGS), second.result(HANGS)) == ("a", "b")
    assert seen == [("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1)]


class Held:
    """An object that work holds."""


def fail_and_free(call, words, then=lambda: None):
    """Make `call` fail while it holds an object, which must be freed afterwards without a garbage collection."""
    held = Held()
    gone = weakref.ref(held)
    gc.disable()
    try:
        with pytest.raises(ValueError, match=words) as raised:
            call(held)
        del held, raised
        then()
        assert gone() is None  # no circle of error, frames and work
    finally:
        gc.enable()


def test_an_error_is_its_callers_alone_and_leaves_nothing_behind(compute_thread):
    def failing(_held):
        yield
        raise ValueError("this one")

    def another():
        assert compute_thread.run(steps([], "next", 1), 1) == "next"

    fail_and_free(lambda held: compute_thread.run(failing(held), 1), "this one", another)


def test_work_computes_with_its_own_number_of_threads_without_gradients(compute_thread):
    def asking():
        yield
        return torch.get_num_threads(), torch.is_inference_mode_enabled(), current_thread()

    before = torch.get_num_threads()
    for threads in (1, 2):
        found, inference, thread = compute_thread.run(asking(), threads)
        assert (found, inference) == (threads, True)
        assert thread is not current_thread()
    assert torch.get_num_threads() == before


def test_a_stopped_compute_thread_finishes_what_it_has_and_refuses_more():
    compute_thread, begun, go = ComputeThread("cpu"), Event(), Event()
    compute_thread.start()
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(compute_thread.run, steps([], "last", 3, begun, go), 1)
        assert begun.wait(HANGS)
        compute_thread.stop()
        go.set()
        assert last.result(HANGS) == "last"
    with pytest.raises(SlipwayError) as refused:
        compute_thread.run(steps([], "late", 1), 1)
    assert refused.value.code is Code.UNAVAILABLE
    compute_thread._thread.join(HANGS)
    assert not compute_thread._thread.is_alive()


@pytest.mark.parametrize(
    ("cores", "threads", "distinct"),
    [(2, [2, 2, 2], 1), (2, [1, 1, 1], 2), (8, [4, 4, 2], 2), (8, [4, 2, 2], 3), (1, [1, 1], 1), (2, [8, 1], 1)],
)
def test_engines_have_compute_threads_of_their_own_while_all_threads_fit_on_the_cores(cores, threads, distinct):
    compute_threads = ComputeThreads(lambda: cores)
    held = [compute_threads.acquire("cpu", count) for count in threads]
    assert len({id(compute_thread) for compute_thread, _ in held}) == distinct
    for compute_thread, granted in held:
        compute_threads.release(compute_thread, granted)
    for compute_thread, _ in held:
        compute_thread._thread.join(HANGS)
        assert not compute_thread._thread.is_alive()


@pytest.mark.parametrize(
    ("cores", "threads", "granted"),
    [
        (2, [2, 2], [2, 2]),
        (2, [1, 1, 2], [1, 1, 2]),
        (8, [4, 4, 8], [4, 4, 5]),
        (1, [4, 4], [4, 4]),
        (4, [2, 8], [2, 4]),
    ],
)
def test_a_shared_team_grows_no_further_than_libgomp_lets_it_spin(cores, threads, granted):
    compute_threads = ComputeThreads(lambda: cores)
    held = [compute_threads.acquire("cpu", count) for count in threads]
    assert [count for _, count in held] == granted
    for compute_thread, count in held:
        compute_threads.release(compute_thread, count)


def test_a_compute_thread_that_an_engine_leaves_gives_its_threads_back():
    compute_threads = ComputeThreads(lambda: 8)
    (first, most), (second, one) = compute_threads.acquire("cpu", 8), compute_threads.acquire("cpu", 1)
    assert first is second
    compute_threads.release(first, most)
    third, four = compute_threads.acquire("cpu", 4)
    assert third is not first
    compute_threads.release(second, one)
    compute_threads.release(third, four)


def test_a_device_has_one_compute_thread_for_any_number_of_cores():
    compute_threads = ComputeThreads(lambda: 8)
    first, second, other, cpu = (
        compute_threads.acquire(place, 1)[0] for place in ("cuda:0", "cuda:0", "cuda:1", "cpu")
    )
    assert first is second
    assert len({id(first), id(other), id(cpu)}) == 3
    for compute_thread in (first, second, other, cpu):
        compute_threads.release(compute_thread, 1)


def test_what_is_done_aside_has_a_thread_that_ends_and_raises_what_it_raised():
    thread = run_in_temporary_thread(current_thread)
    assert not thread.is_alive()
    with pytest.raises(ZeroDivisionError):
        run_in_temporary_thread(lambda: 1 // 0)


def test_what_fails_aside_leaves_nothing_behind():
    def fail(_held):
        raise ValueError("run_in_temporary_thread")

    fail_and_free(lambda held: run_in_temporary_thread(partial(fail, held)), "run_in_temporary_thread")


def test_an_interrupted_caller_leaves_the_compute_thread_to_the_others(compute_thread, monkeypatch):
    begun, go, seen = Event(), Event(), []

    class Interrupted(Future):
        def result(self, timeout=None):  # noqa: ARG002
            assert begun.wait(HANGS)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compute_thread_module, "Future", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            compute_thread.run(steps(seen, "gone", 50, begun, go), 1)
    go.set()
    assert compute_thread.run(steps([], "next", 2), 1) == "next"
    assert len(seen) < 50  # dropped, since no caller waits


def test_an_abandoned_compute_thread_ends_at_once_and_fails_waiting_callers():
    compute_thread, begun, go = ComputeThread("cpu"), Event(), Event()
    compute_thread.start()
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(compute_thread.run, steps([], "long", 1000, begun, go), 1)
        assert begun.wait(HANGS)
        ending = pool.submit(compute_thread.abandon)
        while not compute_thread._stopped:
            pass
        go.set()
        ending.result(HANGS)
        with pytest.raises(SlipwayError, match="the server is stopping"):
            waiting.result(HANGS)


def test_work_that_would_wait_for_itself_is_refused(compute_thread):
    def asking():
        compute_thread.run(steps([], "inner", 1), 1)
        yield

    with pytest.raises(SlipwayError, match="would wait for itself"):
        compute_thread.run(asking(), 1)


@pytest.mark.parametrize("where", ["thread.run(work(20), 1)", "run_in_temporary_thread(lambda: list(work(20)))"])
def test_a_process_that_is_interrupted_while_torch_computes_ends_without_an_abort(where):
    program = f"""
import os, signal, threading, torch
from slipway.transformer.temporary_thread import run_in_temporary_thread
from slipway.transformer.torch_engine.compute_thread import COMPUTE_THREADS

def work(steps, others=False):
    a = torch.randn(600, 600)
    for step in range(steps):
        if step == 2 and not others:
            os.kill(os.getpid(), signal.SIGINT)
        for _ in range(5):
            a = (a @ a).clamp(-1, 1)
        yield

thread, _ = COMPUTE_THREADS.acquire("cpu", 1)
threading.Thread(target=lambda: thread.run(work(10**6, True), 1), daemon=True).start()  # goes on while the process ends
try:
    {where}
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-c", program]
    with interruptible():
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_many_callers_each_get_their_own_result(compute_thread):
    barrier = Barrier(8)

    def call(number):
        barrier.wait(HANGS)
        return [compute_thread.run(steps([], (number, turn), turn + 1), 1) for turn in range(5)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))
    assert results == [[(number, turn) for turn in range(5)] for number in range(8)]
