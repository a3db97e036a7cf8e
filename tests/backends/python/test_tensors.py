"""`pb_utils.Tensor`: reading and making tensors in a model."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.core.tensor import Tensor

FLOATS = np.array([[1.5, -2.0]], np.float32)


def ask_of(lab, expression, tensor=None):
    """Return the value of an expression on the tensor `t` in a model."""
    tensor = tensor or Tensor.from_array("IN_FP32", FLOATS)
    tensor = Tensor(tensor.name, tensor.datatype, tensor.shape, raw=tensor.raw)  # as a front makes it
    return lab.ask(f"t = request.inputs()[1]\nreturn [text({expression})]", tensors=[tensor])


@pytest.mark.parametrize(
    ("expression", "value"),
    {
        "t.name()": "IN_FP32",
        "t.shape()": "[1, 2]",
        "t.triton_dtype()": "11",
        "t.is_cpu()": "True",
        "t.as_numpy().tolist()": "[[1.5, -2.0]]",
        "t.as_numpy() is t.as_numpy()": "True",
        "t.as_numpy().flags.writeable": "True",
        "np.from_dlpack(t).tolist()": "[[1.5, -2.0]]",
        "t.__dlpack_device__()": "(1, 0)",
        "pb_utils.Tensor.from_dlpack('a', t.to_dlpack()).as_numpy().tolist()": "[[1.5, -2.0]]",
        "pb_utils.get_input_tensor_by_name(request, 'IN_FP32') is t": "True",
        "pb_utils.get_input_tensor_by_name(request, 'nope')": "None",
    }.items(),
)
def test_an_input_is_read(lab, expression, value):
    assert ask_of(lab, expression) == value


def test_writing_to_an_input_changes_it_for_the_model_only(lab):
    given = Tensor.from_array("IN_FP32", FLOATS.copy())
    body = "a = request.inputs()[1].as_numpy()\na[:] = 7\nreturn [text(request.inputs()[1].as_numpy().tolist())]"
    assert lab.ask(body, tensors=[given]) == "[[7.0, 7.0]]"
    assert given.array.tolist() == [[1.5, -2.0]]


def test_strings_keep_every_byte(lab):
    words = np.array([[b"a\0b", b"", "é".encode(), b"\xff\0"]], dtype=np.object_)
    given = Tensor.from_array("IN_STRING", words)
    assert ask_of(lab, "t.as_numpy().tolist()", given) == str(words.tolist())
    body = "return [pb_utils.InferenceResponse([pb_utils.Tensor('OUT_STRING', request.inputs()[1].as_numpy())])]"
    assert lab.response(body, tensors=[given]).outputs[0].array.tolist() == words.tolist()


def test_strings_may_be_made_of_str_bytes_and_other_objects(lab):
    body = """
    mixed = np.array([["x", b"y\\0", 1, None, np.bytes_(b"z")]], dtype=np.object_)
    return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT_STRING", mixed)])]
    """
    assert lab.response(body).outputs[0].array.tolist() == [[b"x", b"y\0", b"1", b"None", b"z"]]


def test_fixed_width_byte_strings_are_strings(lab):
    body = "return [pb_utils.InferenceResponse([pb_utils.Tensor('OUT_STRING', np.array([[b'ab', b'c']]))])]"
    assert lab.response(body).outputs[0].array.tolist() == [[b"ab", b"c"]]


def test_bfloat16_has_no_numpy_but_travels_through_dlpack(lab):
    given = Tensor("IN_BF16", "BF16", (1, 2), raw=b"\x80?\0@")
    assert ask_of(lab, "attempt(t.as_numpy)", given) == (
        "TritonModelException: Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and "
        "from_dlpack() instead."
    )
    body = """
    import torch
    doubled = torch.from_dlpack(request.inputs()[1]) * 2
    return [pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("OUT_BF16", doubled)])]
    """
    [output] = lab.response(body, tensors=[given]).outputs
    assert (output.datatype, output.shape, bytes(output.raw)) == ("BF16", (1, 2), b"\0@\x80@")


@pytest.mark.parametrize("dtype", ["bool_", "int8", "uint16", "uint32", "int64", "float16", "float64"])
def test_torch_tensors_are_taken_over_without_a_copy(lab, dtype):
    body = f"""
    import torch
    source = torch.from_numpy(np.ones((2, 2), np.{dtype}))
    taken = pb_utils.Tensor.from_dlpack("a", source)
    source[0, 0] = 0
    return [text(taken.as_numpy().tolist() == source.tolist(), taken.as_numpy().dtype == np.{dtype})]
    """
    assert lab.ask(body) == ["True", "True"]


def test_outputs_of_any_memory_order_arrive_in_row_order(lab):
    body = """
    made = np.arange(6, dtype=np.int64).reshape(2, 3).T
    return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT_INT64", made)])]
    """
    assert lab.response(body).outputs[0].array.tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("shape", [(0, 3), (1, 0)])
def test_empty_tensors_pass(lab, shape):
    given = Tensor("IN_FP32", "FP32", shape, raw=b"")
    body = "return [pb_utils.InferenceResponse([pb_utils.Tensor('OUT_FP32', request.inputs()[1].as_numpy())])]"
    assert lab.response(body, tensors=[given]).outputs[0].shape == shape


def test_large_tensors_pass(lab):
    given = Tensor.from_array("IN_FP32", np.arange(1 << 20, dtype=np.float32).reshape(1, -1))
    body = "return [pb_utils.InferenceResponse([pb_utils.Tensor('OUT_FP32', request.inputs()[1].as_numpy() + 1)])]"
    for _ in range(3):
        [output] = lab.response(body, tensors=[given]).outputs
        assert np.array_equal(output.array, given.array + 1)


@pytest.mark.parametrize(
    ("expression", "message"),
    {
        "pb_utils.Tensor('', np.zeros(1))": "TritonModelException: Tensor name cannot be an empty string.",
        "pb_utils.Tensor.from_dlpack('', np.zeros(1))": "TritonModelException: Tensor name cannot be an empty string.",
        "pb_utils.Tensor('a', np.zeros(1, np.complex64))": "TritonModelException: NumPy dtype is not supported.",
        "pb_utils.Tensor('a', np.array(['x'], dtype=object)).to_dlpack()": "TritonModelException: DLPack does not have "
        "support for string tensors.",
        "pb_utils.Tensor.from_dlpack('a', 3)": "TritonModelException: Provided tensor is not supported. Tensor must be "
        "a DLPack capsule or have `__dlpack__` and `__dlpack_device__` attributes",
        "pb_utils.Tensor.from_dlpack('a', np.zeros((2, 3)).T)": "TritonModelException: DLPack tensor is not "
        "contiguous. Only contiguous DLPack tensors that are stored in C-Order are supported.",
    }.items(),
)
def test_what_is_not_a_tensor_is_refused_in_tritons_words(lab, expression, message):
    assert lab.ask(f"attempt(lambda: {expression})") == message


def test_a_list_is_not_an_array(lab):
    assert lab.ask("attempt(lambda: pb_utils.Tensor('a', [1]))").startswith("TypeError: ")
