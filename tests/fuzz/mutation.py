"""Changes to bytes that find faults in readers: of bits, lengths, nesting, order, size. Deterministic in `Random`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

MOST: Final = 1 << 16  # bytes of a changed input; what only a larger one finds is for the tests of limits
_NUMBERS: Final = (
    b"0", b"-1", b"1e999", b"-0", b"9223372036854775807", b"18446744073709551616", b"9" * 400, b"0.5", b"NaN",
    b"null", b"true", b'""', b"[]", b"{}", b"-9223372036854775808", b"4294967296",
)  # fmt: skip
_BYTES: Final = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"\r\n", b" ", b'"', b"\\", b"\xed\xa0\x80", b"\xf0\x9f")
_PAIRS: Final = ((b"[", b"]"), (b"{", b"}"), (b'{"a":', b"}"), (b"(", b")"), (b'[{"a":', b"}]"))

Change = Callable[[bytearray, Random, Sequence[bytes]], bytearray]


def mutate(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return `data` with one to eight changes; `others` are inputs to take parts from, `words` belong to the format."""
    changed = bytearray(data)
    material = (*_NUMBERS, *_BYTES, *words)
    for _ in range(1 << random.randrange(4)):
        if random.random() < 0.15 and others:
            changed = _splice(changed, random, others)
        else:
            changed = random.choice(_CHANGES)(changed, random, material)
    return bytes(changed[:MOST])


def _place(data: bytearray, random: Random) -> int:
    return random.randrange(len(data) + 1)


def _part(data: bytearray, random: Random) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, 16, 64, 256)))


def _flip(data: bytearray, random: Random, _: Sequence[bytes]) -> bytearray:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return data


def _overwrite(data: bytearray, random: Random, _: Sequence[bytes]) -> bytearray:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, random.randrange(256)))
    return data


def _delete(data: bytearray, random: Random, _: Sequence[bytes]) -> bytearray:
    start, end = _part(data, random)
    del data[start:end]
    return data


def _repeat(data: bytearray, random: Random, _: Sequence[bytes]) -> bytearray:
    start, end = _part(data, random)
    data[start:start] = data[start:end] * random.choice((1, 2, 3, 16, 257))
    return data


def _insert(data: bytearray, random: Random, material: Sequence[bytes]) -> bytearray:
    start = _place(data, random)
    data[start:start] = random.choice(material)
    return data


def _replace_word(data: bytearray, random: Random, material: Sequence[bytes]) -> bytearray:
    """Replace a run of letters, digits and dots by a word or number."""
    start = end = _place(data, random)
    while start > 0 and _is_word(data[start - 1]):
        start -= 1
    while end < len(data) and _is_word(data[end]):
        end += 1
    data[start:end] = random.choice(material)
    return data


def _is_word(byte: int) -> bool:
    return chr(byte).isalnum() or byte in b".-+_"


def _cut(data: bytearray, random: Random, _: Sequence[bytes]) -> bytearray:
    return data[: _place(data, random)]


def _length(data: bytearray, random: Random, _: Sequence[bytes]) -> bytearray:
    """Overwrite two, four or eight bytes with a number that a length or offset may not be."""
    size = random.choice((2, 4, 8))
    if len(data) >= size:
        start = random.randrange(len(data) - size + 1)
        number = random.choice((0, 1, len(data), len(data) + 1, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, (1 << 64) - 1))
        data[start : start + size] = (number & ((1 << (8 * size)) - 1)).to_bytes(size, "little")
    return data


def _nest(data: bytearray, random: Random, _: Sequence[bytes]) -> bytearray:
    """Wrap a part in many brackets."""
    start, end = _part(data, random)
    opening, closing = random.choice(_PAIRS)
    depth = random.choice((1, 5, 99, 101, 2000))
    data[start:end] = opening * depth + data[start:end] + (closing * depth if random.random() < 0.7 else b"")
    return data


def _splice(data: bytearray, random: Random, others: Sequence[bytes]) -> bytearray:
    other = random.choice(others)
    start, end = sorted((random.randrange(len(other) + 1), random.randrange(len(other) + 1)))
    place = _place(data, random)
    data[place : place + random.choice((0, end - start))] = other[start:end]
    return data


_CHANGES: Final[tuple[Change, ...]] = (
    _flip, _overwrite, _delete, _repeat, _insert, _insert, _replace_word, _replace_word, _cut, _length, _nest,
)  # fmt: skip
