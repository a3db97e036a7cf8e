"""A version is parsed as tritonserver parses it, over both transports."""

from __future__ import annotations

import pytest

from slipway.core import version as version_module
from slipway.core.version import requested_version
from slipway.errors import Code, SlipwayError


@pytest.mark.parametrize(
    ("text", "version"), [("", ""), ("1", "1"), ("01", "1"), (" 1", "1"), ("1abc", "1"), ("+2 ", "2"), ("0", "0")]
)
def test_versions_are_read_as_c_reads_numbers(text, version):
    assert requested_version(text) == version


@pytest.mark.parametrize("text", ["abc", " ", "99999999999999999999999", "-", "9223372036854775808"])
def test_a_version_that_is_not_a_number_is_refused(text):
    with pytest.raises(SlipwayError) as caught:
        requested_version(text)
    assert caught.value.message == (
        f"failed to get model version from specified version string '{text}' (details: stol), "
        "version should be an integral value > 0"
    )


def test_version_minus_one_is_refused_by_its_own_text():
    with pytest.raises(SlipwayError, match="invalid model version specified '-1' , version should be an integral"):
        requested_version("-1")


def test_a_version_of_many_digits_is_refused_with_the_first_of_them():
    with pytest.raises(SlipwayError) as caught:
        requested_version("1" * 10_000)
    assert caught.value.code is Code.INVALID_ARG
    assert f"version string '{'1' * 256}...' (details: stol)" in caught.value.message


def test_only_short_versions_are_remembered():
    before = version_module._remembered.cache_info().currsize
    for number in range(100):
        assert requested_version(f"1{'x' * 64}{number}") == "1"
    assert version_module._remembered.cache_info().currsize == before
