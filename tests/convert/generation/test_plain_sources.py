"""Packed weights, LoRA adapters and GGUF files, from the source to a served model that equals transformers."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.numpy import load_file, save_file

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.checkpoints.huggingface.weight_files import open_weight_files
from slipway.convert.conversion import convert
from slipway.convert.generation.gate import greedy
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.errors import SlipwayError
from tests.kits.generators import bytes_tokenizer
from tests.kits.packed_weights import Rounded

PROMPT = [5, 17, 230, 9, 41]


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    """A Llama whose tokens are bytes; its products have sizes that can be packed."""
    directory = tmp_path_factory.mktemp("source") / "llama"
    size = bytes_tokenizer(directory)
    torch.manual_seed(5)
    config = hf.LlamaConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        bos_token_id=size - 1,
        eos_token_id=size - 1,
    )
    model = hf.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    model.half().save_pretrained(directory)
    return directory


def served(source: Path, repository: Path, **options) -> tuple[list[int], list[str]]:
    """Convert a source; return the ids that the model generates for the prompt, and the notes of the report."""
    conversion = convert(source, ConvertOptions("m", repository, "torch", precision="fp32", **options))
    ids = np.array([PROMPT], np.int64)
    with open_model(repository / "m-model") as model:
        answer = model.run(
            {"input_ids": ids, "attention_mask": np.ones_like(ids), **greedy(np.array([[24]], np.uint32))}
        )
    return answer["output_ids"][0, 0, : int(answer["sequence_length"][0, 0])].tolist(), conversion.report.notes


def expected(directory: Path, weights: dict[str, np.ndarray]) -> list[int]:
    """Return the ids that transformers generates with other weights."""
    model = hf.LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.load_state_dict({name: torch.from_numpy(array.astype(np.float32)) for name, array in weights.items()})
    prompt = torch.tensor([PROMPT])
    made = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False)
    return made[0, len(PROMPT) :].tolist()


def test_gptq(llama, tmp_path):
    source = tmp_path / "gptq"
    shutil.copytree(llama, source)
    plain = load_file(llama / "model.safetensors")
    packed = {}
    for number, (name, array) in enumerate(list(plain.items())):
        if array.ndim == 2 and "layers" in name:
            made = Rounded(*array.shape, 32, 4, seed=number)
            plain[name] = made.weight
            parts = made.gptq(less_one=True)
            packed |= {f"{name.removesuffix('weight')}{part}": value for part, value in parts.items()}
        else:
            packed[name] = array
    save_file(packed, source / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    packing = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}
    (source / "config.json").write_text(json.dumps(config | {"quantization_config": packing}))
    ids, notes = served(source, tmp_path / "models")
    assert ids == expected(llama, plain)
    assert "14 weights are stored as GPTQ; they were unpacked, and are served as plain numbers" in notes
    assert "quantization_config sets sym, which is not used" in notes


def test_a_lora_adapter_beside_its_base(llama, tmp_path):
    peft = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = hf.LlamaForCausalLM.from_pretrained(llama, dtype=torch.float32)
        model = peft.get_peft_model(
            base, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "down_proj"])
        )
        torch.manual_seed(2)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.normal_(0, 0.2)
        model.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "/nowhere"}))
    merged = {name: tensor.half().numpy() for name, tensor in model.merge_and_unload().state_dict().items()}
    ids, notes = served(tmp_path / "adapter", tmp_path / "models", base=str(llama))
    assert ids == expected(llama, merged)
    assert ids != expected(llama, load_file(llama / "model.safetensors"))
    assert f"the LoRA adapter was merged into '{llama}'" in notes

    with pytest.raises(SlipwayError, match="'/nowhere' is not a directory"):
        convert(tmp_path / "adapter", ConvertOptions("n", tmp_path / "models"))
    with pytest.raises(SlipwayError, match="--base applies only to LoRA adapters"):
        convert(llama, ConvertOptions("n", tmp_path / "models", base=str(llama)))


def test_gguf(llama, tmp_path):
    pytest.importorskip("gguf")
    from tests.kits.gguf_files import write_gguf

    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    weights = write_gguf(llama, tmp_path / "tiny.gguf", template=template)
    ids, notes = served(tmp_path / "tiny.gguf", tmp_path / "models")
    assert ids == expected(llama, {name: array.astype(np.float16) for name, array in weights.items()})
    assert "the weights are stored as F32, Q8_0; they were unpacked, and are served as plain numbers" in notes
    assert list((tmp_path / "models/m-tokenizer/1").glob("chat*"))


def test_gguf_that_is_not_packed_loses_nothing(llama, tmp_path):
    pytest.importorskip("gguf")
    from slipway.convert.generation.gguf_source import write_gguf_as_directory
    from tests.kits.gguf_files import write_gguf

    source, plain = tmp_path / "source", tmp_path / "plain"
    shutil.copytree(llama, source)
    plain.mkdir()
    arrays = {name: array.astype(np.float32) for name, array in load_file(llama / "model.safetensors").items()}
    arrays["model.layers.0.mlp.up_proj.weight"] *= np.float32(1 / 3)
    arrays["model.norm.weight"] += np.float32(1e-7)
    del arrays["lm_head.weight"]
    save_file(arrays, source / "model.safetensors")
    meant = write_gguf(source, tmp_path / "whole.gguf", packed=False)
    notes = write_gguf_as_directory(tmp_path / "whole.gguf", plain)
    assert notes == ["the weights are stored as F32; they were unpacked, and are served as plain numbers"]
    found = open_weight_files(plain)
    assert found.keys() == arrays.keys()
    assert read_huggingface(plain).spec.tied_head
    kinds = {}
    for name, array in meant.items():
        np.testing.assert_array_equal(found[name].read().astype(np.float32), array, err_msg=name)
        kinds[name] = found[name].read().dtype.name
    assert kinds["model.layers.0.mlp.up_proj.weight"] == kinds["model.norm.weight"] == "float32"
    assert kinds["model.layers.1.mlp.up_proj.weight"] == "float16"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"not a model" * 100])
def test_a_file_that_is_not_gguf_is_refused(tmp_path, content):
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(SlipwayError, match=r"broken\.gguf' is not a GGUF file that transformers can read"):
        convert(tmp_path / "broken.gguf", ConvertOptions("m", tmp_path / "models"))
    assert not (tmp_path / "models").exists() or not any((tmp_path / "models").iterdir())
