"""The graph of a decoder over pages: from a specification and its stored weights to a model of the library.

The names of its inputs are here; `network.py` fills them. Does not know how arrays are stored or executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from slipway.transformer.alibi_slopes import slopes
from slipway.transformer.openvino.operators import AttentionOptions, Operators, PageInputs, RotaryInputs
from slipway.transformer.openvino.stored_weights import GraphConstant
from slipway.transformer.spec import Norm, Positions, QueryKeyNorm, Rotary, Stack, Transformer
from slipway.transformer.weights import token_table

TOKENS: Final = "tokens"
POSITIONS: Final = "positions"
SCORED: Final = "scored"
PAST: Final = "past_lens"
BEGINS: Final = "subsequence_begins"
PAGES: Final = "block_indices"
PAGE_BEGINS: Final = "block_indices_begins"
LONGEST: Final = "max_context_len"


def key_cache(layer: int) -> str:
    """Return the name of the input with the keys of a layer."""
    return f"key_cache.{layer}"


def value_cache(layer: int) -> str:
    """Return the name of the input with the values of a layer."""
    return f"value_cache.{layer}"


def angle_names(index: int) -> tuple[str, str]:
    """Return the names of the inputs with the cosine and sine of the rotary positions `index` of `rotaries`."""
    return f"cosine.{index}", f"sine.{index}"


def rotaries(stack: Stack) -> tuple[Rotary, ...]:
    """Return the different rotary positions of a stack's layers."""
    found = (stack.rotary_of(layer) for layer in range(stack.layers))
    return tuple(dict.fromkeys(rotary for rotary in found if rotary is not None))


def build(library: Any, spec: Transformer, arrays: Mapping[str, GraphConstant]) -> Any:
    """Return the openvino.Model that computes scores float32 [scored, vocabulary]; it uses the memory of `arrays`."""
    stack = spec.output_stack
    alibi = slopes(stack.heads) if stack.positions is Positions.ALIBI else []
    penalties = tuple(slope * stack.alibi_scale for slope in alibi)
    return _Builder(Operators(library), spec, stack, arrays, penalties).model()


