"""Models with ragged inputs run in every backend that stacks its requests, with every kind of batch input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slipway.backends.onnxruntime.backend import OnnxRuntimeBackend
from slipway.backends.openvino.backend import OpenVinoBackend
from slipway.backends.pytorch.backend import PyTorchBackend
from slipway.errors import SlipwayError
from slipway.instances.execution import execute
from tests.backends.models import arrays, completion, context, open_instance, parse, pending
from tests.kits import onnx_graphs as graphs
from tests.kits.torch_modules import script

BACKENDS = {"onnxruntime": OnnxRuntimeBackend, "openvino": OpenVinoBackend}
RAGGED = """max_batch_size: 8 dynamic_batching { }
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
"""
SCATTERED = """output [ { name: "twice" data_type: TYPE_FP32 dims: [ -1, -1 ] } ]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "twice" source_input: "x" } ]
"""
LENGTHS = (2, 4, 1, 3)
ABOUT = {
    "BATCH_ELEMENT_COUNT": [2, 4, 1, 3],
    "BATCH_ACCUMULATED_ELEMENT_COUNT": [2, 6, 7, 10],
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": [0, 2, 6, 7, 10],
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": [0, 0, 0, 0],
    "BATCH_ITEM_SHAPE_FLATTEN": [2, 4, 1, 3],
}


def output(name: str, dims: str, datatype: str = "FP32") -> str:
    return f'output [ {{ name: "{name}" data_type: TYPE_{datatype} dims: [ {dims} ] }} ]\n'


def batch_input(kind: str, target: str, datatype: str = "FP32") -> str:
    return f'batch_input [ {{ kind: {kind} target_name: "{target}" data_type: TYPE_{datatype} source_input: "x" }} ]\n'


def described(kind: str) -> str:
    inputs = batch_input("BATCH_ELEMENT_COUNT", "counts") + batch_input(kind, "about")
    return RAGGED + inputs + output("all_x", "-1") + output("all_about", "-1")


@pytest.fixture(params=BACKENDS)
def opened(request, tmp_path):
    """Return a function that loads a graph with a config, and opens an instance."""

    def open_model(write, text):
        backend = BACKENDS[request.param]()
        text += 'default_model_filename: "model.onnx"'
        return open_instance(backend.load(context(write(tmp_path), text)))

    return open_model


def answers(executor, given):
    batch = [pending({"x": array}, rows=len(array)) for array in given]
    return [arrays(response) for response in execute(executor, batch, "m_0_0").responses]


def values(*shapes):
    random = np.random.default_rng(0)
    return [random.integers(-9, 9, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("kind", ABOUT)
def test_the_model_sees_the_whole_batch(opened, kind):
    """As Triton's own test of batch inputs expects (qa/L0_batch_input)."""
    executor = opened(graphs.described, described(kind))
    found = answers(executor, [np.full((1, length), length, np.float32) for length in LENGTHS])
    assert len(found) == len(LENGTHS)
    for answer in found:
        assert answer["all_x"].tolist() == [[2, 2, 4, 4, 4, 4, 1, 3, 3, 3]]
        assert answer["all_about"].tolist() == [ABOUT[kind]]


def test_item_shapes_have_a_row_for_each_row_and_a_scattered_output_has_the_shape_of_its_input(opened):
    text = RAGGED.replace("-1", "-1, -1") + SCATTERED + output("given", "2", "INT32")
    executor = opened(graphs.item_shapes, text + batch_input("BATCH_ITEM_SHAPE", "shapes", "INT32"))
    given = values((2, 1, 2), (1, 1, 2), (1, 2, 2), (1, 0, 3))
    for array, answer in zip(given, answers(executor, given), strict=True):
        assert np.array_equal(answer["twice"], 2 * array)
        assert answer["given"].tolist() == [list(array.shape[1:])] * len(array)


