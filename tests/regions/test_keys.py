"""The names and keys of shared memory regions."""

from __future__ import annotations

import pytest

from slipway.errors import Code, SlipwayError
from slipway.regions.keys import file_name

RESERVED = "triton_python_backend_shm_region_"


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("/a", "a"),
        ("a", "a"),
        ("///a", "a"),
        ("/.hidden", ".hidden"),
        ("/a.b", "a.b"),
        (f"/x{RESERVED}", f"x{RESERVED}"),
    ],
)
def test_leading_slashes_of_a_key_do_not_count(key, file):
    assert file_name("r", key) == file


def refused(key, name="r"):
    with pytest.raises(SlipwayError) as caught:
        file_name(name, key)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("key", ["", "/", "///"])
def test_a_key_of_slashes_is_invalid(key):
    assert refused(key) == (Code.INVALID_ARG, f"cannot register shared memory region 'r' - invalid shm key '{key}'")


@pytest.mark.parametrize("slashes", range(4))
@pytest.mark.parametrize("rest", ["", "x", "/x"])
def test_tritons_own_regions_are_reserved_behind_any_slashes(slashes, rest):
    key = "/" * slashes + RESERVED + rest
    assert refused(key) == (
        Code.INVALID_ARG,
        (
            f"cannot register shared memory region 'r' with key '{key}' as the key contains the reserved prefix "
            f"'{RESERVED}'"
        ),
    )


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/../a", "a/b", "/a/", ".", "..", "/..", "a\0b", "a" * 256, "é" * 128, "/" * 300 + "a"]
)
def test_a_key_that_is_not_the_name_of_one_file_cannot_be_opened(key):
    shown = key if len(key) <= 256 else f"{key[:256]}..."
    assert refused(key) == (Code.INTERNAL, f"Unable to open shared memory region: '{shown}'")


def test_a_name_is_short():
    assert file_name("n" * 256, "/a") == "a"
    assert refused("/a", "n" * 257) == (
        Code.INVALID_ARG,
        f"the name of a shared memory region may have at most 256 characters: '{'n' * 256}...'",
    )
