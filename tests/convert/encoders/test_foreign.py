"""What a directory holds beside a model that can be converted is refused or named, never passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway.convert.directory import Task
from slipway.errors import SlipwayError
from tests.kits.encoder_checkpoints import add_sentence_transformers, write_checkpoint
from tests.kits.encoder_gate import gate


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def add_arrays(source: Path, *names: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    path = source / "model.safetensors"
    save_file({**load_file(path), **{name: torch.zeros(2) for name in names}}, path, metadata={"format": "pt"})


def notes(source: Path, work: Path, **changes: object) -> list[str]:
    return list(gate(source, work, **changes).source.notes)


def test_a_layer_that_nothing_reads_is_refused(tmp_path):
    source = write_checkpoint(tmp_path / "source", head="ForSequenceClassification")
    edit(source / "config.json", num_hidden_layers=1)
    with pytest.raises(SlipwayError, match=r"has 16 arrays that are not used, first 'bert\.encoder\.layer\.1\."):
        gate(source, tmp_path / "work")


def test_an_array_of_no_known_head_is_refused(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    add_arrays(source, "linear.weight")
    with pytest.raises(SlipwayError, match=r"has 1 arrays that are not used, first 'linear\.weight'"):
        gate(source, tmp_path / "work")


def test_a_head_that_the_task_does_not_use_is_named(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source", head="ForMaskedLM"))
    assert notes(source, tmp_path / "work") == ["the checkpoint's cls (5 arrays) is not used for embedding"]


def test_buffers_of_old_checkpoints_need_no_word(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    add_arrays(source, "embeddings.position_ids")
    assert notes(source, tmp_path / "work") == []


@pytest.mark.parametrize("file", ["model_head.pkl", "config_setfit.json"])
def test_a_setfit_model_is_refused_until_its_vectors_are_asked_for(tmp_path, file):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    (source / file).write_text("{}")
    with pytest.raises(SlipwayError, match=rf"is a SetFit model \({file}\).*--task embedding"):
        gate(source, tmp_path / "work")
    assert notes(source, tmp_path / "again", task=Task.EMBEDDING) == [
        f"SetFit's classifier ({file}) is left out: the model returns the vectors that are its input"
    ]


def test_an_adapter_is_refused_with_the_way_to_merge_it(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    (source / "adapter_config.json").write_text("{}")
    with pytest.raises(SlipwayError, match=r"holds a PEFT adapter.*merge_and_unload"):
        gate(source, tmp_path / "work")


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoModel": "modeling_x.MyBert"}),
        ("config.json", {"AutoConfig": "configuration_x.MyConfig"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["tokenization_x.MyTokenizer", None]}),
    ],
)
def test_code_of_the_checkpoints_own_is_refused(tmp_path, file, auto_map):
    source = write_checkpoint(tmp_path / "source")
    edit(source / file, auto_map=auto_map)
    with pytest.raises(SlipwayError, match=f"{file}: 'auto_map' names custom code"):
        gate(source, tmp_path / "work")


def test_code_that_transformers_has_taken_over_or_that_is_for_another_task_is_named(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    code = {"AutoModel": "modeling_x.BertModel", "AutoModelForMaskedLM": "modeling_x.MyBert"}
    edit(source / "config.json", auto_map=code)
    assert notes(source, tmp_path / "work") == [
        f"config.json names custom code ({auto_class}: {name}), which is not run" for auto_class, name in code.items()
    ]


def test_a_tokenizer_with_ids_past_the_networks_tokens_is_refused(tmp_path):
    from transformers import AutoTokenizer

    source = write_checkpoint(tmp_path / "source")
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_tokens(["covid-19"])
    tokenizer.save_pretrained(source)
    with pytest.raises(SlipwayError, match=r"has ids up to 49 \('covid-19'\), but the network has 49 tokens"):
        gate(source, tmp_path / "work")


def test_weights_that_are_quantised_already_are_refused(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    edit(source / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(SlipwayError, match=r"the weights are quantised \(gptq\)"):
        gate(source, tmp_path / "work")


def test_every_key_of_the_two_configs_is_honoured_harmless_or_named(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    edit(source / "config.json", gradient_checkpointing=False, position_embedding_type="relative_key", novelty="n" * 99)
    edit(
        source / "tokenizer_config.json",
        chat_template="{{ x }}",
        split_special_tokens=True,
        truncation_strategy="only_first",
    )
    assert notes(source, tmp_path / "work") == [
        "config.json sets 'position_embedding_type' to 'relative_key', which is not used",
        f"config.json sets 'novelty' to '{'n' * 56}..., which is not used",
        "tokenizer_config.json sets 'split_special_tokens' to True, which is not used",
        "tokenizer_config.json sets 'truncation_strategy' to 'only_first', which is not used",
    ]


@pytest.mark.parametrize("side", ["left", "right"])
def test_long_texts_are_cut_at_the_side_that_the_tokenizer_says(tmp_path, side):
    from transformers import AutoTokenizer

    source = write_checkpoint(tmp_path / "source")
    edit(source / "tokenizer_config.json", truncation_side=side)
    gated = gate(source, tmp_path / "work")
    text = "stocks " * 60 + "the cat"
    expected = AutoTokenizer.from_pretrained(source)(text, truncation=True, max_length=40)["input_ids"]
    assert gated.encode([text])["input_ids"][0].tolist() == expected
