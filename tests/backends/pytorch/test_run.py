import logging
import pickle
import threading
import zipfile

import numpy as np
import pytest
import torch

from slipway.backends.api import Placement
from slipway.backends.pytorch.backend import PyTorchBackend
from slipway.datatypes import BY_NAME
from slipway.errors import Code, FailureReason, SlipwayError
from slipway.instances.execution import execute
from tests.backends.models import arrays, completion, context, infer, open_instance, parse, pending
from tests.kits import torch_modules as modules


def load(directory, text, **given):
    return PyTorchBackend().load(context(directory, text, **given))


def tensor(kind, name, dims, data_type="TYPE_FP32"):
    return f'{kind} {{ name: "{name}" data_type: {data_type} dims: {dims} }} '


def parameter(key, value):
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }} '


SIMPLE = tensor("input", "x", [2]) + tensor("output", "y", [2])
BATCHED = "max_batch_size: 8 " + SIMPLE
PAIR = "".join(tensor("input", f"INPUT__{index}", [2]) + tensor("output", f"OUTPUT__{index}", [2]) for index in (0, 1))
DICT = "".join(tensor("input", name, [2]) for name in "AB") + "".join(
    tensor("output", name, [2]) for name in ("DIFF", "SUM")
)


def test_output_shapes_of_a_model_without_batching_are_not_enforced(tmp_path):
    text = tensor("input", "x", [2]) + tensor("output", "y", [1])
    executor = open_instance(load(modules.script(tmp_path, modules.SimpleNet()), text))
    assert infer(executor, {"x": np.ones(2, np.float32)})["y"].tolist() == [2, 2]


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_batches_equal_torch_row_by_row(tmp_path, kind):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    example = (torch.zeros(2, 2),)
    text = BATCHED.replace('"x"', '"INPUT__0"')
    directory = (
        modules.script(tmp_path, net) if kind == "torchscript" else modules.export(tmp_path, net, example, rows=True)
    )
    executor = open_instance(load(directory, text))
    random = np.random.default_rng(0)
    inputs = [random.random((rows, 2), np.float32) for rows in (2, 1, 3)]
    execution = executor.execute([pending({"INPUT__0": given}, rows=len(given)) for given in inputs])
    for given, response in zip(inputs, execution.responses, strict=True):
        with torch.no_grad():
            expected = net(torch.from_numpy(given)).numpy()
        np.testing.assert_allclose(arrays(response)["y"], expected, rtol=1e-6)


def test_inputs_and_outputs_by_index(tmp_path):
    executor = open_instance(load(modules.script(tmp_path, modules.SumAndDifference()), PAIR))
    answer = infer(executor, {"INPUT__1": np.float32([1, 2]), "INPUT__0": np.float32([10, 20])})
    assert {name: array.tolist() for name, array in answer.items()} == {"OUTPUT__0": [11, 22], "OUTPUT__1": [9, 18]}


def test_inputs_by_the_names_of_forwards_arguments(tmp_path):
    text = "".join(tensor("input", name, [2]) for name in ("second", "first")) + tensor("output", "OUTPUT__1", [2])
    executor = open_instance(load(modules.script(tmp_path, modules.SumAndDifference()), text))
    answer = infer(executor, {"second": np.float32([1, 2]), "first": np.float32([10, 20])})
    assert answer["OUTPUT__1"].tolist() == [9, 18]


def test_inputs_and_outputs_in_the_order_of_the_configuration(tmp_path):
    text = PAIR.replace("__", "")
    executor = open_instance(load(modules.script(tmp_path, modules.SumAndDifference()), text))
    answer = infer(executor, {"INPUT1": np.float32([1, 2]), "INPUT0": np.float32([10, 20])})
    assert answer["OUTPUT1"].tolist() == [9, 18]


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_dictionaries_of_tensors_go_by_key(tmp_path, kind):
    module, example = modules.OfDict(), ({"A": torch.ones(2), "B": torch.ones(2)},)
    directory = modules.script(tmp_path, module) if kind == "torchscript" else modules.export(tmp_path, module, example)
    answer = infer(open_instance(load(directory, DICT)), {"B": np.float32([1, 2]), "A": np.float32([10, 20])})
    assert {name: array.tolist() for name, array in answer.items()} == {"DIFF": [9, 18], "SUM": [11, 22]}


