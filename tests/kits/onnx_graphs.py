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


def described(directory: Path) -> Path:
    """Write a graph over flat x [n], counts [r] and about [k], all FP32: each of the r rows has all of x and about."""
    nodes = [
        ("Div", ["counts", "counts"], ["ones"]),
        ("Reshape", ["ones", "column"], ["rows"]),
        ("Reshape", ["x", "row"], ["x_row"]),
        ("Reshape", ["about", "row"], ["about_row"]),
        ("MatMul", ["rows", "x_row"], ["all_x"]),
        ("MatMul", ["rows", "about_row"], ["all_about"]),
    ]
    inputs = [(name, TensorProto.FLOAT, [symbol]) for name, symbol in (("x", "n"), ("counts", "r"), ("about", "k"))]
    outputs = [(name, TensorProto.FLOAT, ["r", None]) for name in ("all_x", "all_about")]
    shapes = [weights("column", np.array([-1, 1], np.int64)), weights("row", np.array([1, -1], np.int64))]
    return write(directory, nodes, inputs, outputs, shapes)


def item_shapes(directory: Path) -> Path:
    """Write a graph over flat x [n] and shapes INT32 [r, 2]; it returns the shapes, and twice x."""
    nodes = [
        ("Add", ["x", "x"], ["twice"]),
        ("Identity", ["shapes"], ["given"]),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n"]), ("shapes", TensorProto.INT32, ["r", 2])]
    outputs = [("twice", TensorProto.FLOAT, ["n"]), ("given", TensorProto.INT32, ["r", 2])]
    return write(directory, nodes, inputs, outputs)


def ragged_sums(directory: Path) -> Path:
    """Write a graph over flat x [n] and bounds INT32 [r + 1]; it returns the sum of x between two bounds [r, 1]."""
    nodes = [
        ("CumSum", ["x", "first_axis"], ["sums"]),
        ("Concat0", ["nothing", "sums"], ["before"]),
        ("Gather0", ["before", "bounds"], ["at"]),
        ("Slice", ["at", "one", "end"], ["upper"]),
        ("Slice", ["at", "zero", "minus_one"], ["lower"]),
        ("Sub", ["upper", "lower"], ["flat"]),
        ("Unsqueeze", ["flat", "one"], ["sum"]),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n"]), ("bounds", TensorProto.INT32, ["b"])]
    outputs = [("sum", TensorProto.FLOAT, [None, 1])]
    numbers = {"zero": [0], "one": [1], "minus_one": [-1], "end": [2**31 - 1], "first_axis": 0}
    constants = [weights(name, np.array(value, np.int64)) for name, value in numbers.items()]
    return write(directory, nodes, inputs, outputs, [*constants, weights("nothing", np.zeros(1, np.float32))])
