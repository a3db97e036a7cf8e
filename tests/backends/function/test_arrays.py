"""The arrays of a bound function: what it gets, and the check of what it returns."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.backends.function.arrays import ModelArrays
from slipway.backends.function.bound_model import ModelSettings, bind
from slipway.backends.function.messages import Reply
from slipway.backends.function.tensor_type import TensorType
from slipway.config.normalise import normalise
from slipway.config.signature import build_signature
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import Code, SlipwayError


def arrays_of(tmp_path, inputs, outputs, max_batch_size=8):
    settings = ModelSettings(max_batch_size=max_batch_size)
    model = bind(lambda **_: None, name="m", version=1, inputs=inputs, outputs=outputs, settings=settings)
    normalise(model.config)
    return ModelArrays(model, build_signature(model.config, tmp_path))


def request(**arrays):
    return InferRequest("m", inputs={name: Tensor.from_array(name, array) for name, array in arrays.items()})


@pytest.fixture
def vectors(tmp_path):
    x, y = TensorType(np.float32, 2, name="x"), TensorType(np.float32, 2, name="y")
    return arrays_of(tmp_path, [x], [y, TensorType(str, name="label")])


def test_requests_are_stacked_and_texts_are_str(tmp_path):
    arrays = arrays_of(tmp_path, [TensorType(str, name="t"), TensorType(int, -1, name="n")], [TensorType(int)])
    first = request(t=np.array([["ä"]], object), n=np.array([[1, 2]]))
    second = request(t=np.array([[b"b"], [b""]], object), n=np.array([[3, 4], [5, 6]]))
    packed = request(t=first.inputs["t"].array, n=first.inputs["n"].array)
    packed.inputs["t"] = Tensor("t", "BYTES", (1, 1), raw=first.inputs["t"].raw)
    second.inputs["t"] = Tensor("t", "BYTES", (2, 1), raw=second.inputs["t"].raw)
    arguments = arrays.arguments([packed, second])
    assert arguments["t"].tolist() == ["ä", "b", ""]
    assert arguments["n"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_the_function_may_write_to_its_inputs(vectors):
    received = Tensor("x", "FP32", (1, 2), raw=np.ones(2, np.float32).tobytes())
    arguments = vectors.arguments([InferRequest("m", inputs={"x": received})])
    arguments["x"] *= 2
    assert received.array.tolist() == [[1, 1]]


@pytest.mark.parametrize("batched", [True, False])
def test_what_the_function_writes_stays_its_own(tmp_path, batched):
    inputs = [TensorType(np.float32, 2, name="x"), TensorType(bytes, 2, name="text")]
    arrays = arrays_of(tmp_path, inputs, [TensorType(int)], max_batch_size=8 * batched)
    shape = (1, 2) if batched else (2,)
    step = request(x=np.ones(shape, np.float32), text=np.full(shape, b"a", object))  # the arrays of another step
    arguments = arrays.arguments([step])
    arguments["x"] *= 2
    arguments["text"][...] = b"b"
    assert set(step.inputs["x"].array.ravel()) == {1}
    assert set(step.inputs["text"].array.ravel()) == {b"a"}


def test_a_text_that_is_not_utf_8_is_an_invalid_request(tmp_path):
    arrays = arrays_of(tmp_path, [TensorType(str, name="t")], [TensorType(int)])
    with pytest.raises(SlipwayError, match="input 't' is not valid UTF-8: invalid start byte at byte 1") as caught:
        arrays.arguments([InferRequest("m", inputs={"t": Tensor("t", "BYTES", (1, 1), raw=b"\2\0\0\0a\xff")})])
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize(
    "returned",
    [
        {"label": ["a", b"b"], "y": np.ones((2, 2), np.float32)},
        (np.ones((2, 2), np.float32), np.array(["a", "b"])),
        ([[1, 1], [1, 1.0]], np.array([b"a", b"b"])),
    ],
)
def test_outputs_are_a_mapping_or_a_tuple_of_arrays_or_lists(vectors, returned):
    outputs = vectors.outputs(returned, 2)
    assert list(outputs) == ["y", "label"]
    assert outputs["y"].dtype == np.float32
    assert outputs["y"].tolist() == [[1, 1], [1, 1]]
    assert outputs["label"].shape == (2,)


def test_outputs_are_copies(vectors):
    mine = np.ones((1, 2), np.float32)
    outputs = vectors.outputs((mine, ["a"]), 1)
    mine[:] = 0
    assert outputs["y"].tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ({"y": np.ones((1, 2), np.float32)}, "model 'm' did not return output 'label'"),
        ({"y": 0, "lable": 0}, "returned an output 'lable' that is not declared; did you mean 'label'?"),
        ((np.ones((1, 2), np.float32),), "returned 1 outputs, declared are 2: y, label"),
        (np.ones((1, 2), np.float32), "returned ndarray, expected a dict by output name or a tuple of 2 outputs"),
        ((np.ones((1, 2)), ["a"]), "returned output 'y' as FP64, declared is FP32: convert it with .astype('float32')"),
        ((np.ones((1, 2), complex), ["a"]), "returned output 'y' as complex128, declared is FP32"),
        ((np.ones((2, 2), np.float32), ["a"]), "returned output 'y' with shape [2, 2] for a batch of 1 rows, expected"),
        ((np.ones((1, 3), np.float32), ["a"]), "shape [1, 3] for a batch of 1 rows, expected [1, 2]"),
        ((np.float32(1), ["a"]), "shape [] for a batch of 1 rows, expected [1, 2]"),
        (([["a", "b"]], ["a"]), "returned output 'y' that is not FP32"),
        (([[1, 2]], [3]), "returned output 'label' with a int among its strings"),
        (([[1, 2]], [["a"]]), "output 'label' with shape [1, 1] for a batch of 1 rows, expected [1]"),
        (None, "returned NoneType, expected a dict"),
    ],
)
def test_what_is_not_declared_is_refused_with_both_values(vectors, returned, text):
    with pytest.raises(SlipwayError) as caught:
        vectors.outputs(returned, 1)
    assert caught.value.code is Code.INTERNAL
    assert text in caught.value.message


def test_an_object_that_does_not_become_an_array_is_said_to_be_that(vectors):
    class Stubborn:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("call detach() first")

    with pytest.raises(SlipwayError, match=r"output 'y' that does not become an array: RuntimeError: call detach\(\)"):
        vectors.outputs((Stubborn(), ["a"]), 1)


def test_a_model_without_a_batch_axis_returns_the_declared_shape(tmp_path):
    arrays = arrays_of(tmp_path, [TensorType(int, name="n")], [TensorType(int)], max_batch_size=0)
    assert arrays.arguments([request(n=np.array([3]))])["n"].tolist() == 3
    assert arrays.outputs(4, 1)["output"].tolist() == [4]


def test_response_parameters_are_for_all_requests_or_for_each(vectors):
    assert vectors.parameters(Reply(None, {"a": 1}), 2) == [{"a": 1}, {"a": 1}]
    assert vectors.parameters(Reply(None, [{"a": 1}, {}]), 2) == [{"a": 1}, {}]
    with pytest.raises(SlipwayError, match="returned parameters for 1 requests, the batch has 2"):
        vectors.parameters(Reply(None, [{}]), 2)
    with pytest.raises(SlipwayError, match="parameter 'a' with a list, expected str, int, float or bool"):
        vectors.parameters(Reply(None, {"a": []}), 1)
