"""A decoder on OpenVINO whose keys and values are in pages: compile the graph once, then compute step after step.

Knows neither requests nor how weights are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slipway.errors import internal, unavailable
from slipway.openvino_library import import_openvino, kept_signal_stack
from slipway.transformer.openvino import graph
from slipway.transformer.openvino.quantisation import GROUPS
from slipway.transformer.openvino.rotary import RotaryAngles
from slipway.transformer.openvino.stored_weights import StoredArray, drop_pages
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
class Pool:
    """The pages of all layers: `caches` are the library's tensors by the names of the graph's inputs."""

    page_size: int
    page_count: int
    caches: Mapping[str, Any]

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy pages: (from, to) each; no page is both."""
        source, target = (np.array(each) for each in zip(*pairs, strict=True))
        for tensor in self.caches.values():
            tensor.data[target] = tensor.data[source]


class OpenVinoNetwork:
    """A `paged.step.PagedNetwork`."""

    def __init__(self, library: Any, spec: Transformer, request: Any, pool: Pool) -> None:
        """Take a request of the compiled graph, to which the pool's pages are bound."""
        self._library = library
        self._request: Any | None = request
        self._pool = pool
        stack = spec.output_stack
        self._table = stack.positions is Positions.TABLE
        self._vocabulary = stack.vocabulary
        self._angles = [
            (graph.angle_names(index), RotaryAngles(rotary)) for index, rotary in enumerate(graph.rotaries(stack))
        ]

    @classmethod
    def open(
        cls,
        spec: Transformer,
        arrays: Mapping[str, StoredArray],
        precision: str,
        *,
        threads: int,
        page_count: int,
    ) -> OpenVinoNetwork:
        """Return a network of the stored weights `arrays`, with room for `page_count` pages.

        Raises UNAVAILABLE if the library refuses the graph or the pages do not fit into memory.
        """
        library = import_openvino()
        core = library.Core()
        properties = {**SHARED_PROPERTIES, **PROPERTIES[precision], "INFERENCE_NUM_THREADS": threads}
        if "int" in precision:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = activation_group(spec.output_stack)
        try:
            with kept_signal_stack():
                compiled = core.compile_model(graph.build(library, spec, arrays), "CPU", properties)
            request = compiled.create_infer_request()
            pool = _pool(library, compiled, spec.output_stack.layers, page_count)
        except (RuntimeError, MemoryError) as error:
            raise unavailable(f"OpenVINO could not load the model: {type(error).__name__}") from error
        for name, tensor in pool.caches.items():
            request.set_tensor(name, tensor)
        drop_pages(arrays)
        return cls(library, spec, request, pool)

    @property
    def page_size(self) -> int:
        """The number of tokens in a page."""
        return self._pool.page_size

    @property
    def page_count(self) -> int:
        """The number of pages."""
        return self._pool.page_count

    def run(self, step: PagedStep) -> np.ndarray:
        """Compute a step, keep its keys and values, and return scores float32 [scored, vocabulary]."""
        request = self._request
        if request is None:
            raise internal("the network is closed")
        inputs = dict(self._inputs(step))  # the library reads this memory during `infer`
        for name, array in inputs.items():
            request.set_tensor(name, self._library.Tensor(array, shared_memory=True))
        scores = np.empty((len(step.scored), self._vocabulary), np.float32)
        request.set_output_tensor(self._library.Tensor(scores, shared_memory=True))
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
        if pairs:
            self._pool.copy(pairs)

    def close(self) -> None:
        """Release weights and pages."""
        self._request = None
        self._pool = Pool(self.page_size, self.page_count, {})


def _pool(library: Any, compiled: Any, layers: int, page_count: int) -> Pool:
    """Return pages in the shapes and number types that the plugin has given the graph's inputs."""
    caches = {}
    for name in (name(layer) for layer in range(layers) for name in (graph.key_cache, graph.value_cache)):
        port = compiled.input(name)
        _, heads, tokens, width = port.get_partial_shape()
        shape = [page_count, *(length.get_length() for length in (heads, tokens, width))]
        caches[name] = library.Tensor(port.get_element_type(), library.Shape(shape))
    # The scales of keys have rows of their own, those of values columns.
    return Pool(caches[graph.value_cache(0)].shape[2], page_count, caches)


def activation_group(stack: Stack) -> int:
    """Return how many numbers of a token share a scale when activations become int8.

    The plugin needs a divisor of every product's input. The largest group is the fastest: 31 ms of processor time a
    token of the 0.5B shape with 128, 34 with 32.
    """
    widths = (stack.hidden, stack.attention, stack.inner)
    return next((size for size in GROUPS if not any(width % size for width in widths)), 16)
