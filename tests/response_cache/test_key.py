"""Two requests have the same key exactly if a model would see the same request."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.request import SEQUENCE_START, InferRequest
from slipway.core.tensor import Tensor
from slipway.response_cache.key import request_key

OUTPUTS = {"Y": None, "Z": None}
IDENTITY = bytes(32)


def tensor(name="X", values=(1, 2, 3, 4), datatype=np.int32, shape=(1, 4)):
    return Tensor.from_array(name, np.array(values, datatype).reshape(shape))


def request(*inputs, **fields):
    return InferRequest("m", inputs={each.name: each for each in inputs or (tensor(),)}, **fields)


def key(asked, identity=IDENTITY):
    return request_key(identity, asked, OUTPUTS)


DIFFERENT = {
    "plain": request(),
    "value": request(tensor(values=(1, 2, 3, 5))),
    "shape": request(tensor(shape=(2, 2))),
    "datatype": request(tensor(datatype=np.uint32)),
    "name": request(tensor("W")),
    "two inputs": request(tensor(), tensor("W")),
    "split elsewhere": request(tensor(values=(1, 2), shape=(1, 2)), tensor("W", (3, 4), shape=(1, 2))),
    "one output": request(outputs=("Y",)),
    "other output": request(outputs=("Z",)),
    "parameter": request(parameters={"a": 1}),
    "parameter as text": request(parameters={"a": "1"}),
    "parameter as boolean": request(parameters={"a": True}),
    "parameter as number": request(parameters={"a": 1.0}),
    "sequence": request(correlation_id=7),
    "sequence as text": request(correlation_id="7"),
    "start": request(correlation_id=7, flags=SEQUENCE_START),
}


def test_whatever_a_model_can_see_makes_another_key():
    keys = {name: key(asked) for name, asked in DIFFERENT.items()}
    same = [(a, b) for a, b in itertools.combinations(keys, 2) if keys[a] == keys[b]]
    assert not same
    assert key(request(), b"\1" * 32) not in keys.values()


@pytest.mark.parametrize(
    "other",
    [
        request(id="7"),
        request(priority=2, timeout_us=1000),
        request(outputs=("Z", "Y")),
        InferRequest("m", "1", inputs={"X": tensor()}),
        InferRequest("m", inputs={"X": Tensor("X", "INT32", (1, 4), raw=np.array([1, 2, 3, 4], np.int32).tobytes())}),
    ],
    ids=["id", "priority and time-out", "every output", "version by number", "in wire form"],
)
def test_what_does_not_change_a_result_leaves_the_key_as_it_is(other):
    assert key(other) == key(request())


def test_the_order_of_inputs_and_parameters_does_not_matter():
    inputs, swapped = (tensor(), tensor("W")), (tensor("W"), tensor())
    one = request(*inputs, parameters={"a": 1, "b": 2})
    assert key(one) == key(request(*swapped, parameters={"b": 2, "a": 1}))


def test_strings_have_the_same_key_as_objects_and_in_wire_form():
    array = np.array([b"a", b"bc"], np.object_)
    made = Tensor.from_array("X", array)
    received = Tensor("X", "BYTES", (2,), raw=memoryview(bytes(made.raw)))
    assert key(request(made)) == key(request(received))
    other = Tensor.from_array("X", np.array([b"ab", b"c"], np.object_))
    assert key(request(made)) != key(request(other))


TEXTS = st.text(st.sampled_from("a(',[\0\ud800 "), max_size=6)
PARAMETERS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.booleans()), max_size=3)
REQUESTS = st.builds(
    lambda inputs, outputs, parameters: InferRequest(
        "m",
        inputs={name: Tensor(name, "UINT8", (len(raw),), raw=raw) for name, raw in inputs.items()},
        outputs=tuple(outputs),
        parameters=parameters,
    ),
    st.dictionaries(TEXTS, st.binary(max_size=6), max_size=3),
    st.sampled_from([(), ("Y",), ("Z",)]),
    PARAMETERS,
)


def seen(asked):
    """Return what a model sees of a request, as a value that can be compared."""
    inputs = sorted((name, bytes(each.raw)) for name, each in asked.inputs.items())
    parameters = sorted((name, type(value).__name__, value) for name, value in asked.parameters.items())
    return inputs, sorted(asked.outputs), parameters


@given(REQUESTS, REQUESTS)
def test_keys_are_equal_exactly_for_equal_requests(one, other):
    assert (key(one) == key(other)) == (seen(one) == seen(other))
