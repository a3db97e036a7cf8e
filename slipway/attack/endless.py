"""Groups about what never ends: heads, trailers, chunks, and bodies in very many pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway.attack.bounds import MIB
from slipway.attack.framings import CHUNKED, LAST
from slipway.attack.group import AttackGroup, AttackRun

_ENDLESS: Final = 24 * MIB  # more than both kernels hold for one connection
_AT_ONCE: Final = 3
_SHARE: Final = 0.7  # of the group's time, for the cases together
_TINY_CHUNKS: Final = 1_000_000
_KEPT_MIB: Final = 64

Endless = tuple[bytes, bytes]  # how it begins, and how it goes on


async def _pour(run: AttackRun, cases: Mapping[str, Endless]) -> None:
    seconds = _SHARE * run.bounds.seconds * min(_AT_ONCE / len(cases), 1)

    async def attempt(case: Endless) -> str:
        async with run.dialler.connection() as connection:
            received = await connection.pour(*case, _ENDLESS, silence_s=min(3.0, seconds), seconds=seconds)
        if received.sent >= _ENDLESS and not received.closed and not received.statuses:
            return f"the server read on without a refusal, up to {_ENDLESS // MIB} MiB or for {seconds:.0f} s"
        accepted = received.statuses and received.statuses[0] < 400
        return f"accepted with status {received.statuses[0]}" if accepted else ""

    await run.each(cases.items(), attempt, _AT_ONCE)


def _post(run: AttackRun) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\n" % run.models.good.infer.encode()


async def _heads(run: AttackRun) -> None:
    live = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
    cases = {
        "headers": (live, b"X-Filling: y\r\n" * 4000),
        "the value of one header": (live + b"X-Filling: ", b"y" * 65536),
        "the name of one header": (live, b"y" * 65536),
        "the target": (b"GET /v2/", b"y" * 65536),
        "the method": (b"", b"Y" * 65536),
        "empty lines before a request": (b"", b"\r\n" * 32768),
    }
    await _pour(run, cases)


async def _trailers(run: AttackRun) -> None:
    begun = _post(run) + CHUNKED + b"\r\n\r\n1\r\n \r\n0\r\n"
    await _pour(
        run,
        {"trailers": (begun, b"X-Filling: y\r\n" * 4000), "the value of one": (begun + b"X-Filling: ", b"y" * 65536)},
    )


async def _chunk_lines(run: AttackRun) -> None:
    begun = _post(run) + CHUNKED + b"\r\n\r\n"
    cases = {
        "the extension of one chunk": (begun + b"1;", b"y" * 65536),
        "zeros before a size": (begun, b"0" * 65536),
        "a long extension on every chunk": (begun, (b"1;" + b"y" * 4000 + b"\r\n \r\n") * 16),
    }
    await _pour(run, cases)


async def _tiny_chunks(run: AttackRun) -> None:
    flood = _post(run) + CHUNKED + b"\r\n\r\n" + b"1\r\n \r\n" * _TINY_CHUNKS + b"0\r\n\r\n" + LAST

    async def attempt(_: int) -> str:
        async with run.dialler.connection() as connection:
            received = await connection.exchange(flood, silence_s=run.bounds.response_s)
        return "" if received.statuses or received.closed else "neither a response nor the end of the connection"

    await run.each(((f"flood {number}", number) for number in range(4)), attempt, at_once=1)


async def _large_heads(run: AttackRun) -> None:
    async def attempt(data: bytes) -> str:
        async with run.dialler.connection() as connection:
            received = await connection.exchange(data)
        accepted = received.statuses and received.statuses[0] < 400
        return f"accepted with status {received.statuses[0]}" if accepted else ""

    live = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
    cases = {
        "a header of 1 MiB": live + b"X-Big: " + b"a" * MIB + b"\r\n\r\n",
        "100 000 headers": live + b"".join(b"X-%d: y\r\n" % number for number in range(100_000)) + b"\r\n",
        "100 000 times the same header": live + b"X: y\r\n" * 100_000 + b"\r\n",
        "a target of 10 MiB": b"GET /" + b"a" * 10 * MIB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    }
    await run.each(cases.items(), attempt, at_once=1)


GROUPS: Final = (
    AttackGroup(
        11,
        "endless-heads",
        "heads, targets, methods and empty lines without an end, up to 24 MiB",
        "RFC 9110, section 5.4: a limit; without one, a connection takes all memory",
        "refused, closed, or not read any further",
        _heads,
        kept_mib=_KEPT_MIB,
    ),
    AttackGroup(
        12,
        "endless-trailers",
        "trailers without an end, up to 24 MiB",
        "RFC 9112, section 7.1.2: they need the limits of a head",
        "refused, closed, or not read any further",
        _trailers,
        kept_mib=_KEPT_MIB,
    ),
    AttackGroup(
        13,
        "endless-chunk-lines",
        "chunk extensions and leading zeros without an end, and long extensions on every chunk",
        "RFC 9112, section 7.1.1: a limit on all extensions of a body",
        "refused, closed, or not read any further",
        _chunk_lines,
        kept_mib=_KEPT_MIB,
    ),
    AttackGroup(
        14,
        "tiny-chunks",
        "bodies of a million chunks of one byte",
        "CVE-2025-23310: what is kept per chunk adds up to far more than the body",
        "a response or the end of the connection; memory",
        _tiny_chunks,
        kept_mib=_KEPT_MIB,
    ),
    AttackGroup(
        15,
        "large-heads",
        "complete heads of 1 to 10 MiB, with one header or very many",
        "RFC 6585, section 5: 431; RFC 9110, section 15.5.15: 414",
        "an error, or the end of the connection",
        _large_heads,
        kept_mib=_KEPT_MIB,
    ),
)
