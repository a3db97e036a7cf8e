"""Requests are checked against the signature, with Triton's error texts."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.core.check import check_form, check_request
from slipway.core.request import InferRequest, RequestForm
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import Code, SlipwayError


def signature(*inputs: TensorSpec, max_batch_size: int = 8) -> ModelSignature:
    return ModelSignature(
        "m",
        max_batch_size,
        {spec.name: spec for spec in inputs},
        {"OUT": TensorSpec("OUT", "FP32", (-1,))},
        required_inputs=frozenset(spec.name for spec in inputs if not spec.optional),
    )


def request(*tensors: Tensor, outputs: tuple[str, ...] = (), id: str = "7") -> InferRequest:  # noqa: A002
    return InferRequest("m", id=id, inputs={tensor.name: tensor for tensor in tensors}, outputs=outputs)


def fp32(name: str, *shape: int) -> Tensor:
    return Tensor(name, "FP32", shape, raw=np.zeros(shape, np.float32).tobytes())


A = TensorSpec("A", "FP32", (16,))
B = TensorSpec("B", "FP32", (-1,), optional=True)
TEXT = TensorSpec("T", "BYTES", (-1,))


def test_rows_are_the_batch_dimension():
    assert check_request(request(fp32("A", 3, 16)), signature(A)) == 3


def test_a_model_without_batch_dimension_has_one_row():
    assert check_request(request(fp32("A", 16)), signature(A, max_batch_size=0)) == 1


def test_an_optional_input_may_be_left_out():
    assert check_request(request(fp32("A", 1, 16)), signature(A, B)) == 1


def test_an_empty_batch_is_zero_rows():
    assert check_request(request(fp32("A", 0, 16)), signature(A)) == 0


@pytest.mark.parametrize(
    ("given", "sign", "text"),
    [
        (request(fp32("A", 9, 16)), signature(A), "inference request batch-size must be <= 8 for 'm'"),
        (
            request(fp32("A", 1, 16), fp32("B", 2, 4)),
            signature(A, B),
            "input 'B' batch size does not match other inputs for 'm'",
        ),
        (
            request(Tensor("A", "FP32", (), raw=b"\0" * 4)),
            signature(A),
            "input 'A' has no shape but model requires batch dimension for 'm'",
        ),
        (
            request(Tensor("T", "BYTES", (1, 2), raw=b"\1\0")),
            signature(TEXT),
            (
                "incomplete string length indicator for inference input 'T' for model 'm', expecting 4 bytes but only "
                "2 bytes available. Please make sure the string length indicator is in one buffer."
            ),
        ),
        (
            request(Tensor("T", "BYTES", (1, 2), raw=b"\0\0\0\0" * 3)),
            signature(TEXT),
            "unexpected number of string elements 3 for inference input 'T' for model 'm', expecting 2",
        ),
        (
            request(Tensor("A", "INT32", (1, 16), raw=b"\0" * 64)),
            signature(A),
            "inference input 'A' data-type is 'INT32', but model 'm' expects 'FP32'",
        ),
        (
            request(),
            signature(A),
            (
                "expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required "
                "input(s) ['A']. Please provide all required input(s)."
            ),
        ),
        (
            request(Tensor("A", "FP32", (16,), raw=b"\0" * 60)),
            signature(A, max_batch_size=0),
            "input byte size mismatch for input 'A' for model 'm'. Expected 64, got 60",
        ),
        (
            request(fp32("A", 8)),
            signature(A, max_batch_size=0),
            "unexpected shape for input 'A' for model 'm'. Expected [16], got [8]. ",
        ),
        (
            request(Tensor("T", "BYTES", (1, 2), raw=b"\1\0\0\0a")),
            signature(TEXT),
            "expected 2 string elements for inference input 'T' for model 'm', got 1",
        ),
    ],
)
def test_refusals_use_tritons_words(given, sign, text):
    with pytest.raises(SlipwayError) as caught:
        check_request(given, sign)
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == f"[request id: 7] {text}"


@pytest.mark.parametrize(
    ("given", "sign", "text"),
    [
        (
            request(fp32("A", 1, 16), fp32("X", 1, 16)),
            signature(A, B),
            "unexpected inference input 'X' for model 'm'",
        ),
        (
            request(fp32("A", 1, 16), outputs=("NO",)),
            signature(A),
            "unexpected inference output 'NO' for model 'm'",
        ),
        (
            request(Tensor("T", "BYTES", (1, 2), raw=b"\xff\xff\xff\xffab")),
            signature(TEXT),
            (
                "incomplete string data for inference input 'T', expecting string of length 4294967295 but only 2 "
                "bytes available"
            ),
        ),
    ],
)
def test_some_refusals_do_not_name_the_request(given, sign, text):
    with pytest.raises(SlipwayError) as caught:
        check_request(given, sign)
    assert caught.value.message == text


def test_an_error_lists_a_hundred_names_at_most():
    with pytest.raises(SlipwayError) as caught:
        check_request(request(*(fp32(f"X{number}", 1, 16) for number in range(1000))), signature(A))
    assert "'X99',...]" in caught.value.message


def test_a_missing_batch_dimension_is_explained():
    with pytest.raises(SlipwayError, match=r"Expected \[-1,16\], got \[16\]\. NOTE: Setting a non-zero max_batch_size"):
        check_request(request(fp32("A", 16)), signature(A))


@pytest.mark.parametrize("shape", [(-1, -16), (1, -16), (-1, 16)])
def test_a_negative_dimension_fits_nothing(shape):
    tensor = Tensor("B", "FP32", shape, raw=bytes(64))
    with pytest.raises(SlipwayError, match="unexpected shape for input 'B'"):
        check_request(request(tensor), signature(B))


def test_an_empty_batch_next_to_a_full_one_is_refused():
    with pytest.raises(SlipwayError, match="input 'B' batch size does not match other inputs for 'm'"):
        check_request(request(fp32("A", 0, 16), fp32("B", 2, 4)), signature(A, B))


def test_a_request_without_id_is_named_so():
    with pytest.raises(SlipwayError, match=r"^\[request id: <id_unknown>\] "):
        check_request(request(id=""), signature(A))


@pytest.mark.parametrize(("shape", "batch"), [((2, -1), 8), ((0, -1), 8), ((-1,), 0)])
def test_a_size_left_open_in_a_request_is_refused_in_tritons_words(shape, batch):
    """The declared -1 means any size, the requested one none."""
    open_input = Tensor("T", "FP32", shape, raw=b"")
    with pytest.raises(SlipwayError) as caught:
        check_request(request(open_input), signature(TensorSpec("T", "FP32", (-1,)), max_batch_size=batch))
    got = "[" + ",".join(map(str, shape)) + "]"
    assert caught.value.message == (
        f"[request id: 7] All input dimensions should be specified for input 'T' for model 'm', got {got}"
    )


def test_what_a_model_accepted_is_not_accepted_by_another_one():
    one, other = signature(TensorSpec("A", "FP32", (3,))), signature(TensorSpec("A", "FP32", (4,)))
    given, form = request(fp32("A", 2, 3)), RequestForm()
    for _ in range(2):
        assert [check_form(given, form, one) for _ in range(2)] == [2, 2]
        with pytest.raises(SlipwayError, match="Expected"):
            check_form(given, form, other)
