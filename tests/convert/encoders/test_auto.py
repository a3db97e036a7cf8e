"""A conversion builds, compares, measures and reports all candidates, and packages the fastest that passed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.cli.main import main
from slipway.convert.conversion import Converted, convert
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.errors import SlipwayError
from tests.convert.graphs import write_encoder_graph
from tests.kits.encoder_checkpoints import write_checkpoint

MOODS = {0: "positive", 1: "negative", 2: "neutral"}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("moods"), head="ForSequenceClassification", id2label=MOODS)


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory) -> tuple[Converted, Path]:
    """A conversion with every candidate that this machine can run, and the plain graph for comparison."""
    repository = tmp_path_factory.mktemp("models")
    return convert(source, ConvertOptions("finbert", repository, lengths=(8, 16), compare=True)), repository


@pytest.mark.capability("4.22")
def test_raw_optimised_and_quantised_graphs_are_compared_in_speed_size_and_accuracy(converted):
    candidates = {each.label: each for each in converted[0].report.candidates}
    raw = candidates["onnxruntime fp32 (graph optimisation off)"]
    optimised = candidates["onnxruntime fp32"]
    quantised = [each for each in candidates.values() if each.variant.precision == "int8"]
    assert raw.status == "for comparison only"
    assert raw.figures.difference < 1e-4
    assert optimised.figures.difference < 1e-4
    assert {speed.length for speed in raw.speeds} == {speed.length for speed in optimised.speeds} == {8, 16}
    assert {each.variant.engine for each in quantised} == {"onnxruntime", "openvino"}
    for each in quantised:
        assert 0.5 < each.figures.cosine < 1
        assert each.bytes > 0
    text = (converted[1] / "finbert-model/report.md").read_text()
    assert all(f"| {label} |" in text for label in candidates)


def test_the_fastest_candidate_that_passed_is_chosen_and_those_that_failed_say_by_how_much(converted):
    report = converted[0].report
    passed = [each for each in report.candidates if each.status in ("passed", "chosen")]
    (chosen,) = [each for each in report.candidates if each.status == "chosen"]
    assert chosen.rate == max(each.rate for each in passed)
    assert report.chosen == chosen.label
    for each in report.candidates:
        if each.status == "refused":
            assert any("required: " in problem or "allowed: " in problem for problem in each.problems)
            assert not each.speeds
    document = json.loads((converted[1] / "finbert-model/report.json").read_text())
    assert document["chosen"] == chosen.label
    assert {row["label"] for row in document["skipped"]} >= {"pytorch fp32", "tensorrt fp32"}


@pytest.mark.capability("4.16")
def test_one_command_makes_the_models_of_a_text_classifier_that_pass_the_linter(converted, capsys):
    repository = converted[1]
    assert sorted(path.name for path in repository.iterdir()) == [
        "finbert", "finbert-answer", "finbert-model", "finbert-tokenizer",
    ]  # fmt: skip
    assert main(["check", str(repository)]) == 0
    assert "error" not in capsys.readouterr().out.replace("0 errors", "")


def test_the_linter_and_verify_accept_what_was_written(converted, capsys):
    assert main(["verify", str(converted[1])]) == 0
    assert capsys.readouterr().out.count("PASS") >= 4


def test_what_was_measured_is_written_into_the_config(converted):
    report, repository = converted[0].report, converted[1]
    text = (repository / "finbert-model/config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.instance_group[0].count == report.batching.instances
    assert config.HasField("dynamic_batching") == (report.batching.max_tokens > 0)
    if report.batching.max_tokens:
        assert config.parameters["LENGTH_BATCHING_MAX_TOKENS"].string_value == str(report.batching.max_tokens)


@pytest.mark.parametrize(
    ("engine", "precision", "file"),
    [
        ("openvino", "fp32", "model.xml"),
        ("openvino", "fp16", "model.xml"),
        ("pytorch", "fp32", "model.pt"),
        ("onnxruntime", "fp16", "model.onnx"),
    ],
)
def test_every_engine_and_precision_can_be_requested(source, tmp_path, engine, precision, file):
    conversion = convert(source, ConvertOptions("m", tmp_path, engine, precision, lengths=(8,)))
    assert conversion.report.chosen == f"{engine} {precision}"
    assert (tmp_path / "m-model/1" / file).is_file()


def test_half_precision_halves_the_file(source, tmp_path):
    sizes = {}
    for precision in ("fp32", "fp16"):
        convert(source, ConvertOptions(precision, tmp_path, "openvino", precision, lengths=(8,)))
        sizes[precision] = (tmp_path / f"{precision}-model/1/model.bin").stat().st_size
    assert sizes["fp16"] == pytest.approx(sizes["fp32"] / 2, rel=0.02)


def test_a_candidate_that_fails_is_not_written_unless_it_is_accepted(tmp_path):
    graph = write_encoder_graph(tmp_path / "encoder.onnx")  # its random numbers do not survive 8 bits
    repository = tmp_path / "models"
    options = ConvertOptions("m", repository, "openvino", "int8", lengths=(8,))
    with pytest.raises(SlipwayError, match=r"no candidate passed the gate.*its cosine to the reference is 0\.\d+"):
        convert(graph, options)
    assert not repository.exists()
    report = convert(graph, replace(options, accept=True)).report
    assert {each.status for each in report.candidates} == {"accepted although refused"}
    assert "--accept overrode the gate, although its cosine" in report.why
    assert "although its cosine" in (repository / "m/report.md").read_text()


def test_what_is_served_is_what_was_verified(converted):
    with open_model(converted[1] / "finbert-model") as model:
        answer = model.run(_example())
    assert answer["logits"].shape == (2, 3)


def _example():
    import numpy as np

    ids = np.array([[2, 6, 7, 3], [2, 8, 3, 0]])
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}
