"""Headers: what reaches the server is what gRPC can carry, and nothing that a client may not set."""

from __future__ import annotations

import pytest

from slipway.proxy.head import read_head

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OWN = (("authorization", "Bearer own"),)


def head(*headers: tuple[bytes, bytes], forwards: bool = False, own=()):
    return read_head(headers, own, forwards_authorization=forwards)


def test_a_request_id_is_kept():
    assert head((b"x-request-id", b"abc-1")).request_id == "abc-1"


@pytest.mark.parametrize("value", [b"", b"a b", b"a\xffb", b"x" * 129, b"a\tb"])
def test_a_request_id_that_cannot_be_kept_is_replaced(value):
    found = head((b"x-request-id", value)).request_id
    assert len(found) == 36
    assert head((b"x-request-id", value)).request_id != found


def test_the_trace_context_is_passed_on():
    found = head(
        (b"traceparent", PARENT.encode()), (b"tracestate", b"a=1"), (b"tracestate", b"b=2"), (b"cookie", b"secret")
    )
    assert found.metadata == (("traceparent", PARENT), ("tracestate", "a=1,b=2"))


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00-1-2-3",
        PARENT.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        PARENT + "-more",
        PARENT.upper(),
    ],
)
def test_a_malformed_trace_context_is_dropped_with_its_state(parent):
    assert head((b"traceparent", parent.encode()), (b"tracestate", b"a=1")).metadata == ()


def test_a_trace_context_of_a_later_version_may_have_more():
    later = PARENT.replace("00-", "01-", 1) + "-more"
    assert head((b"traceparent", later.encode())).metadata == (("traceparent", later),)


def test_a_state_that_cannot_be_sent_is_dropped_alone():
    assert head((b"traceparent", PARENT.encode()), (b"tracestate", b"a=\xff")).metadata == (("traceparent", PARENT),)


def test_the_proxys_key_is_sent_whatever_clients_send():
    assert head((b"authorization", b"Bearer theirs"), own=OWN).metadata == OWN


def test_the_clients_credentials_are_sent_instead_where_they_are_forwarded():
    found = head((b"authorization", b"Bearer theirs"), (b"x-api-key", b"theirs"), own=OWN, forwards=True)
    assert found.metadata == (("authorization", "Bearer theirs"), ("x-api-key", "theirs"))


@pytest.mark.parametrize("value", [None, b"Bearer a\xff", b"Bearer a b", b"", b" "])
def test_a_client_without_a_credential_does_not_get_the_proxys(value):
    given = [] if value is None else [(b"authorization", value)]
    assert head(*given, own=OWN, forwards=True).metadata == ()


@pytest.mark.parametrize(("value", "length"), [(b"12", 12), (b"", -1), (b"x", -1), (b"9" * 5000, int("9" * 19))])
def test_the_announced_length_is_read(value, length):
    assert head((b"content-length", value)).length == length
