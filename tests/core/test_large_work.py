"""The threads for large work belong to all servers of a process, from the first to the last."""

from __future__ import annotations

import asyncio

from slipway.core.large_work import _LargeWorkThreads, begin_large_work, end_large_work, run_large


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
    pool = threads.pool
    assert threads.end() is pool
    pool.shutdown()
    assert threads.begin().submit(sum, (1, 2)).result() == 3
    threads.end().shutdown()


def test_work_without_a_server_is_done_after_the_end_of_one():
    begin_large_work()
    end_large_work()
    assert asyncio.run(run_large(sum, (1, 2))) == 3
    end_large_work()
