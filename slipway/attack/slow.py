"""Groups about clients that are slow, silent or gone: others are served as if they were not there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from slipway.attack.bounds import MIB
from slipway.attack.group import AttackGroup, AttackRun
from slipway.attack.transport import Connection

_SLOW: Final = 150
_BEATS: Final = 15
_BEAT_S: Final = 0.2
_RESETS: Final = 200
_UNREAD: Final = 3
_ASKED: Final = 16 * MIB  # of requests whose responses nobody reads; more than both kernels hold
_BLOCKED_S: Final = 2.0


async def _dribble(run: AttackRun, opening: bytes) -> None:
    """Open many connections with `opening` and a byte now and then, while somebody else sends good requests."""
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(run.dialler.connection()) for _ in range(_SLOW)]
        for connection in slow:
            await connection.send(opening)
        served = asyncio.ensure_future(run.others_are_served())
        try:
            for _ in range(_BEATS):
                await asyncio.gather(*(connection.send(b"y") for connection in slow))
                await asyncio.sleep(_BEAT_S)
            await served
        finally:
            served.cancel()
            await asyncio.gather(served, return_exceptions=True)


async def _heads(run: AttackRun) -> None:
    await _dribble(run, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX: ")


async def _bodies(run: AttackRun) -> None:
    path = run.models.good.infer.encode()
    await _dribble(run, b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" % path)


async def _idle(run: AttackRun) -> None:
    await _dribble(run, b"")


async def _unread(run: AttackRun) -> None:
    """Ask for metadata without reading: a server that reads on keeps the responses for a client that never comes."""
    request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % run.models.good.path.encode()
    pipelined = request * (65536 // len(request))

    async def attempt(_: int) -> str:
        async with run.dialler.connection(unread=4096) as connection:
            while connection.sent < _ASKED:
                try:
                    if not await asyncio.wait_for(connection.send(pipelined), _BLOCKED_S):
                        return ""
                except TimeoutError:
                    return ""
            answers = (await connection.exchange(b"", silence_s=0.5)).statuses
            refused = bool(answers) and answers[-1] >= 400
            return "" if refused else f"{_ASKED // MIB} MiB of requests were read while no response was"

    served = asyncio.ensure_future(run.others_are_served())
    try:
        await run.each(((f"client {number}", number) for number in range(_UNREAD)), attempt)
        await served
    finally:
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)


async def _resets(run: AttackRun) -> None:
    path = run.models.good.infer.encode()
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" % path

    async def attempt(opening: bytes) -> str:
        async with run.dialler.connection() as connection:
            await _reset(connection, opening)
        return ""

    cases = [(f"client {number}", head + b"{" * (number * 10)) for number in range(_RESETS)]
    await run.each(cases, attempt)
    await run.others_are_served()


async def _reset(connection: Connection, opening: bytes) -> None:
    await connection.send(opening)
    connection.reset()


async def _expecting(run: AttackRun) -> None:
    path = run.models.good.infer.encode()
    await _dribble(
        run, b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n" % path
    )


GROUPS: Final = (
    AttackGroup(
        16,
        "slow-heads",
        "150 connections that send a head one byte at a time",
        "slowloris: one thread or place per connection is soon used up",
        "good requests on other connections are answered",
        _heads,
        kept_mib=64,
    ),
    AttackGroup(
        17,
        "slow-bodies",
        "150 connections that send a body one byte at a time",
        "the same, after the head",
        "good requests on other connections are answered",
        _bodies,
        kept_mib=64,
    ),
    AttackGroup(
        18,
        "many-connections",
        "150 connections that say next to nothing",
        "the same, before the head",
        "good requests on other connections are answered",
        _idle,
        kept_mib=64,
    ),
    AttackGroup(
        19,
        "waiting-to-continue",
        "150 clients that expect 100-continue and send no body",
        "RFC 9110, section 10.1.1: a server need not wait for ever",
        "good requests on other connections are answered",
        _expecting,
        kept_mib=64,
    ),
    AttackGroup(
        20,
        "unread-responses",
        "3 clients that send 16 MiB of pipelined requests and read no response",
        "a server that reads on keeps every response in memory",
        "it stops reading or closes; good requests on other connections are answered",
        _unread,
        kept_mib=64,
    ),
    AttackGroup(
        21,
        "resets",
        "200 clients that reset their connection in the middle of a body",
        "what was read of a body must be let go",
        "good requests are answered afterwards; memory",
        _resets,
        kept_mib=32,
    ),
)
