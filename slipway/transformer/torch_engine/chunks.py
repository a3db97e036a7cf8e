"""Split rows into chunks that are computed together: as many rows as fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from slipway.transformer.generation import Search, SequenceRequest
from slipway.transformer.spec import Transformer
from slipway.transformer.torch_engine.input_builder import outer_length
from slipway.transformer.torch_engine.refusal import capacity

_ENCODER_NUMBERS = 64 << 20  # numbers of a layer in memory at once: 256 MiB in float32
_CACHE_NUMBERS = 512 << 20  # keys and values if every row runs to its limit: 2 GiB in float32


def for_encoding(spec: Transformer, rows: Sequence[SequenceRequest]) -> Iterator[list[int]]:
    """Yield the indices of rows to encode together, sorted by length, so that little of the grid is empty."""
    order = sorted(range(len(rows)), key=lambda index: outer_length(spec, rows[index]))
    yield from _filled(order, lambda index: _encoding(spec, rows[index]), _ENCODER_NUMBERS)


def for_decoding(spec: Transformer, rows: Sequence[SequenceRequest]) -> Iterator[list[int]]:
    """Yield the indices of rows to decode together, in the given order."""
    share = _CACHE_NUMBERS // _ENCODER_NUMBERS  # one unit for both: encoding memory is freed before the cache fills
    yield from _filled(
        range(len(rows)),
        lambda index: max(_caching(spec, rows[index]), share * _encoding(spec, rows[index])),
        _CACHE_NUMBERS,
    )


def hypotheses(row: SequenceRequest) -> int:
    """Return the maximum number of hypotheses of a row that are decoded at the same time."""
    decoding = row.decoding
    return 1 if decoding is None or decoding.search is Search.SAMPLE else max(decoding.beam_width, 1)


def _filled(order: Sequence[int], cost: Callable[[int], int], room: int) -> Iterator[list[int]]:
    chunk: list[int] = []
    filled = 0
    for index in order:
        own = cost(index)
        if chunk and filled + own > room:
            yield chunk
            chunk, filled = [], 0
        chunk.append(index)
        filled += own
    if chunk:
        yield chunk


def _encoding(spec: Transformer, row: SequenceRequest) -> int:
    if spec.encoded_size:
        return 0
    outer = spec.input_stack
    length = outer_length(spec, row)
    return length * max(2 * outer.inner, 4 * outer.attention, length * outer.heads)


def _caching(spec: Transformer, row: SequenceRequest) -> int:
    decoder = spec.output_stack
    memory = outer_length(spec, row) if spec.has_cross_attention else 0
    return 2 * decoder.key_value * decoder.layers * (hypotheses(row) * capacity(spec, row) + memory)


def expected_tokens(stack_rows: Sequence[SequenceRequest], spec: Transformer, ahead: int = 64) -> int:
    """Return the initial capacity of a cache: all prompts, and `ahead` tokens for every hypothesis."""
    total = 0
    for row in stack_rows:
        limit = capacity(spec, row)
        tokens = 1 if row.decoding is None else row.decoding.max_tokens
        total += hypotheses(row) * (limit - max(tokens - ahead, 0))
    return total