@dataclass(slots=True)
class _Builder:
    """Builds one graph. `x` stands for a node with the hidden states [tokens, hidden]."""

    ops: Operators
    spec: Transformer
    stack: Stack
    arrays: Mapping[str, GraphConstant]
    slopes: tuple[float, ...] = ()
    parameters: list[Any] = field(default_factory=list)
    angles: dict[Rotary, RotaryInputs] = field(default_factory=dict)

    def model(self) -> Any:
        tokens = self._parameter(TOKENS, "i64", [-1])
        pages = PageInputs(
            self._parameter(PAST, "i32", [-1]),
            self._parameter(BEGINS, "i32", [-1]),
            self._parameter(PAGES, "i32", [-1]),
            self._parameter(PAGE_BEGINS, "i32", [-1]),
            self._parameter(LONGEST, "i32", []),
        )
        for index, rotary in enumerate(rotaries(self.stack)):
            cosine, sine = (self._parameter(name, "f32", [-1, 1, 1, rotary.size]) for name in angle_names(index))
            self.angles[rotary] = RotaryInputs(cosine, sine, rotary.size, rotary.interleaved)
        x = self._embedded(tokens)
        for layer in range(self.stack.layers):
            x = self._layer(x, layer, pages)
        x = self.ops.select(x, self._parameter(SCORED, "i32", [-1]))
        return self.ops.model(self._scores(x), self.parameters)

    def _parameter(self, name: str, dtype: str, shape: list[int]) -> Any:
        node = self.ops.parameter(name, dtype, shape)
        self.parameters.append(node)
        return node

    def _embedded(self, tokens: Any) -> Any:
        stack, ops = self.stack, self.ops
        x = ops.rows(self.arrays[token_table(self.spec)], tokens)
        if stack.embedding_size:
            x = self._linear(x, "decoder.embedding.project")
        x = ops.scaled(x, stack.embedding_scale)
        if stack.positions is Positions.TABLE:
            positions = self._parameter(POSITIONS, "i32", [-1])
            x = ops.add(x, ops.rows(self.arrays["decoder.embedding.positions"], positions))
        return self._norm(x, "decoder.embedding.norm") if stack.embedding_norm else x

    def _layer(self, x: Any, layer: int, pages: PageInputs) -> Any:
        stack, prefix = self.stack, f"decoder.layers.{layer}"
        attention, feed_forward = f"{prefix}.self_attention", f"{prefix}.feed_forward"
        if stack.parallel:
            normal = self._norm(x, f"{attention}.norm")
            other = normal if stack.shared_norm else self._norm(x, f"{feed_forward}.norm")
            attended = self._branch(self._attention(normal, layer, pages=pages), attention)
            return self.ops.add(x, self.ops.add(attended, self._branch(self._feed_forward(other, layer), feed_forward)))
        blocks: dict[str, Callable[[Any, int], Any]] = {attention: partial(self._attention, pages=pages)}
        blocks[feed_forward] = self._feed_forward
        for block, compute in blocks.items():
            inner = self._norm(x, f"{block}.norm") if stack.pre_norm else x
            x = self.ops.add(x, self._branch(compute(inner, layer), block))
            if not (stack.pre_norm or stack.branch_norm):
                x = self._norm(x, f"{block}.norm")
        return x

    def _branch(self, x: Any, block: str) -> Any:
        """Return the output of a block as it is added to its input."""
        x = self._norm(x, f"{block}.branch_norm") if self.stack.branch_norm else x
        return self.ops.scaled(x, self.stack.residual_scale)

    def _attention(self, x: Any, layer: int, *, pages: PageInputs) -> Any:
        stack, ops, prefix = self.stack, self.ops, f"decoder.layers.{layer}.self_attention"
        joined = self._linear(x, f"{prefix}.query")
        query, key, value = ops.split(joined, [stack.attention, stack.key_value, stack.key_value])
        query = self._placed(query, f"{prefix}.query_norm", layer, stack.attention)
        key = self._placed(key, f"{prefix}.key_norm", layer, stack.key_value)
        caches = tuple(self._parameter(name(layer), "", [-1, -1, -1, -1]) for name in (key_cache, value_cache))
        options = AttentionOptions(
            stack.key_value_heads or stack.heads,
            stack.head_size,
            stack.attention_scale,
            stack.window_of(layer),
            self.slopes,
        )
        return self._linear(ops.paged_attention((query, key, value), caches, pages, options), f"{prefix}.output")

    def _placed(self, x: Any, norm: str, layer: int, width: int) -> Any:
        """Return queries or keys [tokens, width], normalised and rotated."""
        stack, ops, rotary = self.stack, self.ops, self.stack.rotary_of(layer)
        if stack.query_key_norm is QueryKeyNorm.FULL:
            x = ops.rms_norm(x, self.arrays[f"{norm}.scale"], stack.norm_epsilon)
        by_head = stack.query_key_norm is QueryKeyNorm.HEAD
        if not by_head and rotary is None:
            return x
        x = ops.heads(x, stack.head_size)
        if by_head:
            x = ops.rms_norm(x, self.arrays[f"{norm}.scale"], stack.norm_epsilon)
        if rotary is not None:
            x = ops.rotated(x, self.angles[rotary], stack.head_size)
        return ops.flat(x, width)

    def _feed_forward(self, x: Any, layer: int) -> Any:
        stack, ops, prefix = self.stack, self.ops, f"decoder.layers.{layer}.feed_forward"
        x = self._linear(x, f"{prefix}.up")
        if stack.gated:
            x, gated = ops.split(x, [stack.inner, stack.inner])
            x = ops.multiply(ops.activation(x, stack.activation), gated)
        else:
            x = ops.activation(x, stack.activation)
        return self._linear(x, f"{prefix}.down")

    def _scores(self, x: Any) -> Any:
        spec, ops = self.spec, self.ops
        x = self._norm(x, "decoder.final_norm") if self.stack.final_norm else x
        if self.stack.embedding_size:
            x = self._linear(x, "head.project")
        head = self.arrays[token_table(spec) if spec.tied_head else "head.weight"]
        # The scale, before the product, is one for each input; the bias and the cap come after it.
        x = ops.linear(ops.scaled(x, spec.logit_scale), head, self.arrays.get("head.bias"))
        return ops.capped(x, spec.logit_softcap)

    def _linear(self, x: Any, prefix: str) -> Any:
        return self.ops.linear(x, self.arrays[f"{prefix}.weight"], self.arrays.get(f"{prefix}.bias"))

    def _norm(self, x: Any, prefix: str) -> Any:
        scale, epsilon = self.arrays[f"{prefix}.scale"], self.stack.norm_epsilon
        if self.stack.norm is Norm.RMS:
            return self.ops.rms_norm(x, scale, epsilon)
        return self.ops.layer_norm(x, scale, self.arrays[f"{prefix}.bias"], epsilon)
