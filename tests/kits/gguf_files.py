"""A tiny Llama as a GGUF file, as llama.cpp's converter writes it."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(directory: Path, file: Path, *, template: str = "", packed: bool = True) -> dict[str, np.ndarray]:
    """Write the Llama with a byte-level tokenizer in `directory` to `file`, products in Q8_0 or, unless `packed`, in
    float32; return the numbers that the file stands for, by stored name."""
    kind = gguf.GGMLQuantizationType.Q8_0 if packed else gguf.GGMLQuantizationType.F32
    config = json.loads((directory / "config.json").read_text())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, directory, template)
    meant = {}
    for name, array in load_file(directory / "model.safetensors").items():
        numbers = array.astype(np.float32)
        if array.ndim == 2:
            stored = gguf.quantize(numbers, kind)
            meant[name] = gguf.dequantize(stored, kind)
        else:
            meant[name] = numbers
        own = _name(name)
        if array.ndim == 1:
            writer.add_tensor(own, numbers)
        elif "attn_q" in own or "attn_k" in own:
            turned = _interleaved(stored, heads if "attn_q" in own else groups)
            writer.add_tensor(own, turned, raw_dtype=kind)
        else:
            writer.add_tensor(own, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def _add_tokenizer(writer: gguf.GGUFWriter, directory: Path, template: str) -> None:
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    vocabulary = dict(tokenizer["model"]["vocab"])
    special = {each["content"]: each["id"] for each in tokenizer["added_tokens"]}
    tokens = sorted({**vocabulary, **special}, key=lambda token: {**vocabulary, **special}[token])
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in special else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    if template:
        writer.add_chat_template(template)


def _name(name: str) -> str:
    whole = name.removesuffix(".weight")
    if whole in _NAMES:
        return f"{_NAMES[whole]}.weight"
    _, _, layer, part = whole.split(".", 3)
    return f"blk.{layer}.{_PARTS[part]}.weight"


def _interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows of each head with its two halves interleaved, as llama.cpp rotates them."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))
