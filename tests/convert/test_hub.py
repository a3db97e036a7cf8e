"""What is fetched from a hub: the files that a conversion reads, and no second copy of the weights."""

from __future__ import annotations

from huggingface_hub.utils import filter_repo_objects

from slipway.convert.hub import FILES, NOT_FETCHED

READ = {
    "config.json",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "merges.txt",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
    "1_Pooling/config.json",
}
OTHERS = {
    "consolidated.safetensors",
    "consolidated-00001-of-00002.safetensors",
    "modeling_phi3.py",
    "onnx/model.onnx",
    "onnx/config.json",
    "original/consolidated.00.pth",
    "README.md",
    "model.gguf",
}


def test_the_files_of_a_conversion_are_fetched_and_no_others():
    found = filter_repo_objects(READ | OTHERS, allow_patterns=list(FILES), ignore_patterns=list(NOT_FETCHED))
    assert set(found) == READ