def test_keyword_arguments_of_an_exported_program_are_inputs(tmp_path):
    directory = modules.export(tmp_path, modules.Keyword(), (torch.ones(2),), {"scale": torch.ones(2)})
    text = tensor("input", "a", [2]) + tensor("input", "scale", [2]) + tensor("output", "y", [2])
    answer = infer(open_instance(load(directory, text)), {"a": np.float32([1, 2]), "scale": np.float32([3, 3])})
    assert answer["y"].tolist() == [3, 6]


@pytest.mark.parametrize("row", [row for row in BY_NAME.values() if row.name != "BYTES"], ids=lambda row: row.name)
def test_every_datatype_passes_through_a_module(tmp_path, row):
    text = tensor("input", "x", [-1], row.config_name) + tensor("output", "y", [-1], row.config_name)
    executor = open_instance(load(modules.script(tmp_path, modules.Same()), text))
    for values in ([0, 1, 1], []):
        array = np.array(values).astype(row.numpy)
        answer = infer(executor, {"x": array})["y"]
        assert answer.dtype == row.numpy
        assert answer.tolist() == array.tolist()


def test_strings_travel_as_lists_of_str(tmp_path):
    text = tensor("input", "x", [-1], "TYPE_STRING") + tensor("output", "y", [-1], "TYPE_STRING")
    executor = open_instance(load(modules.script(tmp_path, modules.Shout()), text))
    answer = infer(executor, {"x": np.array(["ä".encode(), b""], object)})["y"]
    assert answer.tolist() == ["ä!".encode(), b"!"]


def test_a_module_that_writes_to_its_argument_does_not_change_the_request(tmp_path):
    executor = open_instance(load(modules.script(tmp_path, modules.InPlace()), SIMPLE))
    given = np.frombuffer(bytes(8), np.float32)
    assert infer(executor, {"x": given})["y"].tolist() == [1, 1]
    assert given.tolist() == [0, 0]


def test_batch_mates_survive_a_row_that_the_module_refuses(tmp_path):
    text = "max_batch_size: 8 " + tensor("input", "index", [1], "TYPE_INT64") + tensor("output", "y", [1])
    executor = open_instance(load(modules.script(tmp_path, modules.Lookup()), text))
    batch = [pending({"index": np.array([[index]])}) for index in (0, 9, 2)]
    first, culprit, last = execute(executor, batch, "m_0_0").responses
    assert (arrays(first)["y"].tolist(), arrays(last)["y"].tolist()) == ([[0]], [[2]])
    assert culprit.error.code is Code.INTERNAL
    assert culprit.error.reason is FailureReason.BACKEND
    assert culprit.error.message == "PyTorch execute failure: index 9 is out of bounds for dimension 0 with size 3"


def test_all_instances_share_one_module(tmp_path):
    model = load(modules.script(tmp_path, modules.SimpleNet()), BATCHED)
    assert model.placement is Placement.THREAD
    executors = [open_instance(model, index) for index in range(4)]
    assert len({executor._run.__self__ for executor in executors}) == 1
    model.unload()
    with pytest.raises(SlipwayError, match="unloaded"):
        open_instance(model)


def test_threads_are_set_in_the_instances_own_thread(tmp_path):
    model = load(modules.script(tmp_path, modules.SimpleNet()), SIMPLE + parameter("INTRA_OP_THREAD_COUNT", 3))
    counts = []
    thread = threading.Thread(target=lambda: (open_instance(model), counts.append(torch.get_num_threads())))
    thread.start()
    thread.join()
    assert counts == [3]


@pytest.mark.parametrize(
    "extra", ["", parameter("INFERENCE_MODE", "false"), parameter("DISABLE_OPTIMIZED_EXECUTION", 1)]
)
def test_modes_of_execution_give_the_same_answer_without_gradients(tmp_path, extra):
    executor = open_instance(load(modules.script(tmp_path, modules.SimpleNet()), SIMPLE + extra))
    for _ in range(3):
        assert infer(executor, {"x": np.float32([1, 2])})["y"].tolist() == [3, 3]


