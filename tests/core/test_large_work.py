"""The threads for large work belong to all servers of a process, from the first to the last."""

from __future__ import annotations

from slipway.core.large_work import _LargeWorkThreads


def test_the_last_server_ends_the_threads_and_a_later_one_gets_new_ones():
    threads = _LargeWorkThreads()
    pool = threads.begin()
    assert threads.begin() is pool
    assert threads.end() is None
    assert threads.end() is pool
    pool.shutdown()
    fresh = threads.begin()
    assert fresh.submit(sum, (1, 2)).result() == 3
    assert threads.end() is fresh
    fresh.shutdown()


def test_an_end_without_a_beginning_ends_the_threads():
    threads = _LargeWorkThreads()
    assert threads.end() is threads.pool
    assert threads.begin() is threads.pool
    threads.pool.shutdown()
