"""Messages that are cut: a request is the same whether a message like it was seen before or not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from slipway.errors import SlipwayError
from slipway.regions.registry import Regions
from slipway.wire import protobuf_plans
from slipway.wire.protobuf_plans import ParsedRequest, RequestPlans
from slipway.wire.protobuf_request import ReadRequest, decode_request, parse_request

REGIONS = Regions()


def message(*, raws=(b"\1\2",), datatype="UINT8", outputs=(), classes=0, **fields):
    request = service_pb2.ModelInferRequest(model_name="m", **fields)
    for number, raw in enumerate(raws):
        request.inputs.add(name=f"I{number}", datatype=datatype, shape=[len(raw)])
    for name in outputs:
        output = request.outputs.add(name=name)
        if classes:
            output.parameters["classification"].int64_param = classes
    request.raw_input_contents.extend(raws)
    return request


def with_parameters(request, **parameters):
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def summary(decoded):
    request = decoded.request
    tensors = {name: (each.datatype, each.shape, bytes(each.raw)) for name, each in request.inputs.items()}
    fields = (request.model_name, request.model_version, request.id, request.correlation_id, request.flags)
    times = (request.priority, request.timeout_us, request.explanation is not None)
    return fields, times, request.parameters, tensors, request.outputs, decoded.classes, decoded.empty_final


def read(plans, payload):
    try:
        parsed = plans.parse(payload)
        return parsed.model_name, parsed.model_version, parsed.id, summary(parsed.decode(REGIONS))
    except SlipwayError as error:
        return error.code, error.message


def expected(payload):
    try:
        parsed, raws = parse_request(payload)
        return parsed.model_name, parsed.model_version, parsed.id, summary(decode_request(parsed, raws, REGIONS))
    except SlipwayError as error:
        return error.code, error.message


MESSAGES = [
    message(),
    message(id="a"),
    message(id="b" * 200),
    message(model_version="1", id="c"),
    message(model_version="x"),
    with_parameters(message(id="d"), sequence_id=5, sequence_start=True, sequence_end=False),
    with_parameters(message(id="e"), sequence_id="five", priority=3, timeout=7, mine="m", half=0.5),
    with_parameters(message(), triton_enable_empty_final_response=True),
    with_parameters(message(), sequence_id=True),
    with_parameters(message(), slipway_explain=True),
    with_parameters(message(), long="x" * 300),
    message(outputs=("O", "P")),
    message(outputs=("O",), classes=2),
    message(raws=(b"\1\2", b"\3\4\5")),
    message(raws=(b"", b"\6", b"")),
    message(raws=(b"\1\0\0\0x",), datatype="BYTES"),
    message(raws=(bytes(40_000),)),
    message(raws=()),
]
PAYLOADS = [each.SerializeToString(deterministic=True) for each in MESSAGES]
HEADS = [
    b"",
    b"\x0a\x01n",
    b"\x1a\x01q\x0a\x01n",  # the id first
    b"\x0a\x01n\x0a\x01o",
    b"\x0a\x81\x00n",  # a length in two bytes
    b"\x0a\x05n",  # cut off
    b"\x0a\x01\xff",
    b"\x0a\x01n\x28\x01",  # a number as field 5
    b"\x0a\x01n\x42\x01x",  # field 8
    b"\x0a\x01n\x3a\x02\7\7",  # contents before the inputs
    b"\x0a\x01n\x22\x03\x0a\x01k",
    b"\x22\x03\x0a\x01k\x1a\x01q",
]


def tail(payload):
    return payload[payload.index(b"\x2a") :]


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_read_before_changes_no_request(order):
    plans = RequestPlans()
    payloads = [*PAYLOADS, *(head + tail(PAYLOADS[0]) for head in HEADS)][::order]
    for _ in range(2):
        for payload in payloads:
            assert read(plans, payload) == expected(payload)


@settings(deadline=None)
@given(st.sampled_from(PAYLOADS[:16]), st.data())
def test_a_damaged_message_is_read_as_if_it_were_the_first(payload, data):
    plans = RequestPlans()
    for each in PAYLOADS:
        read(plans, each)
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not damaged:
            return
    assert read(plans, bytes(damaged)) == expected(bytes(damaged))


def test_messages_that_differ_in_their_ids_parameters_and_contents_are_parsed_once():
    plans = RequestPlans()
    kinds = []
    for number in range(5):
        request = with_parameters(message(raws=(bytes([number]) * 2,), id=str(number)), sequence_id=number // 2 + 1)
        parsed = plans.parse(request.SerializeToString())
        decoded = parsed.decode(REGIONS).request
        kinds.append(type(parsed))
        assert (decoded.id, decoded.correlation_id, bytes(decoded.inputs["I0"].raw)) == (
            str(number),
            number // 2 + 1,
            bytes([number]) * 2,
        )
    assert kinds == [ParsedRequest] + [ReadRequest] * 4


def test_messages_of_one_kind_share_a_form_and_not_their_parameters():
    plans = RequestPlans()
    payload = with_parameters(message(), mine=1).SerializeToString()
    read(plans, payload)
    first, second = (plans.parse(payload).decode(REGIONS).request for _ in range(2))
    assert first.form is second.form is not None
    first.parameters["more"] = 2
    assert second.parameters == {"mine": 1}


def test_strings_are_checked_in_each_message():
    plans = RequestPlans()
    payload = message(raws=(b"\1\0\0\0x",), datatype="BYTES").SerializeToString()
    read(plans, payload)
    assert plans.parse(payload).decode(REGIONS).request.form is None


def test_what_is_remembered_is_bounded():
    plans = RequestPlans()
    for number in range(2 * protobuf_plans._MAX_REMEMBERED):
        read(plans, with_parameters(message(raws=(bytes(number),)), sequence_id=number).SerializeToString())
        read(plans, with_parameters(message(outputs=(f"O{number}",)), sequence_id=number).SerializeToString())
    assert len(plans._plans) <= protobuf_plans._MAX_LAYOUTS
    assert all(len(each) <= protobuf_plans._MAX_REMEMBERED for each in plans._plans.values())
    assert len(plans._parameters) <= protobuf_plans._MAX_REMEMBERED
    wide = message(outputs=[f"O{number}" for number in range(1000)]).SerializeToString()
    read(plans, wide)
    assert isinstance(plans.parse(wide), ParsedRequest)
