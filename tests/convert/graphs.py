"""Tiny ONNX graphs, TorchScript and torch.export files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 50
HIDDEN = 16


def write_encoder_graph(path: Path, *, batched: bool = True, seed: int = 0) -> Path:
    """Write an embedding lookup, a masked mean and a projection: input_ids, attention_mask -> embedding."""
    random = np.random.default_rng(seed)
    rows = "rows" if batched else 1
    table = random.standard_normal((VOCABULARY, HIDDEN)).astype(np.float32)
    weights = random.standard_normal((HIDDEN, HIDDEN)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["float_mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["float_mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["vectors", "wide_mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["wide_mask", "tokens"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weights"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, [rows, "length"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [rows, "length"]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [rows, HIDDEN])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-1], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def write_external(path: Path, location: str) -> Path:
    """Write the encoder with its embedding table in an external data file."""
    write_encoder_graph(path)
    model = onnx.load(str(path))
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=location,
        size_threshold=1024,
    )
    return path


def write_torchscript(path: Path) -> Path:
    """Write relu(Linear(2, 2)) with weights 1 and bias 0, a small TorchScript module."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(simple_net(), torch.ones(1, 2)), str(path))
    return path


def write_exported(path: Path) -> Path:
    """Write the same module with torch.export and a variable number of rows."""
    import torch

    rows = torch.export.Dim("rows", min=1, max=64)
    program = torch.export.export(simple_net(), (torch.ones(2, 2),), dynamic_shapes=({0: rows},))
    torch.export.save(program, str(path))
    return path


def simple_net():
    import torch

    linear = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    return torch.nn.Sequential(linear, torch.nn.ReLU()).eval()
