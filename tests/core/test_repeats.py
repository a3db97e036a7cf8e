"""Encoded responses are kept by the bytes of their requests, in bounded memory."""

from __future__ import annotations

from slipway.core.repeats import LARGEST_REPEAT, Repeat, Repeats

SIGNATURE = object()


def repeat(*parts: bytes) -> Repeat[str]:
    return Repeat("head", SIGNATURE, lambda: True, parts)


def test_the_last_response_to_equal_bytes_is_found():
    repeats: Repeats[str] = Repeats()
    repeats.keep(b"asked", repeat(b"old"))
    repeats.keep(b"asked", repeat(b"new", b"er"))
    found = repeats.find(b"asked")
    assert found is not None
    assert found.parts == (b"new", b"er")
    assert repeats.find(b"other") is None


def test_large_requests_and_responses_are_not_kept():
    repeats: Repeats[str] = Repeats()
    repeats.keep(bytes(LARGEST_REPEAT + 1), repeat(b"small"))
    repeats.keep(b"asked", repeat(bytes(LARGEST_REPEAT), b"x"))
    assert repeats.find(bytes(LARGEST_REPEAT + 1)) is None
    assert repeats.find(b"asked") is None
    assert repeats.size == 0


def test_heads_count_too():
    repeats: Repeats[str] = Repeats()
    repeats.keep(b"asked", Repeat("head", SIGNATURE, lambda: True, (b"x",), head_size=1000))
    assert repeats.size > 1000
    repeats.keep(b"asked", repeat(b"x"))
    assert repeats.size < 1000
    repeats.keep(b"other", Repeat("head", SIGNATURE, lambda: True, (b"x",), head_size=LARGEST_REPEAT + 1))
    assert repeats.find(b"other") is None


def test_memory_is_bounded_and_counted_once_per_request():
    repeats: Repeats[str] = Repeats()
    repeats.keep(b"asked", repeat(bytes(1000)))
    once = repeats.size
    for _ in range(10_000):
        repeats.keep(b"asked", repeat(bytes(1000)))
    assert repeats.size == once
    largest = 0
    for number in range(2000):
        repeats.keep(b"%d" % number, repeat(bytes(LARGEST_REPEAT)))
        largest = max(largest, repeats.size)
    assert (1 << 20) < largest <= (4 << 20)
    assert repeats.find(b"1999") is not None
