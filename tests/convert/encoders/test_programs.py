"""torch.export files with a dynamic batch: engines and the ONNX graph are made from the program, never from a trace."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2

from slipway.convert import libraries
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.drafting.draft import draft_config
from slipway.errors import SlipwayError
from slipway.machine import Machine
from tests.kits.servers import served
from tests.kits.torch_modules import Keyword, OfDict, export
from tests.kits.vision_modules import SIZE, VISION, write_program

ROWS = (1, 3)


def pictures(rows: int, side: int = SIZE) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, 3, side, side)).astype(np.float32)


def answers(network, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the network itself answers, by the names of the served outputs."""
    with torch.inference_mode():
        found = network(torch.from_numpy(inputs))
    if not isinstance(found, dict):
        found = {f"OUTPUT__{index}": each for index, each in enumerate(found if isinstance(found, tuple) else (found,))}
    return {name: each.numpy() for name, each in found.items()}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "model.pt2"
    write_program(path, "patches")
    return path


def config(tmp_path):
    return text_format.Parse((tmp_path / "models/m/config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "pytorch"])
def test_a_program_with_a_dynamic_batch_answers_as_torch_in_every_batch(tmp_path, program, engine):
    convert(program, ConvertOptions("m", tmp_path / "models", engine, "fp32"))
    module = torch.export.load(program).module()
    with open_model(tmp_path / "models" / "m") as model:
        for rows in (1, 3, 7):
            x = np.random.default_rng(rows).standard_normal((rows, 3, 32, 32)).astype(np.float32)
            expected = module(torch.from_numpy(x)).detach().numpy()
            np.testing.assert_allclose(model.run({"x": x})["OUTPUT__0"], expected, atol=1e-5)


def test_a_conversion_of_a_program_declares_what_config_create_declares(tmp_path, program):
    conversion = convert(program, ConvertOptions("m", tmp_path / "models", "pytorch", "fp32"))
    drafted = draft_config(program, Machine(cpus=4, gpus=0)).config
    assert (list(config(tmp_path).input), list(config(tmp_path).output)) == (list(drafted.input), list(drafted.output))
    assert config(tmp_path).default_model_filename == "model.pt2"
    assert any("NVIDIA Triton does not read them" in note for note in conversion.report.notes)


def test_torch_is_among_what_is_tried_of_a_program(tmp_path, program):
    dry = ConvertOptions("m", tmp_path / "models", precision="fp32", dry_run=True)
    labels = [each.label for each in convert(program, dry).report.candidates]
    assert "pytorch fp32" in labels


@pytest.mark.slow
@pytest.mark.parametrize("name", VISION)
def test_vision_models_are_served_by_onnxruntime_in_any_batch(tmp_path, name):
    network = write_program(tmp_path / "model.pt2", name)
    convert(tmp_path / "model.pt2", ConvertOptions("m", tmp_path / "models", "onnxruntime", "fp32"))
    assert config(tmp_path).max_batch_size > 0
    with served(tmp_path / "models") as server, grpc.InferenceServerClient(server.grpc) as client:
        for rows in ROWS:
            x = pictures(rows)
            tensor = grpc.InferInput("x", x.shape, "FP32")
            tensor.set_data_from_numpy(x)
            result = client.infer("m", [tensor])
            for output, expected in answers(network, x).items():
                np.testing.assert_allclose(result.as_numpy(output), expected, atol=1e-4)


SIDE = torch.export.Dim("side", min=2, max=32)
SIZES = {
    "found by torch": dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO),
    "multiples of another": {0: torch.export.Dim("rows"), 2: 4 * SIDE, 3: 4 * SIDE},
}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("sizes", SIZES)
def test_height_and_width_may_vary_too(tmp_path, sizes, engine):
    torch.manual_seed(0)
    network, dims = VISION["segments"]().eval(), SIZES[sizes]
    program = torch.export.export(network, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=(dims,))
    torch.export.save(program, tmp_path / "model.pt2")
    convert(tmp_path / "model.pt2", ConvertOptions("m", tmp_path / "models", engine, "fp32"))
    with open_model(tmp_path / "models" / "m") as model:
        for rows, side in ((1, 32), (3, 64)):
            x = pictures(rows, side)
            found = model.run({"x": x})
            for output, expected in answers(network, x).items():
                np.testing.assert_allclose(found[output], expected, atol=1e-4)


def test_arguments_by_keyword_and_in_a_dict_keep_their_names(tmp_path):
    first, second = torch.ones(2, 3), torch.full((2, 3), 2.0)
    torch.manual_seed(0)
    export(tmp_path / "keyword", Keyword(), (first,), {"scale": second})
    export(tmp_path / "dict", OfDict(), ({"A": first, "B": second},))
    expected = {"keyword": ({"a": 3, "scale": 2}, {"OUTPUT__0": 6}), "dict": ({"A": 3, "B": 2}, {"SUM": 5, "DIFF": 1})}
    for name, (inputs, outputs) in expected.items():
        options = ConvertOptions(name, tmp_path / "models", "onnxruntime", "fp32")
        convert(tmp_path / name / "1" / "model.pt2", options)
        with open_model(tmp_path / "models" / name) as model:
            found = model.run({key: np.full((2, 3), value, np.float32) for key, value in inputs.items()})
        for key, value in outputs.items():
            np.testing.assert_array_equal(found[key], np.full((2, 3), value, np.float32))


def test_a_graph_of_a_program_can_be_quantised(tmp_path, program):
    convert(program, ConvertOptions("m", tmp_path / "models", "onnxruntime", "int8", accept=True))
    with open_model(tmp_path / "models" / "m") as model:
        assert model.run({"x": pictures(3)})["OUTPUT__0"].shape == (3, 5)


def test_a_conversion_in_a_new_process_prints_only_what_it_says_itself(tmp_path, program):
    options = ("--engine", "onnxruntime", "--precision", "fp32", "--repository", str(tmp_path / "models"))
    command = (sys.executable, "-m", "slipway", "convert", str(program), "--name", "m", *options)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "torch" not in done.stderr


def test_without_onnxscript_a_program_is_not_traced(tmp_path, program, monkeypatch):
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    with pytest.raises(SlipwayError, match=r'needs onnxscript: pip install "slipway-serving\[convert\]"'):
        convert(program, ConvertOptions("m", tmp_path / "models", "onnxruntime", "fp32"))
    convert(program, ConvertOptions("m", tmp_path / "models", "pytorch", "fp32"))


def test_a_program_that_onnx_cannot_express_is_refused_with_the_reason(tmp_path):
    class Eigenvalues(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x)

    export(tmp_path, Eigenvalues(), (torch.eye(3).repeat(2, 1, 1),), rows=True)
    with pytest.raises(SlipwayError, match=r"cannot write the program as ONNX: No ONNX function found for .*eigh"):
        convert(tmp_path / "1" / "model.pt2", ConvertOptions("m", tmp_path / "models", "onnxruntime", "fp32"))
