"""Which architectures the graph can express, as reasons in words. Knows specifications, not the library."""

from __future__ import annotations

from collections.abc import Iterator

from slipway.transformer.spec import Languages, Positions, Stack, Transformer

PRECISIONS = ("float32", "bfloat16", "int8", "int4")


def why_not(spec: Transformer) -> str:
    """Return why the graph cannot express the architecture, "" if it can."""
    return "; ".join(dict.fromkeys(_architecture(spec)))


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
    if stack.key_value % 2:
        yield "heads of an odd size"
