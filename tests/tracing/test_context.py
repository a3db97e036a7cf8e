"""`traceparent` is read as W3C Trace Context says, and written for models as NVIDIA Triton writes it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.tracing.context import RemoteContext, new_span_id, new_trace_id, read_context, write_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f" 00-{TRACE}-{SPAN}-03 ", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_valid_header_is_read(header, is_sampled):
    assert read_context(header, "vendor=1") == RemoteContext(int(TRACE, 16), int(SPAN, 16), is_sampled, "vendor=1")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
    ],
)
def test_an_invalid_header_is_no_context(header):
    assert read_context(header) is None


def test_a_state_that_is_too_long_or_not_printable_is_dropped():
    for state in ("a=" + "b" * 511, "a=\x07"):
        context = read_context(f"00-{TRACE}-{SPAN}-01", state)
        assert context is not None
        assert context.state == ""


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    read_context(text, text)


def test_models_get_the_context_as_json():
    assert json.loads(write_context(int(TRACE, 16), int(SPAN, 16), "")) == {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    assert json.loads(write_context(1, 2, "a=b"))["tracestate"] == "a=b"
    written = json.loads(write_context(new_trace_id(), new_span_id(), ""))["traceparent"]
    assert read_context(written) is not None
