"""Infer requests on the wire: what is accepted, and the error texts for everything else."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from slipway.core.request import SEQUENCE_END, SEQUENCE_START
from slipway.errors import Code, SlipwayError
from slipway.wire.infer_request import decode_infer

FLOATS = np.array([1.0, 2.5], np.float32)
NO_SOURCE = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
    "'shared_memory_region' in 'parameters'. But "
)
NO_SHARED_MEMORY = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
NON_UNSIGNED = "attempt to access JSON non-unsigned-integer as unsigned-integer"


def entry(**members):
    """Return a valid input, changed by `members`; None removes a member."""
    base = {"name": "IN0", "shape": [2], "datatype": "FP32", "data": [1, 2.5]}
    return {key: value for key, value in (base | members).items() if value is not None}


def binary(size, **members):
    return entry(data=None, parameters={"binary_data_size": size}, **members)


def document(*inputs, **members):
    return {"inputs": list(inputs), **members}


def decode(value, blob=b""):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return decode_infer("m", "1", text + blob, len(text))


def refusal(value, blob=b""):
    with pytest.raises(SlipwayError) as caught:
        decode(value, blob)
    return caught.value.code, caught.value.message


def test_json_data_becomes_a_tensor():
    request, encoding = decode(document(entry(shape=[1, 2]), id="r1"))
    tensor = request.inputs["IN0"]
    assert (request.model_name, request.model_version, request.id) == ("m", "1", "r1")
    assert (tensor.datatype, tensor.shape) == ("FP32", (1, 2))
    assert tensor.array.tolist() == [[1.0, 2.5]]
    assert not encoding.binary
    assert encoding.outputs == {}


def test_a_binary_tensor_is_a_read_only_view_of_the_body():
    text = json.dumps(document(binary(8))).encode()
    body = bytearray(text + FLOATS.tobytes())
    request, _ = decode_infer("m", "", body, len(text))
    tensor = request.inputs["IN0"]
    assert tensor.raw.obj is body
    assert tensor.raw.readonly
    assert tensor.array.tolist() == [1.0, 2.5]


def test_binary_tensors_follow_in_input_order_and_mix_with_json():
    request, _ = decode(
        document(binary(8, name="A"), entry(name="B"), binary(5, name="C", shape=[1], datatype="BYTES")),
        FLOATS.tobytes() + struct.pack("<I", 1) + b"x",
    )
    assert request.inputs["A"].array.tolist() == [1.0, 2.5]
    assert request.inputs["B"].array.tolist() == [1.0, 2.5]
    assert request.inputs["C"].array.tolist() == [b"x"]


def test_outputs_choose_their_own_form_over_the_request_wide_one():
    request, encoding = decode(
        document(
            entry(),
            parameters={"binary_data_output": True},
            outputs=[
                {"name": "A"},
                {"name": "B", "parameters": {"binary_data": False}},
                {"name": "C", "parameters": {"classification": 3, "something": 1}},
            ],
        )
    )
    assert request.outputs == ("A", "B", "C")
    assert {name: (one.binary, one.classes) for name, one in encoding.outputs.items()} == {
        "A": (True, 0),
        "B": (False, 0),
        "C": (True, 3),
    }


def test_reserved_parameters_go_to_their_fields_and_others_stay():
    request, _ = decode(
        document(
            entry(),
            parameters={
                "sequence_id": 2**64 - 1,
                "sequence_start": True,
                "sequence_end": True,
                "priority": 2**63,
                "timeout": 7,
                "mine": "x",
                "ratio": 1.5,
                "flag": False,
                "big": 2**63,
            },
        )
    )
    assert request.correlation_id == 2**64 - 1
    assert request.flags == SEQUENCE_START | SEQUENCE_END
    assert (request.priority, request.timeout_us) == (2**63, 7)
    assert request.parameters == {"mine": "x", "ratio": 1.5, "flag": False, "big": float(2**63)}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[NaN, 1]", [float("nan"), 1.0]),
        ("[Infinity, -Infinity]", [float("inf"), float("-inf")]),
        ("[1e39, -0]", [float("inf"), 0.0]),
        ("[[[1], [2]]]", [1.0, 2.0]),
        (" [ 1 ,\n2.5e0 ] ", [1.0, 2.5]),
        ("[123456789012345678901234567890, 1]", [1.2345679e29, 1.0]),
    ],
)
def test_numbers_are_read_as_triton_reads_them(value, expected):
    text = b'{"inputs":[{"name":"IN0","shape":[2],"datatype":"FP32","data":%s}]}' % value.encode()
    np.testing.assert_array_equal(decode(text)[0].inputs["IN0"].array, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        (b"{", Code.INTERNAL, "failed to parse the request JSON buffer: "),
        (b"", Code.INTERNAL, "failed to parse the request JSON buffer: "),
        (b"nul", Code.INTERNAL, "failed to parse the request JSON buffer: "),
        (b'{"inputs":[]} x', Code.INTERNAL, "failed to parse the request JSON buffer: "),
        (b'{"id":"\xff","inputs":[]}', Code.INTERNAL, "failed to parse the request JSON buffer: "),
        (b'{"id":1e400,"inputs":[]}', Code.INTERNAL, "failed to parse the request JSON buffer: "),
        (b"[" * 100_000, Code.INVALID_ARG, "JSON nesting depth exceeds maximum allowed limit (100)"),
        (
            b"[]",
            Code.INTERNAL,
            "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'",
        ),
        ({}, Code.INTERNAL, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"),
        ({"inputs": {}}, Code.INTERNAL, "Unable to parse 'inputs': attempt to access JSON non-array as array"),
        (document(5), Code.INTERNAL, "Unable to parse 'name': attempt to access non-existing object member 'name'"),
        (document(id=5), Code.INTERNAL, "Unable to parse 'id': attempt to access JSON non-string as string"),
        (
            document(entry(), parameters=[]),
            Code.INTERNAL,
            "failed to get request params.: attempt to get members for non-object",
        ),
        (document(entry(name=5)), Code.INTERNAL, "Unable to parse 'name': attempt to access JSON non-string as string"),
        (
            document(entry(shape=None)),
            Code.INTERNAL,
            "Unable to parse 'shape': attempt to access non-existing object member 'shape'",
        ),
        (document(entry(shape=5)), Code.INTERNAL, "Unable to parse 'shape': attempt to access JSON non-array as array"),
        (document(entry(shape=[2, -5])), Code.INTERNAL, f"Unable to parse 'shape': {NON_UNSIGNED}"),
        (document(entry(shape=[2.5])), Code.INTERNAL, f"Unable to parse 'shape': {NON_UNSIGNED}"),
        (document(entry(shape=[True])), Code.INTERNAL, f"Unable to parse 'shape': {NON_UNSIGNED}"),
        (document(entry(datatype="FP8")), Code.INVALID_ARG, "invalid datatype for input IN0"),
        (
            document(entry(datatype=3)),
            Code.INTERNAL,
            "Unable to parse 'datatype': attempt to access JSON non-string as string",
        ),
        (document(entry(data=None)), Code.INVALID_ARG, NO_SOURCE + "no field is set"),
        (
            document(entry(parameters={"binary_data_size": 8})),
            Code.INVALID_ARG,
            NO_SOURCE + "set 'data' 'binary_data_size'",
        ),
        (
            document(entry(parameters={"shared_memory_region": "r"})),
            Code.INVALID_ARG,
            NO_SOURCE + "set 'data' 'shared_memory_region'",
        ),
        (
            document(entry(data=None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 8})),
            Code.UNSUPPORTED,
            NO_SHARED_MEMORY,
        ),
        (document(binary(-1)), Code.INTERNAL, f"Unable to parse 'binary_data_size': {NON_UNSIGNED}"),
        (document(binary("x")), Code.INTERNAL, f"Unable to parse 'binary_data_size': {NON_UNSIGNED}"),
        (
            document(binary(2**63)),
            Code.INVALID_ARG,
            f"unexpected size for input 'IN0', expecting {2**63} additional bytes for model 'm'",
        ),
        (
            document(entry(), entry()),
            Code.INVALID_ARG,
            "[request id: <id_unknown>] input 'IN0' already exists in request",
        ),
        (
            document(entry(), outputs=5),
            Code.INTERNAL,
            "Unable to parse 'outputs': attempt to access JSON non-array as array",
        ),
        (
            document(entry(), outputs=[{}]),
            Code.INTERNAL,
            "Unable to parse 'name': attempt to access non-existing object member 'name'",
        ),
        (
            document(entry(), id="r1", outputs=[{"name": "A"}, {"name": "A"}]),
            Code.INVALID_ARG,
            "[request id: r1] output 'A' already exists in request",
        ),
        (
            document(entry(), outputs=[{"name": "A", "parameters": {"binary_data": 1}}]),
            Code.INTERNAL,
            "Unable to parse 'binary_data': attempt to access JSON non-boolean as boolean",
        ),
        (
            document(entry(), outputs=[{"name": "A", "parameters": {"classification": -1}}]),
            Code.INTERNAL,
            f"Unable to set 'classification': {NON_UNSIGNED}",
        ),
        (
            document(entry(), outputs=[{"name": "A", "parameters": {"shared_memory_region": "r"}}]),
            Code.UNSUPPORTED,
            NO_SHARED_MEMORY,
        ),
        (
            document(
                entry(), outputs=[{"name": "A", "parameters": {"classification": 1, "shared_memory_region": "r"}}]
            ),
            Code.INVALID_ARG,
            "Output can't set both 'shared_memory_region' and 'classification'",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_malformed_request_is_refused_in_tritons_words(value, code, message):
    found_code, found = refusal(value)
    assert found_code is code
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "binary_data_output",
            1,
            "Unable to parse 'binary_data_output': attempt to access JSON non-boolean as boolean",
        ),
        ("sequence_start", 1, "Unable to parse 'sequence_start': attempt to access JSON non-boolean as boolean"),
        ("sequence_end", "x", "Unable to parse 'sequence_end': attempt to access JSON non-boolean as boolean"),
        ("sequence_id", -1, "Unable to parse 'sequence_id': attempt to access JSON non-string as string"),
        ("sequence_id", 2**64, "Unable to parse 'sequence_id': attempt to access JSON non-string as string"),
        ("sequence_id", True, "Unable to parse 'sequence_id': attempt to access JSON non-string as string"),
        ("sequence_id", "y" * 129, "string correlation ID cannot be longer than 128 characters"),
        ("priority", -1, f"Unable to parse 'priority': {NON_UNSIGNED}"),
        ("timeout", 2**64, f"Unable to parse 'timeout': {NON_UNSIGNED}"),
        ("timeout", "x", f"Unable to parse 'timeout': {NON_UNSIGNED}"),
        (
            "triton_x",
            1,
            "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.",
        ),
        ("foo", None, "parameter 'foo' has invalid type. It should be either 'int', 'bool', or 'string'."),
        ("foo", {}, "parameter 'foo' has invalid type. It should be either 'int', 'bool', or 'string'."),
    ],
)
def test_a_parameter_of_the_wrong_type_is_refused(key, value, message):
    assert refusal(document(entry(), parameters={key: value}))[1] == message


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (FLOATS.tobytes() + b"x", "unexpected additional input data for model 'm'"),
        (FLOATS.tobytes()[:-1], "unexpected size for input 'IN0', expecting 1 additional bytes for model 'm'"),
        (b"", "unexpected size for input 'IN0', expecting 8 additional bytes for model 'm'"),
    ],
)
def test_missing_and_left_over_bytes_are_refused(blob, message):
    assert refusal(document(binary(8)), blob) == (Code.INVALID_ARG, message)


def test_a_hundred_thousand_inputs_are_read():
    request, _ = decode(document(*(entry(name=f"I{number}") for number in range(100_000))))
    assert len(request.inputs) == 100_000
