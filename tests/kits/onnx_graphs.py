"""Tiny ONNX graphs, written as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

Value = tuple[str, int, Sequence[Any] | None]

# ONNX element types by Triton's names.
ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}


def write(
    directory: Path,
    nodes: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    file: str = "1/model.onnx",
) -> Path:
    """Write a graph into a model's directory; return the directory."""
    graph = helper.make_graph(
        [_node(op, taken, given) for op, taken, given in nodes],
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return directory


def _node(op: str, taken: Sequence[str], given: Sequence[str]) -> onnx.NodeProto:
    """Return a node; a digit behind its kind is its axis, or the type that it casts to."""
    kind = op.rstrip("0123456789")
    key = "to" if kind == "Cast" else "axis"
    attributes = {key: int(op.removeprefix(kind))} if kind != op else {}
    return helper.make_node(kind, list(taken), list(given), **attributes)


def identity(directory: Path, element: int, shape: Sequence[Any] = ("n", "m"), file: str = "1/model.onnx") -> Path:
    return write(directory, [("Identity", ["x"], ["y"])], [("x", element, shape)], [("y", element, shape)], file=file)


def weights(name: str, array: np.ndarray) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(array, name)


def external_weights(name: str, shape: Sequence[int], location: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=shape)
    tensor.external_data.add(key="location", value=location)
    return tensor


def lookup(directory: Path) -> Path:
    """Look up rows in a table of 3 by index; an index out of range fails at run time."""
    table = weights("w", np.arange(6, dtype=np.float32).reshape(3, 2))
    inputs, outputs = [("x", TensorProto.INT64, ["n", 1])], [("y", TensorProto.FLOAT, ["n", 1, 2])]
    return write(directory, [("Gather", ["w", "x"], ["y"])], inputs, outputs, [table])


def folded(directory: Path) -> Path:
    """X [n, k] in rows of 8 as y [n, m]: that m is 8 only shows once constants are folded."""
    return write(
        directory,
        [
            ("Shape", ["table"], ["sizes"]),
            ("Slice", ["sizes", "one", "two"], ["width"]),
            ("Concat0", ["rest", "width"], ["shape"]),
            ("Reshape", ["x", "shape"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["n", "k"])],
        [("y", TensorProto.FLOAT, ["n", "m"])],
        [
            weights("table", np.zeros((2, 8), np.float32)),
            *(weights(name, np.array([value])) for name, value in (("one", 1), ("two", 2), ("rest", -1))),
        ],
    )


def detections(directory: Path) -> Path:
    """Where x [batch, 4] is above 0, as dets [num, 2]: how many rows there are depends on the values."""
    return write(
        directory,
        [("Greater", ["x", "zero"], ["above"]), ("NonZero", ["above"], ["found"]), ("Transpose", ["found"], ["dets"])],
        [("x", TensorProto.FLOAT, ["batch", 4])],
        [("dets", TensorProto.INT64, ["num", 2])],
        [weights("zero", np.float32(0))],
    )


def two_outputs(directory: Path) -> Path:
    """Return sum = a + b and product = a * b; batched."""
    shape = ["n", 2]
    return write(
        directory,
        [("Add", ["a", "b"], ["sum"]), ("Mul", ["a", "b"], ["product"])],
        [(name, TensorProto.FLOAT, shape) for name in ("a", "b")],
        [(name, TensorProto.FLOAT, shape) for name in ("sum", "product")],
    )
