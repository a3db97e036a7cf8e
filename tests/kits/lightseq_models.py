"""Tiny random models of every LightSeq type, in repositories with LightSeq's layout."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.lightseq.conf import LightSeqConf
from slipway.checkpoints.lightseq.export import ExportOptions, export
from slipway.transformer.spec import Stack, Transformer, standard_scale
from slipway.transformer.weights import Array, Weights, expected_shapes

_IDS = ("token_ids", "TYPE_INT32", "[ -1 ]")
_SOURCE = ("source_ids", "TYPE_INT32", "[ -1 ]")
_TARGET = (("target_ids", "TYPE_INT32"), ("target_scores", "TYPE_FP32"))
_STATES = (("encoder_output", "TYPE_INT32"),)  # as in Bert's shipped config
_TENSORS: dict[str, tuple[Any, Any]] = {
    "Bert": (_IDS, _STATES),
    "Gpt": (_IDS, (("result", "TYPE_INT32"),)),
    "Vit": (("pixel_values", "TYPE_FP32", "[ 3, -1, -1 ]"), _STATES),
}


def add_model(repository: Path, name: str, model_type: str, *, batch: int = 8, **parameters: str) -> Path:
    """Write a model's config and an empty `1/`; return the path of its file, next to the config."""
    directory = repository / name
    (directory / "1").mkdir(parents=True)
    (input_name, input_type, dims), outputs = _TENSORS.get(model_type.removeprefix("Quant"), (_SOURCE, _TARGET))
    declared = ", ".join(f'{{ name: "{output}" data_type: {kind} dims: [ -1 ] }}' for output, kind in outputs)
    keys = "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
        for key, value in {"model_type": model_type, **parameters}.items()
    )
    (directory / "config.pbtxt").write_text(
        f'name: "{name}"\nbackend: "lightseq"\nmax_batch_size: {batch}\n'
        f'input [ {{ name: "{input_name}" data_type: {input_type} dims: {dims} }} ]\noutput [ {declared} ]\n'
        f'instance_group [ {{ count: 1 kind: KIND_GPU }} ]\ndefault_model_filename: "model.hdf5"\n{keys}'
    )
    return directory / "model.hdf5"


def export_to(file: Path, model: Any, source: str, **options: Any) -> Path:
    """Write a transformers model as a LightSeq file, as `slipway lightseq export` does."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        return export(ExportOptions(Path(directory), source, file, **options)).path


def loud(model: Any, scale: float = 0.3) -> Any:
    """Return a transformers model in evaluation mode, with weights large enough for a mistake to show."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, scale)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def tiny_bart(seed: int = 0, **settings: Any) -> Any:
    """Return a random BART of 40 tokens that starts and ends with id 2 and pads with 1."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"vocab_size": 40, "d_model": 16, "max_position_embeddings": 64}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 32}
    return loud(BartForConditionalGeneration(BartConfig(**(sizes | settings))))


def counting_bart() -> Any:
    """Return a BART that is trained in seconds to count from its first source token to the next multiple of seven."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 40, "d_model": 32, "max_position_embeddings": 64, "dropout": 0.0}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 1, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 64}
    model = BartForConditionalGeneration(BartConfig(**sizes, init_std=0.1)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        source = torch.randint(3, 40, (64, 5))
        rows = [counted(first) for first in source[:, 0].tolist()]
        labels = torch.tensor([row + [-100] * (8 - len(row)) for row in rows])
        optimizer.zero_grad()
        model(input_ids=source, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


def counted(first: int) -> list[int]:
    """Return the tokens that `counting_bart` generates."""
    return [*range(first, min(first + 7 - first % 7, 40)), 2]


def tiny_bert(seed: int = 0, **settings: Any) -> Any:
    """Return a random BERT of 40 tokens that pads with 0."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(**(sizes | {"intermediate_size": 32, "max_position_embeddings": 64} | settings))
    return loud(BertModel(config, add_pooling_layer=False))


def tiny_gpt2(seed: int = 0, **settings: Any) -> Any:
    """Return a random GPT-2 of 40 tokens."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    sizes = {"vocab_size": 40, "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return loud(GPT2LMHeadModel(GPT2Config(**(sizes | {"bos_token_id": 39, "eos_token_id": 39} | settings))))


def random_checkpoint(spec: Transformer, seed: int = 0, scale: float = 0.5) -> Checkpoint:
    """Return random weights for `spec`, in memory; norms are near one, and the head's choice of token varies."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for name, shape in expected_shapes(spec).items():
        values = generator.normal(0, scale, shape).astype(np.float32)
        if name.endswith("norm.scale"):
            values = 1 + values / 5
        arrays[name] = Array(shape, lambda values=values: values)
    return Checkpoint("random", spec, Weights(arrays))


def toy_spec(vocabulary: int = 20, **settings: Any) -> Transformer:
    """Return a small pre-norm encoder-decoder whose tables fit a LightSeq file; `settings` may change the stacks."""
    sizes: dict[str, Any] = {
        "layers": 2,
        "hidden": 16,
        "heads": 2,
        "head_size": 8,
        "inner": 24,
        "vocabulary": vocabulary,
        "norm_epsilon": 1e-12,
        "pre_norm": True,
        "final_norm": True,
        "position_rows": 16,
        "attention_scale": standard_scale(8),
    }
    outer = {name: settings.pop(name) for name in ("language_mode", "language_experts") if name in settings}
    encoder = Stack(**sizes, padding_id=1, **settings)
    decoder = Stack(**sizes, **settings)
    return Transformer(encoder=encoder, decoder=decoder, head_bias=True, start_id=0, end_id=2, logit_scale=1.0, **outer)


def toy_conf(model_type: str = "Transformer", **settings: Any) -> LightSeqConf:
    """Return a toy's decoding settings: 16 positions and a beam of one, unless `settings` change them."""
    plain: dict[str, Any] = {"max_step": 16, "sampling_method": "beam_search", "extra_decode_length": 16}
    plain |= {"padding_id": 1, "start_id": 0, "end_id": 2}
    return LightSeqConf(model_type, **(plain | settings))


def tiny_t5(seed: int = 0, *, gated: bool = False) -> Any:
    """Return a random T5 of 40 tokens, or an mT5 (gated, separate head): starts and pads with 0, ends with 1."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4}
    if gated:
        config = MT5Config(**sizes, feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0)
        return loud(MT5ForConditionalGeneration(config), 0.4)
    return loud(T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)), 0.4)


def tiny_vit(seed: int = 0) -> Any:
    """Return a random ViT for images of 16 by 16 in patches of 4."""
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    return loud(ViTModel(ViTConfig(**sizes, image_size=16, patch_size=4), add_pooling_layer=False))
