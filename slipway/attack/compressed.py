"""Groups about compressed bodies: what is small on the wire and large behind it, and what is not what it claims."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import zlib
from typing import Final

from slipway.attack.bounds import MIB
from slipway.attack.cases import AttackRequest, send_requests
from slipway.attack.group import AttackGroup, AttackRun

_BLOCK: Final = 16 * MIB
_BLOCKS: Final = 64
_MEMBERS: Final = 300_000
_ENCODINGS: Final = ("gzip", "deflate")


def bomb(encoding: str, blocks: int = _BLOCKS) -> bytes:
    """Return `blocks` times 16 MiB of blanks, compressed about a thousandfold; `encoding` is gzip or deflate."""
    return packed(encoding, b"", b" " * _BLOCK, blocks)


def packed(encoding: str, opening: bytes, block: bytes, times: int) -> bytes:
    """Return `opening` and then `times` a block, compressed: the block only once, which saves most of the time."""
    size = len(opening) + times * len(block)
    stream = _deflated(opening) + _deflated(block) * times + b"\3\0"  # and an empty last block (RFC 1951)
    if encoding == "gzip":  # RFC 1952
        checksum = zlib.crc32(opening)
        for _ in range(times):
            checksum = zlib.crc32(block, checksum)
        return b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + stream + struct.pack("<II", checksum, size % 2**32)
    checksum = zlib.adler32(opening)  # RFC 1950
    for _ in range(times):
        checksum = zlib.adler32(block, checksum)
    return b"\x78\xda" + stream + struct.pack(">I", checksum)


def _deflated(data: bytes) -> bytes:
    """Return deflate blocks that depend on nothing before them, so that they can be repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def broken_bodies(body: bytes) -> dict[str, bytes]:
    """Return gzip bodies that do not contain `body`, although each begins as if."""
    whole = gzip.compress(body)
    return {
        "nested": gzip.compress(whole),
        "no trailer": whole[:-9],
        "cut": whole[: len(body) // 4],
        "empty": b"",
        "magic only": b"\x1f\x8b",
    }


async def _bombs(run: AttackRun) -> None:
    path = run.models.good.infer
    bombs = {encoding: await asyncio.to_thread(bomb, encoding) for encoding in _ENCODINGS}
    cases = {
        f"{encoding}, number {number}": AttackRequest(
            path, bombs[encoding], {"Content-Encoding": encoding}, may_close=True
        )
        for encoding in _ENCODINGS
        for number in range(2)
    }
    await send_requests(run, cases, at_once=2)


async def _members(run: AttackRun) -> None:
    body = gzip.compress(b"", mtime=0) * _MEMBERS
    request = AttackRequest(run.models.good.infer, body, {"Content-Encoding": "gzip"}, may_close=True)
    await send_requests(run, {"empty members": request})


async def _broken(run: AttackRun) -> None:
    good = json.dumps(run.models.good.document()).encode()
    path = run.models.good.infer
    bodies = {**broken_bodies(good), "garbage after it": gzip.compress(good) + b"garbage", "not compressed": good}
    cases = {name: AttackRequest(path, body, {"Content-Encoding": "gzip"}) for name, body in bodies.items()}
    for encoding in ("br", "gzip, gzip", "nonsense"):
        cases[f"Content-Encoding: {encoding}"] = AttackRequest(path, good, {"Content-Encoding": encoding})
    await send_requests(run, cases)


GROUPS: Final = (
    AttackGroup(
        22,
        "compressed-bombs",
        "gzip and deflate bodies of 1 MiB that become 1 GiB",
        "CWE-409: the limit of a body has to count what it is decompressed to",
        "an error or the end of the connection; memory; health checks meanwhile",
        _bombs,
        kept_mib=256,
        peak_mib=512,
    ),
    AttackGroup(
        23,
        "empty-members",
        "a gzip body of 300 000 empty members",
        "copying the rest for each member costs the square of their number",
        "an error or the end of the connection; health checks meanwhile",
        _members,
    ),
    AttackGroup(
        24,
        "broken-compression",
        "truncated, nested and unfinished gzip, garbage after it, unknown and repeated codings",
        "RFC 9110, section 8.4; what cannot be decoded must not be executed",
        "an error",
        _broken,
    ),
)
