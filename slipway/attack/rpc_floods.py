"""Groups about floods of HTTP/2 frames under gRPC: the calls of others are answered meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

from slipway.attack import http2
from slipway.attack.bounds import MIB
from slipway.attack.group import AttackGroup, AttackRun, Need
from slipway.attack.rpc_client import message, rpc_client
from slipway.attack.transport import Connection

_CONNECTIONS: Final = 3
_CALLS: Final = 40
_ON_ONE: Final = 2000
_FEWEST: Final = 150
_TRIAL: Final = 20
_ENDLESS: Final = 24 * MIB
_SHARE: Final = 0.7  # of the group's time
_FLOOD_MIB: Final = 48  # per connection


async def _flood(run: AttackRun, make: http2.Flood) -> None:
    """Send what `make` returns on connections that read whatever comes, while others make calls."""
    flooding = [asyncio.ensure_future(_keep_sending(run, make)) for _ in range(_CONNECTIONS)]
    run.planned += _CALLS
    try:
        async with rpc_client(run) as client:
            for _ in range(_CALLS):
                wrong = await client.what_is_wrong(run.models.good)
                run.tried += 1
                if wrong:
                    run.failures.append(f"a call of another client meanwhile: {wrong}")
                    break
    finally:
        for each in flooding:
            each.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)


async def _keep_sending(run: AttackRun, make: http2.Flood) -> None:
    sent = 0
    while sent < _FLOOD_MIB * MIB:
        with suppress(OSError):
            async with run.rpc.connection() as connection:
                await connection.send(http2.opening())
                reader = asyncio.ensure_future(_discard(connection))
                try:
                    await _pour(connection, make)
                finally:
                    sent += connection.sent
                    reader.cancel()
                    await asyncio.gather(reader, return_exceptions=True)


async def _pour(connection: Connection, make: http2.Flood) -> None:
    streams = count(1, 2)
    for _ in count():
        if connection.sent >= _FLOOD_MIB * MIB or not await connection.send(make(streams)):
            return
        await asyncio.sleep(0)  # lets the calls of others take their turn


async def _discard(connection: Connection) -> None:
    while await connection.read():
        pass


async def _request_resets(run: AttackRun) -> None:
    await _flood(run, http2.request_resets(message(run.models.good).SerializeToString()))


async def _endless_headers(run: AttackRun) -> None:
    async def attempt(begun: bytes) -> str:
        seconds = _SHARE * run.bounds.seconds
        async with run.rpc.connection() as connection:
            filling = http2.continuations(count())
            received = await connection.pour(begun, filling, _ENDLESS, seconds=seconds, until=http2.is_refusal)
        if received.closed or received.sent < _ENDLESS or http2.is_refusal(received.data):
            return ""
        return f"the server read on without a refusal, up to {_ENDLESS // MIB} MiB or for {seconds:.0f} s"

    await run.each([("continuations", http2.begun_headers())], attempt)


async def _many_calls(run: AttackRun) -> None:
    """Make as many calls at once as the server can answer in a third of their time, one after another."""
    payload = message(run.models.good).SerializeToString()
    async with rpc_client(run) as client:

        async def attempt(_: int) -> str:
            reply = await client.call(payload)
            return "" if reply.status == "OK" else f"{reply.status}: {reply.text[:100]}"

        started = time.monotonic()
        for number in range(_TRIAL):
            await attempt(number)
        each_s = (time.monotonic() - started) / _TRIAL
        calls = max(_FEWEST, min(_ON_ONE, int(run.bounds.response_s / 3 / each_s)))
        await run.each(((f"call {number}", number) for number in range(calls)), attempt, at_once=calls)


def _group(number: int, name: str, tries: str, reason: str, run: Callable[[AttackRun], Awaitable[None]]) -> AttackGroup:
    judged = "calls on another connection are answered meanwhile"
    return AttackGroup(number, name, tries, reason, judged, run, (Need.GRPC,))


_RAPID: Final = "CVE-2023-44487 (rapid reset)"
GROUPS: Final = (
    _group(47, "grpc-resets", "calls that are reset before their message", _RAPID, partial(_flood, make=http2.resets)),
    _group(48, "grpc-request-resets", "complete requests that are reset at once", _RAPID, _request_resets),
    _group(
        49,
        "grpc-stream-resets",
        "bidirectional streams that are reset at once",
        _RAPID,
        partial(_flood, make=http2.stream_resets),
    ),
    _group(
        50,
        "grpc-pings",
        "pings without an end",
        "CVE-2019-9512; RFC 9113, section 10.5",
        partial(_flood, make=http2.pings),
    ),
    _group(
        51,
        "grpc-settings",
        "settings without an end",
        "CVE-2019-9515; RFC 9113, section 10.5",
        partial(_flood, make=http2.settings),
    ),
    _group(
        52,
        "grpc-empty-frames",
        "calls in empty DATA frames without an end",
        "CVE-2019-9518",
        partial(_flood, make=http2.empty_data),
    ),
    _group(
        53,
        "grpc-priorities",
        "priorities for streams that are never opened",
        "CVE-2019-9513; RFC 9113, section 5.3",
        partial(_flood, make=http2.priorities),
    ),
    AttackGroup(
        54,
        "grpc-endless-headers",
        "CONTINUATION frames without an end, up to 24 MiB",
        "CVE-2024-27316 and its kind; RFC 9113, section 10.5.1",
        "the call is refused, or the connection closed or not read any further",
        _endless_headers,
        (Need.GRPC,),
        kept_mib=192,  # what grpcio holds of the frames that it has not read yet
    ),
    AttackGroup(
        55,
        "grpc-many-calls",
        "150 to 2 000 good calls at once on one connection, by how fast the model is",
        "RFC 9113, section 5.1.2: what is above the limit waits at the client and is not lost",
        "every call is answered",
        _many_calls,
        (Need.GRPC,),
    ),
)