def test_a_module_saved_while_training_is_served_for_inference(tmp_path):
    executor = open_instance(load(modules.script(tmp_path, torch.nn.Dropout(0.9)), SIMPLE))
    assert infer(executor, {"x": np.float32([1, 2])})["y"].tolist() == [1, 2]


def test_an_output_of_another_datatype_is_an_error(tmp_path):
    text = tensor("input", "x", [2]) + tensor("output", "y", [2], "TYPE_INT32")
    executor = open_instance(load(modules.script(tmp_path, modules.Same()), text))
    with pytest.raises(SlipwayError) as caught:
        infer(executor, {"x": np.ones(2, np.float32)})
    assert caught.value.message == "unexpected datatype TYPE_FP32 for inference output 'y', expecting TYPE_INT32"


def test_an_output_index_that_does_not_exist_is_an_error(tmp_path):
    text = tensor("input", "x", [2]) + tensor("output", "OUTPUT__1", [2])
    executor = open_instance(load(modules.script(tmp_path, modules.Same()), text))
    with pytest.raises(SlipwayError) as caught:
        infer(executor, {"x": np.ones(2, np.float32)})
    assert caught.value.message == (
        "The output OUTPUT__1 in the model configuration refers to an output index which doesn't exist. This model "
        "has 1 outputs"
    )


def test_completion_of_torchscript_says_that_inputs_and_outputs_must_be_written(tmp_path, caplog):
    modules.script(tmp_path, modules.Same())
    config = parse("")
    with caplog.at_level(logging.WARNING, "slipway.pytorch"):
        PyTorchBackend().complete(config, completion(tmp_path))
    assert config == parse('default_model_filename: "model.pt"')
    assert "write the inputs and outputs into config.pbtxt" in caplog.text


def test_completion_finds_a_torch_export_file_and_fills_in_what_it_takes_and_gives(tmp_path):
    modules.export(tmp_path, modules.SimpleNet(), (torch.zeros(3, 2),), rows=True)
    config = parse("")
    PyTorchBackend().complete(config, completion(tmp_path))
    assert (config.max_batch_size, config.default_model_filename) == (4, "model.pt2")
    tensors = [(each.name, list(each.dims)) for each in (*config.input, *config.output)]
    assert tensors == [("x", [2]), ("OUTPUT__0", [2])]


@pytest.mark.parametrize(("text", "kind"), [("", "input"), (tensor("input", "x", [2]), "output")])
def test_a_configuration_without_inputs_or_outputs_is_refused(tmp_path, text, kind):
    with pytest.raises(SlipwayError) as caught:
        load(modules.script(tmp_path, modules.Same()), text)
    assert caught.value.message == f"model configuration must contain at least one {kind}, none were specified."


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def refused(directory, text=SIMPLE):
    with pytest.raises(SlipwayError) as caught:
        load(directory, text)
    assert caught.value.code is Code.INVALID_ARG
    assert str(directory) not in caught.value.message
    return caught.value.message


def test_pickles_are_refused_and_not_run(tmp_path):
    (tmp_path / "1").mkdir()
    file, trace = tmp_path / "1" / "model.pt", tmp_path / "trace"
    torch.save(Bomb(trace), file)
    assert "'model.pt' is a checkpoint saved with torch.save: a pickle" in refused(tmp_path)
    file.write_bytes(pickle.dumps(Bomb(trace)))
    assert "neither a TorchScript nor a torch.export file" in refused(tmp_path)
    assert not trace.exists()


def test_a_pickle_inside_a_torch_export_file_is_refused_and_not_run(tmp_path):
    modules.export(tmp_path, modules.Same(), (torch.ones(2),))
    file, trace = tmp_path / "1" / "model.pt2", tmp_path / "trace"
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    sample = next(name for name in entries if name.endswith("sample_inputs/model.pt"))
    torch.save(Bomb(trace), tmp_path / "bomb")
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {**entries, sample: (tmp_path / "bomb").read_bytes()}.items():
            archive.writestr(name, data)
    assert "it contains pickled objects, which can run code" in refused(tmp_path)
    assert not trace.exists()


def test_a_python_runtime_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(SlipwayError) as caught:
        load(tmp_path, SIMPLE + 'runtime: "model.py"')
    assert caught.value.code is Code.UNSUPPORTED
    assert 'use backend "python"' in caught.value.message
