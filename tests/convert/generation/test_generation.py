"""`slipway convert` on tiny checkpoints that generate text, and the ones that it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from safetensors.torch import load_file, save_file
from tritonclient.grpc import model_config_pb2

from slipway.convert.conversion import Converted, convert
from slipway.convert.directory import Task
from slipway.convert.encoders.families import GENERATING
from slipway.convert.generation.gate import Question, judge
from slipway.convert.generation.reference import Generated
from slipway.convert.generation.source import TASKS, read_generation_source
from slipway.convert.generation.variants import choose_generation_variants
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.convert.thresholds import ACCURACY, BALANCED, FAST
from slipway.errors import SlipwayError
from tests.kits.generators import write_generator

MODELS = ["m", "m-completions", "m-detokenizer", "m-model", "m-stream", "m-tokenizer"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {family: write_generator(root / family, family) for family in ("t5", "gpt2", "marian", "bart")}


@pytest.fixture(scope="module")
def converted(sources, tmp_path_factory) -> tuple[Path, Converted]:
    """T5 converted without options for engine and precision."""
    repository = tmp_path_factory.mktemp("models")
    return repository, convert(sources["t5"], ConvertOptions("m", repository))


def plain(repository: Path, **changes: object) -> ConvertOptions:
    return replace(ConvertOptions("m", repository, "ctranslate2", precision="fp32"), **changes)


def refusal(source: Path, options: ConvertOptions) -> str:
    with pytest.raises(SlipwayError) as caught:
        convert(source, options)
    assert not options.repository.exists() or not any(options.repository.iterdir())
    return caught.value.message


def test_candidates_of_both_engines_are_compared_in_tokens_a_second(converted):
    _, conversion = converted
    report = conversion.report
    found = {each.label: each for each in report.candidates}
    assert {"ctranslate2 float32", "ctranslate2 int8", "torch float32"} <= found.keys()
    for engine in ("ctranslate2", "torch"):
        candidate = found[f"{engine} float32"]
        assert candidate.figures.same_rows + candidate.figures.ties == candidate.figures.rows
        assert [speed.batch for speed in candidate.speeds] == [1, 8]
    assert found["ctranslate2 int8"].figures.share <= 1
    passed = [each for each in report.candidates if each.speeds]
    fastest = max(passed, key=lambda each: each.rate)
    # A more precise one is chosen if it cannot be told apart from the fastest.
    assert report.chosen == fastest.label or max(found[report.chosen].passes) >= min(fastest.passes)


def test_the_report_is_written_next_to_the_engine_as_json_and_markdown(converted):
    repository, conversion = converted
    document = json.loads((repository / "m-model/report.json").read_text())
    assert document["chosen"] == conversion.report.chosen
    assert document["candidates"][0]["tokens"][0]["tokens_per_second"] > 0
    assert "| tokens/s alone |" in (repository / "m-model/report.md").read_text()


def test_six_models_are_written_and_the_optional_inputs_pass_through_the_ensemble(converted):
    repository, conversion = converted
    assert sorted(path.name for path in repository.iterdir()) == MODELS == sorted(conversion.models)
    ensemble = text_format.Parse((repository / "m/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    optional = [each.name for each in ensemble.input if each.optional]
    assert {"max_output_len", "beam_width", "runtime_top_k", "runtime_top_p", "temperature"} <= set(optional)
    assert set(optional) <= set(ensemble.ensemble_scheduling.step[1].input_map)
    stream = text_format.Parse((repository / "m-stream/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert stream.model_transaction_policy.decoupled


@pytest.mark.parametrize("family", ["gpt2", "marian", "bart"])
def test_every_kind_of_model_generates_the_ids_of_transformers(sources, family, tmp_path):
    report = convert(sources[family], plain(tmp_path / "models")).report
    agreement = report.candidates[0].figures
    assert agreement.same_rows + agreement.ties == agreement.rows > 20


@pytest.mark.parametrize("tied", [True, False])
def test_umt5_passes_every_search_of_the_gate_with_and_without_a_head_of_its_own(tied, tmp_path):
    source = write_generator(tmp_path / "source", "umt5")
    if not tied:  # as Google's checkpoints are
        arrays = load_file(source / "model.safetensors")
        head = torch.randn(arrays["shared.weight"].shape, generator=torch.Generator().manual_seed(1))
        save_file(arrays | {"lm_head.weight": head}, source / "model.safetensors", {"format": "pt"})
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    report = convert(source, ConvertOptions("m", tmp_path / "models", precision="fp32")).report
    (candidate,) = report.candidates
    assert candidate.label == "torch float32"
    assert candidate.figures.same_rows + candidate.figures.ties == candidate.figures.rows
    searched = candidate.figures.searched
    assert searched.same_rows + searched.ties == searched.rows > 10
    assert any("each layer's own relative positions" in each.reason for each in report.skipped)
    assert any("logits are not scaled" in note for note in report.notes) != tied


def test_the_written_model_serves_arguments_of_its_own_for_each_row(converted):
    repository, _ = converted
    ids = np.array([[5, 9, 7, 1]] * 2)
    with open_model(repository / "m-model") as model:
        both = model.run({"input_ids": ids, "max_output_len": np.array([[3], [9]], np.uint32)})
        beams = model.run(
            {
                "input_ids": ids[:1],
                "beam_width": np.array([[3]], np.uint32),
                "num_return_sequences": np.array([[2]], np.uint32),
                "max_output_len": np.array([[6]], np.uint32),
            }
        )
    assert both["sequence_length"][0, 0] <= 3
    assert both["sequence_length"][1, 0] <= 9
    shared = both["sequence_length"][0, 0]
    np.testing.assert_array_equal(both["output_ids"][0, 0, :shared], both["output_ids"][1, 0, :shared])
    assert beams["sequence_length"].shape == (1, 2)
    assert beams["cum_log_probs"][0, 0] >= -100


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"temperature": np.array([[np.nan]], np.float32)}, "input 'temperature': nan is out of range"),
        ({"beam_width": np.array([[1000]], np.uint32)}, "input 'beam_width': 1000 is out of range, expected 1 to 64"),
        ({"max_output_len": np.array([[2**31]], np.uint32)}, "max_output_len is 2.14748e+09, but only 4096 tokens"),
        ({"max_output_len": np.array([[1], [2]], np.uint32)}, "has 2 values for 1 rows"),
        ({"input_ids": np.array([[99999]])}, "its ids range from 99999 to 99999, but the vocabulary has"),
        ({"attention_mask": np.zeros((1, 4), np.int64)}, "row 0: it has no tokens"),
        (
            {"attention_mask": np.ones((1, 3), np.int64)},
            "'input_ids' has shape [1, 4], but 'attention_mask' has shape [1, 3]",
        ),
    ],
)
def test_a_bad_request_gets_the_reason_and_leaves_its_neighbours_alone(converted, inputs, message):
    repository, _ = converted
    good = {"input_ids": np.array([[5, 9, 7, 1]])}
    with open_model(repository / "m-model") as model:
        expected = model.run(good)
        with pytest.raises(SlipwayError) as caught:
            model.run_together([good | inputs])
        assert message in caught.value.message
        np.testing.assert_array_equal(model.run(good)["output_ids"], expected["output_ids"])


def test_defaults_come_from_the_generation_config(sources, tmp_path):
    source = write_generator(tmp_path / "source", "t5")
    wishes = {"num_beams": 4, "max_length": 21, "length_penalty": 2.0, "guidance_scale": 3, "no_repeats": 1}
    (source / "generation_config.json").write_text(json.dumps(wishes))
    report = convert(source, plain(tmp_path / "models")).report
    config = text_format.Parse((tmp_path / "models/m-model/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    values = {key: value.string_value for key, value in config.parameters.items()}
    assert (values["beam_width"], values["max_output_len"], values["len_penalty"]) == ("4", "20", "2")
    assert report.notes == [
        "generation_config.json sets guidance_scale to 3, which is not supported and is ignored",
        "generation_config.json sets no_repeats to 1, which is not a known setting and is ignored",
    ]
    assert "| max_output_len, max_new_tokens, max_tokens, max_completion_tokens | UINT32 | 20 |" in report.markdown()


def test_a_first_token_that_the_checkpoint_forces_is_forced_and_rules_ctranslate2_out(tmp_path):
    source = write_generator(tmp_path / "source", "bart")
    path = source / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"forced_bos_token_id": 7}))
    report = convert(source, ConvertOptions("m", tmp_path / "models", precision="fp32")).report
    assert report.chosen == "torch float32"
    assert report.skipped[0].reason == "not supported by CTranslate2: forced first tokens"
    with open_model(tmp_path / "models/m-model") as model:
        ids = np.array([[5, 9, 1]])
        default = model.run({"input_ids": ids})
        other = model.run({"input_ids": ids, "forced_first_id": np.array([[11]], np.uint32)})
        with pytest.raises(SlipwayError, match="forced_first_id is 9999, but the vocabulary has"):
            model.run({"input_ids": ids, "forced_first_id": np.array([[9999]], np.uint32)})
    assert (default["output_ids"][0, 0, 0], other["output_ids"][0, 0, 0]) == (7, 11)


def test_torch_files_convert_like_safetensors(tmp_path):
    source = write_generator(tmp_path / "source", "t5")
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    convert(source, plain(tmp_path / "models"))
    assert (tmp_path / "models/m-model/1/pytorch_model.bin").is_file()


def test_a_dry_run_reports_what_it_would_do_and_writes_nothing(sources, tmp_path):
    conversion = convert(sources["gpt2"], ConvertOptions("m", tmp_path / "models", dry_run=True))
    assert not conversion.written
    assert sorted(conversion.models) == MODELS
    assert "ctranslate2 int8" in [each.label for each in conversion.report.candidates]
    assert not (tmp_path / "models").exists()


def test_int8_that_goes_another_way_is_refused_and_written_only_when_accepted(sources, tmp_path, monkeypatch):
    unreachable = replace(ACCURACY[BALANCED], tokens=1.01)  # tiny models may match by chance
    monkeypatch.setitem(ACCURACY, BALANCED, unreachable)
    options = ConvertOptions("m", tmp_path / "models", "ctranslate2", precision="int8")
    assert "of the tokens match transformers up to the first difference in each row" in refusal(sources["t5"], options)
    conversion = convert(sources["t5"], replace(options, accept=True))
    assert conversion.report.why.startswith("--accept overrode the gate, although")


def test_openvino_is_a_candidate_of_decoder_only_models_in_int4_on_request(sources, tmp_path):
    source = read_generation_source(sources["gpt2"], None)
    options = ConvertOptions("m", tmp_path, "openvino")
    tried, skipped = choose_generation_variants(options, source)
    assert {"openvino float32", "openvino int8"} <= {each.label for each in tried}
    reasons = {each.label: each.reason for each in skipped}
    assert reasons["openvino int4"].endswith("request it with --precision int4")
    tried, _ = choose_generation_variants(replace(options, precision="int4"), source)
    assert [each.label for each in tried] == ["openvino int4"]
    tried, _ = choose_generation_variants(replace(options, accuracy=FAST), source)
    assert "openvino int4" in {each.label for each in tried}


def test_openvino_generates_the_ids_of_transformers(sources, tmp_path):
    options = ConvertOptions("m", tmp_path / "models", "openvino", precision="fp32")
    [candidate] = convert(sources["gpt2"], options).report.candidates
    assert candidate.figures.same_rows + candidate.figures.ties == candidate.figures.rows
    assert "openvino+torch" in (tmp_path / "models" / "m-model" / "config.pbtxt").read_text()


def test_a_model_of_the_name_is_not_replaced_unasked(converted, sources):
    repository, _ = converted
    with pytest.raises(SlipwayError, match="already exists; --overwrite replaces it"):
        convert(sources["t5"], plain(repository))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "openvino"}, "engine 'openvino' cannot run models that generate text; choose ctranslate2 or torch"),
        ({"precision": "bf16"}, "engine 'ctranslate2' does not support precision 'bf16'; supported: fp32, int8"),
        ({"precision": "fp16", "engine": "auto"}, "does not support precision 'fp16'; supported: fp32, int8, bf16"),
        ({"task": Task.TEXT_GENERATION}, "cannot serve the task 'text-generation'; it can serve: text2text-generation"),
        ({"task": Task.EMBEDDING}, "cannot serve the task 'embedding'"),
    ],
)
def test_what_does_not_fit_a_generating_model_is_refused(sources, tmp_path, changes, message):
    assert message in refusal(sources["t5"], plain(tmp_path / "models", **changes))


def test_a_checkpoint_without_a_fast_tokenizer_is_refused_with_advice(sources, tmp_path):
    source = write_generator(tmp_path / "source", "marian")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (source / file).unlink()
    assert "tokenizer.json" in refusal(source, plain(tmp_path / "models"))


def test_a_damaged_checkpoint_is_refused_with_every_name(tmp_path):
    source = write_generator(tmp_path / "source", "t5")
    arrays = load_file(source / "model.safetensors")
    del arrays["encoder.final_layer_norm.weight"]
    save_file(arrays, source / "model.safetensors")
    assert "missing: encoder.final_layer_norm.weight [16]" in refusal(source, plain(tmp_path / "models"))


def test_every_model_type_that_is_announced_has_its_tasks():
    assert tuple(TASKS) == GENERATING


def question(expected: list[int], ties: list[set[int]]) -> Question:
    return Question(np.array([3]), 4, Generated(tuple(expected), tuple(map(frozenset, ties))))


def answers(ids: list[int]):
    def run(requests):
        return [
            {
                "output_ids": np.array([[ids]] * len(request["input_ids"])),
                "sequence_length": np.array([[len(ids)]] * len(request["input_ids"])),
            }
            for request in requests
        ]

    return run


def test_the_gate_forgives_a_tie_and_nothing_else():
    asked = [question([4, 5, 6], [{4}, {5, 9}, {6}])]
    assert judge(answers([4, 5, 6]), asked, "fp32").problems == ()
    verdict = judge(answers([4, 9, 2]), asked, "fp32")
    assert (verdict.figures.ties, verdict.problems) == (2, ())
    (problem,) = judge(answers([4, 7, 6]), asked, "fp32").problems
    assert problem == (
        "2 of 2 rows differ from transformers; first difference: row 0 alone (1 tokens), token 1: 7 instead of 5"
    )


def test_reduced_precision_must_match_a_share_of_tokens_before_the_first_difference():
    asked = [question([4, 5, 6, 7], [{4}, {5}, {6}, {7}])]
    verdict = judge(answers([4, 5, 6, 8]), asked, "int8")
    (problem,) = verdict.problems
    assert verdict.figures.share == 0.75
    assert problem.startswith("75.0% of the tokens match transformers up to the first difference in each row")
    assert judge(answers([4, 5, 6, 7]), asked, "int8").problems == ()
