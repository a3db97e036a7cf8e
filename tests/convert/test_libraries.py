"""Errors of libraries become one line that says what went wrong, not where in the library it did."""

from __future__ import annotations

import warnings

import pytest
import torch

from slipway.convert.candidates.variants import choose_variants
from slipway.convert.encoders.opening import open_source
from slipway.convert.libraries import cause_of
from slipway.convert.options import ConvertOptions
from slipway.errors import SlipwayError
from slipway.openvino_library import import_openvino
from tests.kits import torch_modules as modules


def caught(call):
    with pytest.raises(Exception) as error:
        call()
    return cause_of(error.value)


def test_a_torchscript_error_is_its_last_line(tmp_path):
    modules.script(tmp_path, modules.SimpleNet())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(tmp_path / "1" / "model.pt")
    text = caught(lambda: module(torch.ones(1, 3)))
    assert "mat1 and mat2 shapes cannot be multiplied" in text
    assert "TorchScript" not in text


def test_an_openvino_error_is_its_reason(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    text = caught(lambda: import_openvino().Core().read_model(tmp_path / "model.onnx"))
    assert text
    assert "Exception from" not in text
    assert ".cpp" not in text


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError(""), "ValueError"),
        (ValueError("no such axis\nhint: look"), "no such axis"),
        (ValueError("the file lacks:\n\n  weights\n"), "the file lacks: weights"),
    ],
)
def test_any_other_error_is_its_first_line(error, cause):
    assert cause_of(error) == cause


def test_a_module_that_fails_says_why_and_not_where(tmp_path):
    modules.script(tmp_path, modules.SimpleNet())
    options = ConvertOptions("m", tmp_path / "models", inputs=("x:FP32:-1,3",))
    with pytest.raises(SlipwayError, match="mat1 and mat2 shapes cannot be multiplied"):
        open_source(tmp_path / "1" / "model.pt", options)


def test_an_onnx_file_is_not_advised_to_ask_for_torch(tmp_path):
    _, skipped = choose_variants(ConvertOptions("m", tmp_path), kind="onnx")
    reasons = {each.label: each.reason for each in skipped}
    assert reasons["pytorch fp32"].startswith("an ONNX file cannot be converted to a torch model")
    with pytest.raises(SlipwayError, match="an ONNX file cannot be converted to a torch model"):
        choose_variants(ConvertOptions("m", tmp_path, "pytorch"), kind="onnx")
