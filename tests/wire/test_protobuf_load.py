"""Only the contents of files may make a load request large."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2

from slipway.errors import Code, SlipwayError
from slipway.wire.protobuf_load import refuse_large_load


def load(**sizes: int) -> service_pb2.RepositoryModelLoadRequest:
    """Return a load request with files of these sizes."""
    request = service_pb2.RepositoryModelLoadRequest(model_name="m")
    request.parameters["config"].string_param = "{}"
    for name, size in sizes.items():
        request.parameters[f"file:1/{name}"].bytes_param = bytes(size)
    return request


def assert_refused(payload: bytes) -> None:
    """Check that the payload is refused."""
    with pytest.raises(SlipwayError, match="beside the contents of its files") as caught:
        refuse_large_load(payload)
    assert caught.value.code is Code.INVALID_ARG


def test_the_contents_of_files_do_not_count():
    refuse_large_load(load(a=10_000_000, b=0, c=300_000).SerializeToString())
    refuse_large_load(load(**{f"f{number}": 5000 for number in range(1000)}).SerializeToString())


def test_everything_else_counts():
    many = load(a=1)
    for number in range(4000):
        many.parameters[str(number)].bool_param = True
    named = load(**{"n" * 300_000: 1})
    configured = load(a=1)
    configured.parameters["config"].string_param = " " * 300_000
    for request in (many, named, configured):
        assert_refused(request.SerializeToString())


def test_many_tiny_fields_are_not_scanned_to_their_end():
    values = b"\x22\x00" * 4000  # bytes_param, empty
    value = b"\x12\xc0\x3e" + values
    entry = b"\x1a\xc3\x3e" + value
    assert_refused(entry * 4000)


@pytest.mark.parametrize("payload", [b"\x1a\x05abc", b"\x1a\x02\x12\x7f", b"\xff" * 12, b"\x0b"])
def test_what_is_malformed_is_refused(payload):
    assert_refused(payload)
