"""The JSON document that registers a shared memory region."""

from __future__ import annotations

import json

import pytest

from slipway.errors import Code, SlipwayError
from slipway.wire.registration import read_registration

NON_UNSIGNED = "attempt to access JSON non-unsigned-integer as unsigned-integer"


def test_the_offset_is_optional():
    assert read_registration(b'{"key": "/a", "byte_size": 8}') == ("/a", 0, 8)
    assert read_registration(b'{"key": "/a", "byte_size": 8, "offset": 18446744073709551615}') == ("/a", 2**64 - 1, 8)


@pytest.mark.parametrize(
    ("document", "code", "text"),
    [
        ({}, Code.INVALID_ARG, "Shared memory register request has no 'key' field"),
        ([], Code.INVALID_ARG, "Shared memory register request has no 'key' field"),
        ({"key": "/a"}, Code.INVALID_ARG, "Shared memory register request has no 'byte_size' field"),
        ({"key": 1, "byte_size": 8}, Code.INTERNAL, "attempt to access JSON non-string as string"),
        ({"key": "/a", "byte_size": "8"}, Code.INTERNAL, NON_UNSIGNED),
        ({"key": "/a", "byte_size": -8}, Code.INTERNAL, NON_UNSIGNED),
        ({"key": "/a", "byte_size": 8.0}, Code.INTERNAL, NON_UNSIGNED),
        ({"key": "/a", "byte_size": True}, Code.INTERNAL, NON_UNSIGNED),
        ({"key": "/a", "byte_size": 2**64}, Code.INTERNAL, NON_UNSIGNED),
        ({"key": "/a", "byte_size": 8, "offset": None}, Code.INTERNAL, NON_UNSIGNED),
        ({"key": "/a", "offset": -1}, Code.INTERNAL, NON_UNSIGNED),
    ],
)
def test_a_missing_or_wrong_member_is_refused(document, code, text):
    with pytest.raises(SlipwayError) as caught:
        read_registration(json.dumps(document).encode())
    assert (caught.value.code, caught.value.message) == (code, text)
