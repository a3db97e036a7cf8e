"""Content codings, including decompression bombs."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from slipway.errors import Code, SlipwayError
from slipway.wire.compression import choose_coding, compress, decompress

TEXT = b"a slipway is a ramp " * 50


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_compressed_is_decompressed(coding):
    assert decompress(compress([TEXT[:100], memoryview(TEXT)[100:]], coding), len(TEXT)) == TEXT


@pytest.mark.parametrize("packed", [gzip.compress(TEXT), zlib.compress(TEXT)], ids=["gzip", "zlib"])
def test_either_header_is_understood(packed):
    assert decompress(packed, 10_000) == TEXT


def test_all_members_of_a_gzip_body_count():
    assert decompress(gzip.compress(TEXT) + gzip.compress(TEXT), 10_000) == TEXT + TEXT


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"plain",
        gzip.compress(TEXT)[:-9],
        gzip.compress(TEXT)[:-1],
        gzip.compress(TEXT) + b"garbage",
        zlib.compress(TEXT)[:-1],
    ],
    # A gzip header holds the time: ids made of it differ between the processes that share the tests.
    ids=[
        "empty",
        "plain",
        "gzip-without-trailer",
        "gzip-without-last-byte",
        "gzip-and-garbage",
        "zlib-without-last-byte",
    ],
)
def test_damaged_bodies_are_refused(packed):
    with pytest.raises(SlipwayError) as caught:
        decompress(packed, 10_000)
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize("members", [1, 3])
def test_a_body_may_not_unfold_beyond_the_limit(members):
    with pytest.raises(SlipwayError) as caught:
        decompress(gzip.compress(bytes(1 << 20)) * members, (1 << 20) * members - 1)
    assert f"exceeds the maximum allowed input size of {(1 << 20) * members - 1} bytes" in caught.value.message
    assert "Use --http-max-input-size to increase the limit." in caught.value.message


def test_a_body_of_exactly_the_limit_is_read():
    assert len(decompress(gzip.compress(bytes(1 << 20)), 1 << 20)) == 1 << 20


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0, deflate;q=0", ""),
        ("*", ""),
        ("identity", ""),
        ("identity, gzip", ""),
        ("br", ""),
        ("gzip;q=abc", ""),
        ("gzip;q=nan", ""),
        ("identity;q=1, gzip;q=0.9", ""),
        ("deflate;q=1.0, *;q=0.5", "deflate"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip"),
        ("", ""),
    ],
)
def test_the_preferred_coding_is_chosen_as_triton_chooses(accepted, coding):
    assert choose_coding(accepted) == coding


def test_what_the_decoders_are_given_grows_with_the_body_and_not_with_its_square(monkeypatch):
    given = 0
    make = zlib.decompressobj

    class Counting:
        def __init__(self, window):
            self._inner = make(window)

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def decompress(self, data, most):
            nonlocal given
            given += len(data)
            return self._inner.decompress(data, most)

    monkeypatch.setattr("slipway.wire.compression.zlib.decompressobj", Counting)
    empty = gzip.compress(b"")
    for body in (empty * 20_000, gzip.compress(bytes(64 << 20)), gzip.compress(random.Random(0).randbytes(1 << 20))):
        given = 0
        decompress(body, 64 << 20)
        assert given <= 512 * 20_000 + 2 * len(body)


def test_a_body_may_have_65536_members():
    empty = gzip.compress(b"")
    assert decompress(empty * 65536, 10) == b""
    with pytest.raises(SlipwayError, match="more than 65536 members"):
        decompress(empty * 65537, 10)


def test_output_that_a_decoder_holds_back_is_not_lost():
    for size in range(1 << 20, (1 << 20) + 300, 7):
        assert decompress(zlib.compress(b"a" * size), size) == b"a" * size
