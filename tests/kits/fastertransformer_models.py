"""Tiny random T5, GPT-2 and BERT models: made by transformers, written by the converters, in NVIDIA's layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.transformer.weights import Array, Weights, expected_shapes, token_table

VOCABULARY = 60


CURRENT = """input [
  {{ name: "input_ids" data_type: TYPE_UINT32 dims: [ -1 ] }},
  {{ name: "sequence_length" data_type: TYPE_UINT32 dims: [ 1 ] reshape: {{ shape: [ ] }} }},
  {{ name: "max_output_len" data_type: TYPE_UINT32 dims: [ 1 ] reshape: {{ shape: [ ] }} }}{arguments},
  {{ name: "bad_words_list" data_type: TYPE_INT32 dims: [ 2, -1 ] optional: true }},
  {{ name: "stop_words_list" data_type: TYPE_INT32 dims: [ 2, -1 ] optional: true }},
  {{ name: "request_prompt_embedding" data_type: TYPE_FP16 dims: [ -1, -1 ] optional: true }}
]
output [
  {{ name: "output_ids" data_type: TYPE_INT32 dims: [ -1, -1 ] }},
  {{ name: "sequence_length" data_type: TYPE_INT32 dims: [ -1 ] }},
  {{ name: "cum_log_probs" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "output_log_probs" data_type: TYPE_FP32 dims: [ -1, -1 ] }}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
default_model_filename: "t5"
max_batch_size: 1024
"""
_ARGUMENTS = {
    "UINT32": "runtime_top_k beam_width start_id end_id prompt_learning_task_name_ids request_prompt_lengths "
    "top_p_reset_ids",
    "FP32": "runtime_top_p beam_search_diversity_rate temperature len_penalty repetition_penalty top_p_decay top_p_min",
    "UINT64": "random_seed",
    "BOOL": "is_return_log_probs",
    "INT32": "ia3_tasks",
}


def shipped_interface() -> str:
    """Return the current T5 interface as NVIDIA's config.pbtxt declares it."""
    rows = [
        f',\n  {{ name: "{name}" data_type: TYPE_{kind} dims: [ 1 ] reshape: {{ shape: [ ] }} optional: true }}'
        for kind, names in _ARGUMENTS.items()
        for name in names.split()
    ]
    return CURRENT.format(arguments="".join(rows))


BETA = """max_batch_size: 128
input [
  { name: "INPUT_ID" data_type: TYPE_UINT32 dims: [ -1 ] },
  { name: "REQUEST_INPUT_LEN" data_type: TYPE_UINT32 dims: [ -1 ] }
]
output [
  { name: "OUTPUT0" data_type: TYPE_UINT32 dims: [ -1, -1 ] },
  { name: "OUTPUT1" data_type: TYPE_UINT32 dims: [ -1 ] }
]
"""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: with models this small, more threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def loud(model: Any, scale: float = 0.3) -> Any:
    """Return a transformers model in evaluation mode, with weights large enough for a mistake to show."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, scale)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def tiny_t5(seed: int = 0, steps: int = 120, **settings: Any) -> Any:
    """Return a T5 with 60 tokens and 4 heads that has begun to learn to reverse sequences.

    Random weights repeat one token for ever; after a hundred steps outputs differ from row to row, and end.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    figures = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    figures |= {"decoder_start_token_id": 0, "dropout_rate": 0.0}
    model = T5ForConditionalGeneration(T5Config(**figures | settings))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with one_thread():
        for _ in range(steps):
            size = int(torch.randint(2, 9, ()))
            source = torch.randint(3, VOCABULARY, (32, size))
            end = torch.ones((32, 1), dtype=torch.int64)
            loss = model(input_ids=torch.cat([source, end], 1), labels=torch.cat([source.flip(1), end], 1)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def tiny_gpt2(vocabulary: int = VOCABULARY, seed: int = 0) -> Any:
    """Return a random GPT-2 that ends with its last token."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    end = vocabulary - 1
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=end, eos_token_id=end
    )
    return loud(GPT2LMHeadModel(config))


def tiny_bert(seed: int = 0) -> Any:
    """Return a random BERT with the GELU that FasterTransformer computes."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        hidden_act="gelu_new",
    )
    return loud(BertModel(config, add_pooling_layer=False))


def write_checkpoint(model: Any, target: Path, scratch: Path, **options: Any) -> Checkpoint:
    """Write a transformers model as a FasterTransformer checkpoint; return the checkpoint read from the original."""
    model.save_pretrained(scratch)
    checkpoint = read_huggingface(scratch)
    write_fastertransformer(checkpoint, target, WriteOptions(**options))
    return checkpoint


def prompt_tokens(task: int, rows: int) -> list[int]:
    """Return the plain tokens whose vectors are a task's prompt table (`with_tasks`)."""
    return [7 + 11 * task + row for row in range(rows)]


def with_tasks(checkpoint: Checkpoint, *, adapters: int, prompts: tuple[tuple[str, int], ...]) -> Checkpoint:
    """Return the checkpoint with random IA3 scales, and prompt tables that represent `prompt_tokens`."""
    encoder, decoder = checkpoint.spec.encoder, checkpoint.spec.decoder
    assert encoder is not None
    assert decoder is not None
    spec = replace(
        checkpoint.spec,
        encoder=replace(encoder, adapter_tasks=adapters),
        decoder=replace(decoder, adapter_tasks=adapters),
        prompts=prompts,
        prompt_start_id=encoder.vocabulary,
    )
    generator = np.random.default_rng(5)
    tokens = checkpoint.weights[token_table(checkpoint.spec)]
    added = {f"prompts.{name}": tokens[prompt_tokens(task, rows)] for task, (name, rows) in enumerate(prompts)}
    arrays = {}
    for name, shape in expected_shapes(spec).items():
        if name in checkpoint.weights:
            value = checkpoint.weights[name]
        else:
            value = added.get(name, generator.normal(1.0, 0.5, shape).astype(np.float32))
        arrays[name] = Array(shape, lambda value=value: value)
    return Checkpoint(checkpoint.source, spec, Weights(arrays))


def add_model(repository: Path, name: str, kind: str, text: str = "", **parameters: str) -> Path:
    """Write `<name>/config.pbtxt` and return `<name>/1`; without `text` the backend completes the interface."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    keys = "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
        for key, value in {"model_type": kind, "DEVICE": "cpu", **parameters}.items()
    )
    config = f'name: "{name}"\nbackend: "fastertransformer"\n{text}{keys}'
    (repository / name / "config.pbtxt").write_text(config)
    return version


def generate(model: Any, ids: list[int], tokens: int, **options: Any) -> list[list[int]]:
    """Return the ids that transformers generates for one sequence, without start token, prompt and padding."""
    import torch

    given = {"do_sample": False, "max_new_tokens": tokens, "pad_token_id": 0, **options}
    table = torch.tensor([ids])
    with torch.no_grad(), one_thread():
        rows = model.generate(table, attention_mask=torch.ones_like(table), **given).tolist()
    start = 1 if model.config.is_encoder_decoder else len(ids)
    return [cut(row[start:], model.config.eos_token_id) for row in rows]


def cut(ids: list[int], end: int) -> list[int]:
    """Return `ids` up to and including the first end token."""
    return ids[: ids.index(end) + 1] if end in ids else ids
