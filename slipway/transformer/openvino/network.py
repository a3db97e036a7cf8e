"""A decoder on OpenVINO whose keys and values are in pages: compile the graph once, then compute step after step.

Knows neither requests nor how weights are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np

from slipway.errors import internal, unavailable
from slipway.openvino_library import import_openvino, kept_signal_stack
from slipway.transformer.openvino import graph
from slipway.transformer.openvino.quantisation import GROUPS
from slipway.transformer.openvino.rotary import RotaryAngles
from slipway.transformer.openvino.stored_weights import GraphConstant, drop_pages
from slipway.transformer.paged.step import PagedStep
from slipway.transformer.spec import Positions, Stack, Transformer

# How the plugin computes, per precision of the weights. With weights of integers it makes activations int8 too, in
# groups of a token's numbers, but only with float32 around it. Keys and values keep that type: the plugin's 8-bit pages
# would depend on how a prompt was cut into pieces.
PROPERTIES: Final[Mapping[str, Mapping[str, str | int]]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
    "bfloat16": {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16"},
    "int8": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"},
    "int4": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"},
}
# The plugin's own teams of threads are not pinned: another model's threads may be pinned to the same cores. Measured
# on two busy cores, one row of the 0.5B shape in int8: 30 ms of processor time a token, pinned 35.
SHARED_PROPERTIES: Final = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The pages of the keys or the values of a layer: `page` is the shape of one."""

    name: str
    dtype: Any
    page: tuple[int, ...]


class OpenVinoModel:
    """A compiled graph: one copy of the weights for any number of networks."""

    def __init__(self, library: Any, spec: Transformer, arrays: Mapping[str, GraphConstant], compiled: Any) -> None:
        """Take a graph that was compiled with `arrays`, whose memory it may use as long as it lives: the library does
        not hold the memory of number types that numpy lacks."""
        self._library = library
        self._arrays = arrays
        self.spec = spec
        self._compiled = compiled
        layers = range(spec.output_stack.layers)
        names = [name(layer) for layer in layers for name in (graph.key_cache, graph.value_cache)]
        self._caches = [_cache_shape(compiled.input(name)) for name in names]

    @classmethod
    def compile(
        cls, spec: Transformer, arrays: Mapping[str, GraphConstant], precision: str, *, threads: int
    ) -> OpenVinoModel:
        """Return the model with the stored weights `arrays`, of which it keeps what the plugin does not copy.

        Raises UNAVAILABLE if the library cannot compile the graph.
        """
        library = import_openvino()
        properties = {**SHARED_PROPERTIES, **PROPERTIES[precision], "INFERENCE_NUM_THREADS": threads}
        if precision in ("int8", "int4"):
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = activation_group(spec.output_stack)
        try:
            with kept_signal_stack():
                compiled = library.Core().compile_model(graph.build(library, spec, arrays), "CPU", properties)
        except RuntimeError as error:
            raise unavailable(f"OpenVINO could not load the model: {error}") from error
        drop_pages(arrays)
        return cls(library, spec, arrays, compiled)

    @property
    def page_size(self) -> int:
        """The number of tokens in a page, which the plugin decides."""
        return self._caches[0].page[1]

    @property
    def page_bytes(self) -> int:
        """The memory of a page in all layers."""
        return sum(prod(cache.page) * int(cache.dtype.size) for cache in self._caches)

    def network(self, page_count: int) -> OpenVinoNetwork:
        """Return a network with its own pages; it may compute at the same time as others.

        Raises UNAVAILABLE if the pages do not fit into memory.
        """
        library = self._library
        request = self._compiled.create_infer_request()
        pages = []
        try:
            for cache in self._caches:
                tensor = library.Tensor(cache.dtype, library.Shape([page_count, *cache.page]))
                request.set_tensor(cache.name, tensor)
                pages.append(tensor)
        except (RuntimeError, MemoryError) as error:
            raise unavailable(f"{page_count} pages of keys and values do not fit into memory") from error
        return OpenVinoNetwork(self, library, request, pages)


class OpenVinoNetwork:
    """A `paged.step.PagedNetwork`."""

    def __init__(self, model: OpenVinoModel, library: Any, request: Any, pages: Sequence[Any]) -> None:
        """Take a request of the model's graph, to which the tensors `pages` are bound."""
        self._model = model  # whose weights the request uses
        self._library = library
        self._request: Any | None = request
        self._pages = list(pages)
        self._page_count = int(pages[0].shape[0])
        stack = model.spec.output_stack
        self._table = stack.positions is Positions.TABLE
        self._vocabulary = stack.vocabulary
        self._angles = [
            (graph.angle_names(index), RotaryAngles(rotary)) for index, rotary in enumerate(graph.rotaries(stack))
        ]

    @property
    def page_size(self) -> int:
        """The number of tokens in a page."""
        return self._model.page_size

    @property
    def page_count(self) -> int:
        """The number of pages."""
        return self._page_count

    def run(self, step: PagedStep) -> np.ndarray:
        """Compute a step, keep its keys and values, and return scores float32 [scored, vocabulary]."""
        request, tensor = self._request, self._library.Tensor
        if request is None:
            raise internal("the network is closed")
        inputs = dict(self._inputs(step))  # the library reads this memory while it computes
        for name, array in inputs.items():
            request.set_tensor(name, tensor(array, shared_memory=True))
        scores = np.empty((len(step.scored), self._vocabulary), np.float32)
        request.set_output_tensor(tensor(scores, shared_memory=True))
        request.start_async()
        try:
            request.wait()
        except RuntimeError as error:
            raise internal(f"OpenVINO could not compute a step: {error}") from error
        return scores

    def _inputs(self, step: PagedStep) -> Iterator[tuple[str, np.ndarray]]:
        counts = np.diff(step.begins)
        yield graph.TOKENS, step.tokens
        yield graph.SCORED, step.scored
        yield graph.PAST, step.past
        yield graph.BEGINS, step.begins
        yield graph.PAGES, step.pages
        yield graph.PAGE_BEGINS, step.page_begins
        yield graph.LONGEST, np.array((step.past + counts).max(), np.int32)
        if not (self._table or self._angles):
            return
        # A token's position is its index among all new tokens, less that of its sequence's first, plus the past.
        positions = np.arange(len(step.tokens), dtype=np.int32) + np.repeat(step.past - step.begins[:-1], counts)
        if self._table:
            yield graph.POSITIONS, positions
        for names, angles in self._angles:
            yield from zip(names, angles.at(positions, step.lengths, counts), strict=True)

    def copy_pages(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy the keys and values of pages: (from, to) each; no page is both."""
        if not pairs:
            return
        source, target = (np.array(each) for each in zip(*pairs, strict=True))
        for tensor in self._pages:
            tensor.data[target] = tensor.data[source]

    def close(self) -> None:
        """Release weights and pages."""
        self._request = None
        self._pages.clear()


def _cache_shape(port: Any) -> CacheShape:
    _, *page = port.get_partial_shape()
    return CacheShape(port.any_name, port.get_element_type(), tuple(length.get_length() for length in page))


def activation_group(stack: Stack) -> int:
    """Return how many numbers of a token share a scale when activations become int8.

    The plugin needs a divisor of every product's input. The largest group is the fastest: 31 ms of processor time a
    token of the 0.5B shape with 128, 34 with 32.
    """
    widths = (stack.hidden, stack.attention, stack.inner)
    return next((size for size in GROUPS if not any(width % size for width in widths)), 16)
