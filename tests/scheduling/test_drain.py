"""A scheduler drains once: it closes at once, and wakes the waiting tasks when no request is open."""

from __future__ import annotations

import asyncio

from slipway.scheduling.api import Drain


def test_an_idle_scheduler_is_drained_at_once():
    async def within():
        drain = Drain(lambda: True)
        await drain.finish()
        assert drain.closed

    asyncio.run(within())


def test_several_wait_and_one_that_is_cancelled_takes_nobody_with_it():
    async def within():
        running = [1, 2]
        drain = Drain(lambda: not running)
        drain.check()
        first, second = (asyncio.ensure_future(drain.finish()) for _ in range(2))
        await asyncio.sleep(0)
        assert drain.closed
        first.cancel()
        await asyncio.wait([first])
        running.pop()
        drain.check()
        await asyncio.sleep(0)
        assert not second.done()
        running.pop()
        drain.check()
        await second
        await drain.finish()

    asyncio.run(within())
