"""torch.export files with a dynamic batch: engines read them directly, without a trace that fixes sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.drafting.draft import draft_config
from slipway.machine import Machine
from tests.kits.torch_modules import export


class Patches(torch.nn.Module):
    """A picture in patches behind a class token, as vision transformers have them: the batch size is in every shape."""

    def __init__(self):
        super().__init__()
        self.cut = torch.nn.Conv2d(3, 4, 8, stride=8)
        self.token = torch.nn.Parameter(torch.randn(1, 1, 4))
        self.head = torch.nn.Linear(4, 5)

    def forward(self, x):
        rows = x.shape[0]
        patches = self.cut(x).reshape(rows, 4, 16).permute(0, 2, 1)
        return self.head(torch.cat([self.token.expand(rows, -1, -1), patches], 1).softmax(1)[:, 0])


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    torch.manual_seed(0)
    return export(tmp_path_factory.mktemp("source"), Patches().eval(), (torch.zeros(2, 3, 32, 32),), rows=True)


def config(tmp_path):
    return text_format.Parse((tmp_path / "models/m/config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("engine", ["openvino", "pytorch"])
def test_a_program_with_a_dynamic_batch_answers_as_torch_in_every_batch(tmp_path, program, engine):
    path = program / "1" / "model.pt2"
    convert(path, ConvertOptions("m", tmp_path / "models", engine, "fp32"))
    module = torch.export.load(path).module()
    with open_model(tmp_path / "models" / "m") as model:
        for rows in (1, 3, 7):
            x = np.random.default_rng(rows).standard_normal((rows, 3, 32, 32)).astype(np.float32)
            expected = module(torch.from_numpy(x)).detach().numpy()
            np.testing.assert_allclose(model.run({"x": x})["OUTPUT__0"], expected, atol=1e-5)


def test_a_conversion_of_a_program_declares_what_config_create_declares(tmp_path, program):
    path = program / "1" / "model.pt2"
    conversion = convert(path, ConvertOptions("m", tmp_path / "models", "pytorch", "fp32"))
    drafted = draft_config(path, Machine(cpus=4, gpus=0)).config
    assert (list(config(tmp_path).input), list(config(tmp_path).output)) == (list(drafted.input), list(drafted.output))
    assert config(tmp_path).default_model_filename == "model.pt2"
    assert any("NVIDIA Triton does not read them" in note for note in conversion.report.notes)


def test_torch_is_among_what_is_tried_of_a_program(tmp_path, program):
    dry = ConvertOptions("m", tmp_path / "models", precision="fp32", dry_run=True)
    labels = [each.label for each in convert(program / "1" / "model.pt2", dry).report.candidates]
    assert "pytorch fp32" in labels
