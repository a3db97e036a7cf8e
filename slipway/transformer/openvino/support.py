"""What the graph cannot express, and which rows it does not run, as reasons in words.

The reasons are a few fixed texts, so that each is logged only once. Knows specifications and rows, not the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import numpy as np

from slipway.transformer.generation import Search, SequenceRequest
from slipway.transformer.spec import Languages, Positions, Stack, Transformer

OLDEST: Final = (2026, 4)
PRECISIONS: Final = ("float32", "bfloat16", "int8", "int4")


def why_not(spec: Transformer) -> str:
    """Return why the graph cannot express the architecture, "" if it can."""
    return "; ".join(dict.fromkeys(_architecture(spec)))


def too_old() -> str:
    """Return that the installed library is too old for the graph's paged attention, "" if it is not or is missing."""
    try:
        found = version("openvino")
    except PackageNotFoundError:
        return ""
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdecimal())
    oldest = ".".join(map(str, OLDEST))
    return "" if numbers >= OLDEST else f"OpenVINO {oldest} or later is needed, {found} is installed"


def refusal(row: SequenceRequest) -> str:
    """Return why the row is one for another engine, "" if it is not."""
    return "; ".join(_inexact(row))


def impossible(spec: Transformer, row: SequenceRequest) -> str:
    """Return why no engine can run the row (of tokens), "" if one can."""
    return "; ".join(_impossible(spec.output_stack, row))


def no_states(*, attentions: bool) -> str:
    """Return why the graph cannot return hidden states."""
    return "does not return attention probabilities" if attentions else "does not return hidden states"


def _inexact(row: SequenceRequest) -> Iterator[str]:
    others = (row.pixels, row.hidden, row.adapter_task, row.prompt_task, row.prompt)
    if any(each is not None for each in others):
        yield "input that is not only tokens"
    if row.decoding is not None and row.decoding.search is not Search.SAMPLE:
        yield "beam search"


def _impossible(stack: Stack, row: SequenceRequest) -> Iterator[str]:
    ids = np.asarray(row.ids)
    if ids.size == 0:
        yield "the row has no tokens"
    elif int(ids.min()) < 0 or int(ids.max()) >= stack.vocabulary:
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        yield f"token id {wrong} is not in the vocabulary of {stack.vocabulary}"
    length = ids.size + (0 if row.decoding is None else max(row.decoding.max_tokens - 1, 0))
    if stack.positions is Positions.TABLE and length > stack.position_rows:
        yield f"{length} tokens are more than the model's {stack.position_rows} positions"


def _architecture(spec: Transformer) -> Iterator[str]:
    if spec.encoder is not None or spec.decoder is None or spec.encoded_size:
        yield "a model that is not decoder-only"
        return
    yield from _stack(spec.decoder)
    if spec.language_mode is not Languages.NONE:
        yield "language embeddings"
    if spec.prompts:
        yield "prompt tables"


def _stack(stack: Stack) -> Iterator[str]:
    if stack.vision is not None:
        yield "images as input"
    if stack.embedded_input:
        yield "input that was embedded elsewhere"
    if stack.experts is not None:
        yield "a mixture of experts"
    if stack.languages:
        yield "language embeddings"
    if stack.token_types:
        yield "token types"
    if stack.adapter_tasks:
        yield "IA3 adapters"
    if stack.padding_id is not None:
        yield "padding that is not attended to"
    if stack.positions is Positions.RELATIVE:
        yield "relative positions"
    if stack.attention_softcap:
        yield "a soft cap of attention scores"  # the library's paged attention has none
    if stack.head_size % 2:
        yield "heads of an odd size"  # in bfloat16 the library's paged attention returns NaN
