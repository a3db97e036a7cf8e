"""Check a row against a specification, and say in words why it would fail during the computation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from slipway.transformer.generation import SequenceRequest
from slipway.transformer.spec import Gate, Languages, Positions, Stack, Transformer, Vision
from slipway.transformer.torch_engine.input_builder import outer_length, prefix_length


def problems(spec: Transformer, row: SequenceRequest) -> Iterator[str]:
    """Yield the reasons why the row cannot be computed."""
    outer = spec.input_stack
    if outer.vision is not None:
        yield from _image(outer.vision, row)
    elif row.hidden is not None:
        size = spec.encoded_size or outer.hidden
        if row.hidden.ndim != 2 or row.hidden.shape[1] != size:
            kind = "encoder states have" if spec.encoded_size else "embedded input has"
            yield f"{kind} shape {list(row.hidden.shape)}, expected [tokens, {size}]"
    elif spec.encoded_size:
        yield f"the model expects encoder states of shape [tokens, {spec.encoded_size}], got ids"
    elif outer.embedded_input:
        yield f"the model expects embedded input of shape [tokens, {outer.hidden}], got ids"
    else:
        yield from _ids(spec, outer, row)
    if outer_length(spec, row) < 1:
        yield "the row has no tokens"
    yield from _lengths(spec, outer, row)
    yield from _choices(spec, row)


def _image(vision: Vision, row: SequenceRequest) -> Iterator[str]:
    expected = (vision.channels, vision.image_size, vision.image_size)
    if row.pixels is None or row.pixels.shape != expected:
        shape = "none" if row.pixels is None else str(list(row.pixels.shape))
        yield f"the model expects an image of shape {list(expected)}, got {shape}"


def _ids(spec: Transformer, outer: Stack, row: SequenceRequest) -> Iterator[str]:
    ids = np.asarray(row.ids)
    if ids.size and int(ids.min()) < 0:
        yield f"token id {int(ids.min())} is negative"
    table = 0
    if row.prompt is not None:
        table = row.prompt.shape[0]
        if row.prompt.ndim != 2 or row.prompt.shape[1] != outer.hidden:
            yield f"the prompt table has shape {list(row.prompt.shape)}, expected [rows, {outer.hidden}]"
    elif row.prompt_task is not None:
        if not 0 <= row.prompt_task < len(spec.prompts):
            yield f"prompt task {row.prompt_task} does not exist: the model has {len(spec.prompts)} prompt tasks"
            return
        table = spec.prompts[row.prompt_task][1]
    virtual = ids >= spec.prompt_start_id if spec.prompts or row.prompt is not None else np.zeros(ids.shape, bool)
    if virtual.any() and int(ids[virtual].max()) - spec.prompt_start_id >= table:
        yield (
            f"token id {int(ids[virtual].max())} is row {int(ids[virtual].max()) - spec.prompt_start_id} of a prompt "
            f"table, which has {table} rows"
        )
    plain = ids[~virtual]
    if plain.size and int(plain.max()) >= outer.vocabulary:
        yield f"token id {int(plain.max())} is not in the vocabulary of {outer.vocabulary}"


def _lengths(spec: Transformer, outer: Stack, row: SequenceRequest) -> Iterator[str]:
    length = outer_length(spec, row)
    tokens = 0 if row.decoding is None else row.decoding.max_tokens
    if spec.encoder is None:
        length += max(tokens - 1, 0)  # the last token is not fed back
    if not spec.encoded_size and outer.positions is Positions.TABLE and length > outer.position_rows:
        yield f"{length} tokens are more than the model's {outer.position_rows} positions"
    inner = spec.decoder if spec.has_cross_attention else None
    if inner is not None and inner.positions is Positions.TABLE and tokens > inner.position_rows:
        yield f"{tokens} tokens to generate are more than the decoder's {inner.position_rows} positions"


def _choices(spec: Transformer, row: SequenceRequest) -> Iterator[str]:
    stacks = [stack for stack in (spec.encoder, spec.decoder) if stack is not None]
    tasks = min((stack.adapter_tasks for stack in stacks if stack.adapter_tasks), default=0)
    if row.adapter_task is not None and not 0 <= row.adapter_task < tasks:
        yield f"adapter task {row.adapter_task} does not exist: the model has {tasks} adapter tasks"
    start = None if row.decoding is None else row.decoding.start_id
    if start is not None and spec.has_cross_attention and spec.decoder is not None:  # noqa: SIM102
        if not 0 <= start < spec.decoder.vocabulary:
            yield f"start id {start} is not in the vocabulary of {spec.decoder.vocabulary}"
    languages = (row.source_language, row.target_language)
    for stack, own in zip((spec.encoder, spec.decoder), languages, strict=True):
        if stack is None:
            continue
        hard = stack.experts is not None and stack.experts.gate is Gate.HARD
        known = dict(spec.language_experts)
        if hard and own not in known:
            yield f"language {own} has no expert: the model has experts for {sorted(known)}"
        if spec.language_mode is Languages.NONE or not stack.languages:
            continue
        used = row.target_language if spec.language_mode is Languages.TARGET_IN_SOURCE else own
        if not 0 <= used < stack.languages:
            yield f"language {used} does not exist: the model has {stack.languages} languages"


def capacity(spec: Transformer, row: SequenceRequest) -> int:
    """Return how many tokens a row occupies in the decoder's cache when it is decoded to its limit."""
    tokens = 1 if row.decoding is None else row.decoding.max_tokens
    return tokens + (prefix_length(spec) if spec.has_cross_attention else outer_length(spec, row))