def test_a_batch_of_requests_of_any_length_equals_the_requests_alone(opened):
    text = RAGGED + batch_input("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "bounds", "INT32") + output("sum", "1")
    executor = opened(graphs.ragged_sums, text)
    given = values((1, 3), (1, 1), (1, 7), (1, 2))
    together = answers(executor, given)
    for array, answer in zip(given, together, strict=True):
        assert answer["sum"].tolist() == [[array.sum()]]
        assert answers(executor, [array])[0]["sum"].tolist() == [[array.sum()]]


def test_a_request_with_more_rows_than_the_model_returns_fails_alone(opened):
    text = RAGGED + batch_input("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "bounds", "INT32") + output("sum", "1")
    executor = opened(graphs.ragged_sums, text)
    batch = [pending({"x": array}, rows=len(array)) for array in values((1, 3), (2, 2), (1, 1))]
    first, culprit, last = execute(executor, batch, "m_0_0").responses
    assert (first.error, last.error) == (None, None)
    assert culprit.error.message == "output 'sum' of model 'm' has shape [1, 1] for a batch of 2 rows"


def test_rows_cannot_be_computed_in_parts(opened):
    parameter = 'parameters { key: "ROWS_AT_ONCE" value { string_value: "2" } }\n'
    with pytest.raises(SlipwayError, match="ROWS_AT_ONCE cannot divide ragged inputs and tensors that describe a"):
        opened(graphs.described, described("BATCH_ELEMENT_COUNT") + parameter)


def test_completion_takes_outputs_from_the_graph_without_looking_for_rows(tmp_path):
    graphs.item_shapes(tmp_path)
    config = parse(RAGGED + batch_input("BATCH_ITEM_SHAPE", "shapes", "INT32"))
    OnnxRuntimeBackend().complete(config, completion(tmp_path))
    assert config.max_batch_size == 8
    assert {each.name: list(each.dims) for each in config.output} == {"twice": [1], "given": [2]}


def test_openvino_keeps_ragged_inputs_flat_when_it_reshapes_layers(tmp_path):
    flags = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "YES" }} }}\n'
        for key in ("RESHAPE_IO_LAYERS", "SKIP_OV_DYNAMIC_BATCHSIZE", "ENABLE_BATCH_PADDING")
    )
    text = RAGGED + batch_input("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "bounds", "INT32") + output("sum", "1")
    text += flags + 'default_model_filename: "model.onnx"'
    executor = open_instance(OpenVinoBackend().load(context(graphs.ragged_sums(tmp_path), text)))
    given = values((1, 3), (1, 1))
    assert [answer["sum"].tolist() for answer in answers(executor, given)] == [[[array.sum()]] for array in given]


class Described(torch.nn.Module):
    """The graph `onnx_graphs.described` as a torch module."""

    def forward(self, x: torch.Tensor, counts: torch.Tensor, about: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = (counts / counts).view(-1, 1)
        return rows @ x.view(1, -1), rows @ about.view(1, -1)


@pytest.mark.parametrize("kind", ABOUT)
def test_a_torch_module_sees_the_whole_batch(tmp_path, kind):
    text = described(kind).replace("all_x", "y__0").replace("all_about", "y__1")
    executor = open_instance(PyTorchBackend().load(context(script(tmp_path, Described()), text)))
    for answer in answers(executor, [np.full((1, length), length, np.float32) for length in LENGTHS]):
        assert answer["y__0"].tolist() == [[2, 2, 4, 4, 4, 4, 1, 3, 3, 3]]
        assert answer["y__1"].tolist() == [ABOUT[kind]]


def test_a_torch_module_needs_a_source_with_the_dims_of_what_is_scattered(tmp_path):
    text = described("BATCH_ELEMENT_COUNT").replace("all_x", "y__0").replace("all_about", "y__1")
    text += 'batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "y__1" source_input: "x" } ]\n'
    text = text.replace('"y__1" data_type: TYPE_FP32 dims: [ -1 ]', '"y__1" data_type: TYPE_FP32 dims: [ 1, -1 ]')
    with pytest.raises(SlipwayError, match="dim 1 of batch output 'y__1' is variable, but its source input 'x' has 1"):
        PyTorchBackend().load(context(script(tmp_path, Described()), text))
