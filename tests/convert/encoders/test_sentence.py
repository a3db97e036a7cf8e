"""What sentence-transformers wrote beside a checkpoint: vectors and scores equal its own, in its old and new layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slipway.convert.directory import Task
from slipway.convert.encoders.source import read_source
from slipway.errors import SlipwayError
from tests.kits.encoder_checkpoints import MOODS, add_sentence_transformers, write_checkpoint
from tests.kits.encoder_gate import Gated, gate

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["The cat sat on the mat.", "Stocks rallied, and the British pound gained.", "hi"]
PAIRS = [("the cat", "sat on the mat"), ("stocks", "the british pound gained")]
NEW = "sentence_transformers.base.modules.transformer.Transformer"
TANH, IDENTITY = "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"
POOLED = {"modality_config": {"text": {"method": "encode", "method_output_name": "pooler_output"}}}
GENERAL = "config_sentence_transformers.json"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}))


def embedder(directory: Path) -> Path:
    return add_sentence_transformers(write_checkpoint(directory), "mean", normalise=False)


def check(source: Path, work: Path) -> Gated:
    """Hold a directory to its gate and to sentence-transformers."""
    gated = gate(source, work)
    assert gated.verdict.problems == ()
    judge = sentence_transformers.SentenceTransformer(str(source), device="cpu", local_files_only=True)
    prompt = (
        json.loads((source / GENERAL).read_text()).get("default_prompt_name") if (source / GENERAL).exists() else None
    )
    begin = judge.prompts[prompt] if prompt else ""
    found = gated.ask(gated.encode([begin + text for text in TEXTS]))[0]
    np.testing.assert_allclose(found, judge.encode(TEXTS), atol=1e-4)
    return gated


@pytest.mark.parametrize(
    "modes",
    [
        ["lasttoken"],
        ["weightedmean"],
        ["cls", "max"],
        ["mean", "lasttoken", "mean_sqrt_len_tokens"],
    ],
)
def test_poolings_and_several_side_by_side(tmp_path, modes):
    source = embedder(tmp_path / "source")
    (source / "1_Pooling/config.json").write_text(json.dumps({"embedding_dimension": 32, "pooling_mode": modes}))
    gated = check(source, tmp_path / "work")
    assert gated.source.subject.interface.outputs[0].dims == (32 * len(modes),)


def test_several_of_the_old_keys_are_side_by_side_in_the_order_of_the_library(tmp_path):
    source = embedder(tmp_path / "source")
    edit(source / "1_Pooling/config.json", pooling_mode_max_tokens=True, pooling_mode_cls_token=True)
    head = read_source(source).head
    assert head is not None
    assert head.poolings == ("cls", "max", "mean")
    check(source, tmp_path / "work")


def test_an_embedding_is_cut_to_the_first_numbers_that_the_model_says(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"), "mean")
    edit(source / GENERAL, truncate_dim=12)
    assert check(source, tmp_path / "work").source.subject.interface.outputs[0].dims == (12,)


def test_tokens_of_the_prompt_are_not_pooled_where_the_model_says_so(tmp_path):
    source = embedder(tmp_path / "source")
    edit(source / "1_Pooling/config.json", include_prompt=False)
    edit(source / GENERAL, prompts={"query": "the dog had expected : "}, default_prompt_name="query")
    check(source, tmp_path / "work")


def test_leaving_the_prompt_out_changes_nothing_where_there_is_none(tmp_path):
    source = embedder(tmp_path / "source")
    edit(source / "1_Pooling/config.json", include_prompt=False)
    check(source, tmp_path / "work")


LAYERS = {
    "Dense": ({"in_features": 32, "out_features": 24, "bias": True, "activation_function": TANH}, (24, 32), (24,)),
    "Dense2": ({"in_features": 24, "out_features": 8, "bias": False, "activation_function": IDENTITY}, (8, 24)),
    "LayerNorm": ({"dimension": 8}, (8,), (8,)),
    "Normalize": ({},),
}


def add_layers(source: Path) -> None:
    """Put layers above the pooled vector, as old versions name them."""
    import torch
    from safetensors.torch import save_file

    modules = json.loads((source / "modules.json").read_text())
    for name, (config, *shapes) in LAYERS.items():
        kind, place = name.rstrip("2"), f"{len(modules)}_{name}"
        (source / place).mkdir()
        (source / place / "config.json").write_text(json.dumps(config))
        prefix = "norm" if kind == "LayerNorm" else "linear"
        names = (f"{prefix}.weight", f"{prefix}.bias")
        arrays = {each: torch.randn(shape) for each, shape in zip(names, shapes, strict=False)}
        if arrays:
            save_file(arrays, source / place / "model.safetensors")
        modules.append(
            {"idx": len(modules), "name": place, "path": place, "type": f"sentence_transformers.models.{kind}"}
        )
    (source / "modules.json").write_text(json.dumps(modules))


def test_layers_above_the_pooled_vector(tmp_path):
    source = embedder(tmp_path / "source")
    add_layers(source)
    gated = check(source, tmp_path / "work")
    assert gated.source.subject.interface.outputs[0].dims == (8,)
    (source / "2_Dense/model.safetensors").unlink()
    with pytest.raises(SlipwayError, match=r"2_Dense' has no model.safetensors and no pytorch_model.bin"):
        gate(source, tmp_path / "again")


def test_texts_are_cut_to_the_length_that_an_old_directory_says_in_a_file_of_its_family(tmp_path):
    source = embedder(tmp_path / "source")
    (source / "sentence_bert_config.json").rename(source / "sentence_distilbert_config.json")
    assert read_source(source).max_length == 24


def test_the_checkpoint_may_lie_in_a_folder_of_its_own(tmp_path):
    source = embedder(tmp_path / "source")
    (source / "0_Transformer").mkdir()
    moved = "config.json model.safetensors tokenizer.json tokenizer_config.json sentence_bert_config.json"
    for name in moved.split():
        (source / name).rename(source / "0_Transformer" / name)
    modules = json.loads((source / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (source / "modules.json").write_text(json.dumps(modules))
    assert check(source, tmp_path / "work").source.subject.interface.longest == 24


def test_a_t5_encoder_with_a_dense_layer_is_a_sentence_t5(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source", "t5"), "mean", normalise=False)
    add_layers(source)
    gated = check(source, tmp_path / "work")
    assert (gated.source.task, gated.source.subject.interface.outputs[0].dims) == ("embedding", (8,))


def test_what_sentence_transformers_is_set_to_and_nothing_reads_is_named(tmp_path):
    source = embedder(tmp_path / "source")
    edit(source / "1_Pooling/config.json", squash=True)
    edit(source / "sentence_bert_config.json", query_length=12)
    edit(source / GENERAL, prompts={"query": "q: ", "document": ""}, novelty=1)
    assert read_source(source).notes == (
        "Pooling/config.json sets 'squash' to True, which is not used",
        "config_sentence_transformers.json sets 'novelty' to 1, which is not used",
        "sentence_bert_config.json sets 'query_length' to 12, which is not used",
        "no prompt is put before a text; the client must add the checkpoint's other prompts itself: query: 'q: '",
    )


@pytest.mark.parametrize(
    ("message", "file", "changes"),
    [
        ("models of the kind 'SparseEncoder' are not supported", GENERAL, {"model_type": "SparseEncoder"}),
        ("uses encode\\(\\) -> pooler_output", "sentence_bert_config.json", POOLED),
        ("uses query_expansion", "sentence_bert_config.json", {"query_expansion": {"length": 32}}),
        ("'truncate_dim' should be an integer", GENERAL, {"truncate_dim": "many"}),
    ],
)  # fmt: skip
def test_what_cannot_be_done_exactly_is_refused_by_name(tmp_path, message, file, changes):
    source = embedder(tmp_path / "source")
    edit(source / file, **changes)
    with pytest.raises(SlipwayError, match=message):
        read_source(source)


def cross_encoder(directory: Path, *, labels: int = 1, **general: object) -> Path:
    """Write a cross-encoder as sentence-transformers 6 saves it."""
    source = write_checkpoint(directory, head="ForSequenceClassification", num_labels=labels)
    (source / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": NEW}]))
    (source / "sentence_bert_config.json").write_text(
        json.dumps(
            {
                "transformer_task": "sequence-classification",
                "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
                "module_output_name": "scores",
            }
        )
    )
    edit(source / GENERAL, model_type="CrossEncoder", prompts={}, **general)
    return source


def check_scores(source: Path, work: Path, prompt: str = "") -> None:
    gated = gate(source, work)
    assert (gated.source.task, gated.verdict.problems) == ("reranking", ())
    judge = sentence_transformers.CrossEncoder(str(source), device="cpu", local_files_only=True)
    pairs = [(prompt + query, text) for query, text in PAIRS]
    np.testing.assert_allclose(gated.ask(gated.encode(pairs))[0][:, 0], judge.predict(PAIRS), atol=1e-4)


@pytest.mark.parametrize("activation", ["activation.Sigmoid", "linear.Identity", "activation.Tanh"])
def test_scores_of_a_cross_encoder_of_the_new_layout(tmp_path, activation):
    source = cross_encoder(tmp_path / "source", activation_fn=f"torch.nn.modules.{activation}")
    check_scores(source, tmp_path / "work")


def test_a_cross_encoders_default_prompt_stands_before_the_first_text(tmp_path):
    source = cross_encoder(tmp_path / "source")
    edit(source / GENERAL, prompts={"web": "the dog rose : "}, default_prompt_name="web")
    check_scores(source, tmp_path / "work", "the dog rose : ")


@pytest.mark.parametrize(
    "changes",
    [
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.1.0"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
        {},
    ],
)
def test_scores_of_cross_encoders_that_keep_their_activation_in_config_json(tmp_path, changes):
    source = write_checkpoint(tmp_path / "source", head="ForSequenceClassification", num_labels=1)
    edit(source / "config.json", **changes)
    check_scores(source, tmp_path / "work")


def test_an_activation_that_is_code_of_its_own_is_refused(tmp_path):
    with pytest.raises(SlipwayError, match=r"the activation 'mine\.Squash' of this reranker is custom code"):
        read_source(cross_encoder(tmp_path, activation_fn="mine.Squash"))


def test_a_cross_encoder_with_labels_is_refused_until_a_task_is_named(tmp_path):
    source = cross_encoder(tmp_path, labels=len(MOODS))
    with pytest.raises(SlipwayError, match="a cross-encoder with 3 labels scores pairs of texts"):
        read_source(source)
    assert read_source(source, task=Task.CLASSIFICATION).task is Task.CLASSIFICATION


@pytest.mark.parametrize("place", ["..", "../other", "/etc", "a/b", "x" * 5000, "\0", 7, None])
def test_a_module_outside_the_directory_is_refused(tmp_path, place):
    source = embedder(tmp_path / "source")
    (source / "modules.json").write_text(json.dumps([{"idx": 0, "path": place, "type": NEW}]))
    with pytest.raises(SlipwayError, match="which is not a folder in this directory"):
        read_source(source)
