"""Configurations from model files: what the files describe, the defaults, and the text with both."""

from __future__ import annotations

import pytest
import torch
from onnx import TensorProto

from slipway.config.parse import parse_config
from slipway.drafting.commented import config_text
from slipway.drafting.draft import draft_config, powers_of_two
from slipway.errors import SlipwayError
from slipway.lint.check import check_repository
from slipway.machine import Machine
from tests.kits import onnx_graphs as graphs
from tests.kits.lint_cases import model
from tests.kits.torch_modules import OfDict, SimpleNet, SumAndDifference, export, script

MACHINE = Machine(cpus=4, gpus=0)


def created(path, **options):
    """Return the configuration read back from its own text, after checking that nothing was lost."""
    draft = draft_config(path, MACHINE, **options)
    read = parse_config(config_text(draft, MACHINE), "config.pbtxt")
    assert read == draft.config
    return read


def tensors(declared):
    return [(each.name, each.data_type, list(each.dims)) for each in declared]


def test_a_graph_with_a_variable_first_axis_supports_batches(tmp_path):
    config = created(graphs.two_outputs(tmp_path / "m"))
    assert (config.name, config.backend, config.max_batch_size) == ("m", "onnxruntime", 8)
    assert tensors(config.input) == [("a", 11, [2]), ("b", 11, [2])]
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert [group.count for group in config.instance_group] == [1]


def test_a_graph_with_a_fixed_first_axis_takes_none(tmp_path):
    config = created(graphs.identity(tmp_path / "m", TensorProto.INT64, shape=(1, "n")))
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert tensors(config.input) == [("x", 9, [1, -1])]


def test_the_batch_size_can_be_chosen_and_is_refused_where_there_can_be_none(tmp_path):
    batched = graphs.identity(tmp_path / "m", TensorProto.FLOAT)
    assert created(batched, max_batch_size=16).max_batch_size == 16
    assert created(batched, max_batch_size=0).max_batch_size == 0
    fixed = graphs.identity(tmp_path / "fixed", TensorProto.FLOAT, shape=(1, 2))
    with pytest.raises(SlipwayError, match="does not support batching"):
        draft_config(fixed, MACHINE, max_batch_size=4)


def test_a_graph_whose_rows_depend_on_values_says_why_it_takes_no_batches(tmp_path):
    directory = graphs.detections(tmp_path / "m")
    assert created(directory).max_batch_size == 0
    text = config_text(draft_config(directory, MACHINE), MACHINE)
    assert "# the rows of output 'dets' are not those of the inputs (it returned" in text


def test_a_graph_without_shapes_is_refused_with_what_to_declare(tmp_path):
    directory = graphs.identity(tmp_path / "m", TensorProto.FLOAT, shape=None)
    with pytest.raises(SlipwayError, match="not specify the shape of input 'x', so it must be declared with its dims"):
        draft_config(directory, MACHINE)


def test_a_file_of_another_name_is_named(tmp_path):
    graphs.identity(tmp_path, TensorProto.FLOAT, file="finbert.onnx")
    config = created(tmp_path / "finbert.onnx")
    assert (config.name, config.default_model_filename) == ("finbert", "finbert.onnx")


@pytest.mark.parametrize(
    ("module", "args", "outputs"),
    [
        (SimpleNet(), (torch.zeros(3, 2),), ["OUTPUT__0"]),
        (SumAndDifference(), (torch.zeros(3, 2), torch.ones(3, 2)), ["OUTPUT__0", "OUTPUT__1"]),
    ],
)
def test_an_exported_program_describes_its_shapes_and_types(tmp_path, module, args, outputs):
    directory = export(tmp_path / "m", module, args, rows=True)
    config = created(directory)
    (directory / "config.pbtxt").write_text(config_text(draft_config(directory, MACHINE), MACHINE))
    assert (config.backend, config.default_model_filename, config.max_batch_size) == ("pytorch", "model.pt2", 8)
    assert [each.name for each in config.output] == outputs
    assert {tuple(each.dims) for each in (*config.input, *config.output)} == {(2,)}
    assert check_repository(tmp_path, MACHINE).findings == ()


def test_an_exported_program_of_dicts_keeps_its_names(tmp_path):
    config = created(export(tmp_path / "m", OfDict(), ({"A": torch.zeros(2), "B": torch.zeros(2)},)))
    assert [each.name for each in (*config.input, *config.output)] == ["A", "B", "SUM", "DIFF"]


def test_torchscript_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(SlipwayError, match=r"keeps the names of its inputs \(x\), but .*torch\.export"):
        draft_config(script(tmp_path / "m", SimpleNet()), MACHINE)


def test_a_python_model_is_described_by_its_hook(tmp_path):
    code = """
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "text", "data_type": "TYPE_STRING", "dims": [1]})
        config.add_output({"name": "ids", "data_type": "TYPE_INT64", "dims": [-1]})
        config.set_max_batch_size(16)
        return config
"""
    (model(tmp_path, None) / "1" / "model.py").write_text(code)
    config = created(tmp_path / "m")
    assert (config.backend, config.max_batch_size, config.HasField("dynamic_batching")) == ("python", 16, False)
    assert tensors(config.output) == [("ids", 9, [-1])]


@pytest.mark.parametrize(
    ("file", "cause"),
    [
        ("model.py", "does not describe its inputs or outputs"),
        ("model.txt", "is not a model file that can be served"),
        (None, "contains no model file; expected one of"),
        ("..", "contains no model file"),
    ],
)
def test_a_file_without_a_description_is_refused(tmp_path, file, cause):
    path = tmp_path / "m" / "1" / (file or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_text("class TritonPythonModel: ...")
    with pytest.raises(SlipwayError, match=cause):
        draft_config(path if path.suffix else tmp_path / "m", MACHINE)


def test_a_group_for_gpus_is_left_open_where_there_is_one(tmp_path):
    directory = graphs.identity(tmp_path / "m", TensorProto.FLOAT)
    assert "KIND_CPU" in config_text(draft_config(directory, MACHINE), MACHINE)
    machine = Machine(cpus=4, gpus=1)
    assert "kind" not in config_text(draft_config(directory, machine), machine)


def test_preferred_sizes_are_powers_of_two():
    assert [powers_of_two(limit) for limit in (1, 2, 12, 16)] == [[], [2], [2, 4, 8], [2, 4, 8, 16]]
