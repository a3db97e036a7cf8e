"""`slipway config` on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto

from slipway.cli.main import main
from slipway.config.parse import parse_config
from tests.kits import onnx_graphs as graphs
from tests.kits.lint_cases import BATCHES, ONNX, X_TO_Y, model, onnx_model

BY_HAND = f"""
name: "m"
backend: "onnxruntime"
max_batch_size: 8
{X_TO_Y}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ preferred_batch_size: [ 2, 4, 8 ] max_queue_delay_microseconds: 100 }}
"""


def effective(directory, capsys):
    """Return a model's config as a server uses it."""
    assert main(["config", "show", str(directory), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.capability("4.13")
def test_a_created_config_means_what_one_written_by_hand_does_and_is_served(tmp_path, capsys, serve, monkeypatch):
    monkeypatch.setattr("slipway.machine.gpu_count", lambda: 0)
    directory = onnx_model(tmp_path / "made", None)
    assert main(["config", "create", str(directory)]) == 0
    text = capsys.readouterr().out
    assert parse_config(text, "config.pbtxt") == parse_config(BY_HAND, "config.pbtxt")
    (directory / "config.pbtxt").write_text(text)
    by_hand = onnx_model(tmp_path / "by_hand", BY_HAND)
    assert effective(directory, capsys) == effective(by_hand, capsys)
    from tritonclient.grpc import InferenceServerClient, InferInput

    server = serve(str(tmp_path / "made"))
    with InferenceServerClient(server.grpc) as client:
        tensor = InferInput("x", [2, 3], "FP32")
        tensor.set_data_from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3))
        assert client.infer("m", [tensor]).as_numpy("y").sum() == 15


def test_every_choice_has_its_reason_beside_it(tmp_path, capsys):
    main(["config", "create", str(onnx_model(tmp_path, None))])
    text = capsys.readouterr().out
    for reason in ("first axis is variable", "lone request", "Powers of two", "100 us is for latency", "8 to 16"):
        assert reason in text


def test_a_file_is_written_once_and_replaced_only_when_asked(tmp_path, capsys):
    directory = onnx_model(tmp_path, None)
    output = directory / "config.pbtxt"
    create = ["config", "create", str(directory / "1" / "model.onnx"), "--output", str(output)]
    assert main(create) == 0
    written = output.read_text()
    assert main([*create, "--max-batch-size", "4"]) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert output.read_text() == written
    assert main([*create, "--max-batch-size", "4", "--overwrite", "--name", "m"]) == 0
    assert "max_batch_size: 4" in output.read_text()


def test_a_pipeline_gives_an_ensemble_that_passes_the_check(tmp_path, capsys):
    onnx_model(tmp_path, ONNX, name="first")
    graphs.write(
        model(tmp_path, None, name="second"),
        [("Neg", ["y"], ["z"])],
        [("y", TensorProto.FLOAT, ["n", "m"])],
        [("z", TensorProto.FLOAT, ["n", "m"])],
    )
    model(tmp_path, None, name="both")
    parts = [str(tmp_path / name) for name in ("first", "second")]
    output = tmp_path / "both" / "config.pbtxt"
    assert main(["config", "create", "--pipeline", *parts, "--name", "both", "--output", str(output)]) == 0
    assert main(["check", str(tmp_path)]) == 0
    assert "3 models checked: 0 errors, 0 warnings, 0 hints" in capsys.readouterr().out


def test_show_prints_the_completed_and_normalised_config_as_text(tmp_path, capsys):
    assert main(["config", "show", str(onnx_model(tmp_path, None))]) == 0
    config = parse_config(capsys.readouterr().out, "config.pbtxt")
    assert (config.name, config.platform, config.max_batch_size) == ("m", "onnxruntime_onnx", 4)
    assert config.version_policy.latest.num_versions == 1


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["create", "nowhere"], "'nowhere' does not exist"),
        (["create", "--pipeline", "m", "m"], "needs a --name"),
        (["create", "--pipeline", "m", "m", "--name", "e", "--max-batch-size", "2"], "omit it"),
        (["create", "m", "--max-batch-size", "-1"], "it must be 0 or more"),
        (["create"], "required"),
        (["show", "nowhere"], "is not a directory"),
        (["show", "bad"], "bad/config.pbtxt:1:1 Message type"),
        ([], "required"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys, arguments, cause):
    monkeypatch.chdir(tmp_path)
    model(tmp_path, BATCHES)
    model(tmp_path, "nonsense: 1", name="bad")
    try:
        code = main(["config", *arguments])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (1, 1)
    assert cause in error
