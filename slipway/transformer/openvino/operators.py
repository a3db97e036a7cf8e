"""The operators that the graph is made of, in the forms that OpenVINO's CPU plugin recognises and fuses.

Knows the library and stored arrays, not architectures. Nodes of the library have no types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from slipway.transformer.openvino.stored_weights import GraphConstant
from slipway.transformer.spec import Activation


@dataclass(frozen=True, slots=True)
class PageInputs:
    """The parameters of the graph that all paged attentions share, and the number of heads and their sizes."""

    past: Any
    begins: Any
    pages: Any
    page_begins: Any
    longest: Any


@dataclass(frozen=True, slots=True)
class AttentionOptions:
    """The settings of one paged attention: `heads` are those of keys and values."""

    heads: int
    head_size: int
    scale: float
    window: int = 0
    slopes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RotaryInputs:
    """The cosine and sine [tokens, 1, 1, size] of each token's angles, as nodes."""

    cosine: Any
    sine: Any
    size: int
    interleaved: bool


class Operators:
    """Makes nodes. `library` is the module `openvino`."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._op = library.opset13

    def parameter(self, name: str, dtype: str, shape: list[int]) -> Any:
        """Return an input of the graph; -1 is a length that varies. `dtype` "" is left to the plugin."""
        kind = getattr(self._library.Type, dtype or "dynamic")
        node = self._op.parameter(self._library.PartialShape(shape), kind)
        node.set_friendly_name(name)
        node.output(0).get_tensor().set_names({name})
        return node

    def constant(self, value: Any, dtype: Any = np.float32) -> Any:
        """Return a small constant."""
        return self._op.constant(np.asarray(value, dtype))

    def weight(self, array: GraphConstant) -> Any:
        """Return an array as float32 [*shape]; the plugin computes with the stored form where it can."""
        op = self._op
        if array.scales is None:
            stored = self._shared(array.values)
            return stored if array.form == "float32" else op.convert(stored, "f32")
        scales = self._shared(array.scales)
        if array.form == "int8":
            return op.multiply(op.convert(self._shared(array.values), "f32"), scales)
        out, groups = array.scales.shape
        packed = self._packed(array.values.reshape(-1), (out, groups, array.shape[1] // groups), "i4")
        spread = op.multiply(op.convert(packed, "f32"), op.unsqueeze(scales, self.constant([2], np.int64)))
        return op.reshape(spread, self.constant(array.shape, np.int64), special_zero=False)

    def rows(self, table: GraphConstant, ids: Any) -> Any:
        """Return the rows float32 [ids, width] of a table [rows, width] in float32, bfloat16 or int8."""
        op, axis = self._op, self.constant(0, np.int64)
        found = op.gather(self._shared(table.values), ids, axis)
        if table.form == "float32":
            return found
        found = op.convert(found, "f32")
        return found if table.scales is None else op.multiply(found, op.gather(self._shared(table.scales), ids, axis))

    def select(self, x: Any, index: Any) -> Any:
        """Return the rows of x [rows, width] with the given indices."""
        return self._op.gather(x, index, self.constant(0, np.int64))

    def linear(self, x: Any, weight: GraphConstant, bias: GraphConstant | None) -> Any:
        """Return x times the weight [out, in] plus the bias [out]."""
        result = self._op.matmul(x, self.weight(weight), False, True)
        return result if bias is None else self._op.add(result, self._shared(bias.values[None]))

    def layer_norm(self, x: Any, scale: GraphConstant, bias: GraphConstant, epsilon: float) -> Any:
        """Return x with mean 0 and variance 1 over the last axis, scaled and shifted."""
        op = self._op
        normal = op.mvn(x, self.constant([-1], np.int64), True, epsilon, "inside_sqrt")
        return op.add(op.multiply(normal, self._shared(scale.values)), self._shared(bias.values))

    def rms_norm(self, x: Any, scale: GraphConstant, epsilon: float) -> Any:
        """Return x divided by its root mean square over the last axis, scaled."""
        op = self._op
        mean = op.reduce_mean(op.power(x, self.constant(2.0)), self.constant([-1], np.int64), True)
        inverse = op.divide(self.constant(1.0), op.sqrt(op.add(mean, self.constant(epsilon))))
        return op.multiply(op.multiply(x, inverse), self._shared(scale.values))

    def activation(self, x: Any, kind: Activation) -> Any:
        """Return the non-linearity of x."""
        op = self._op
        if kind is Activation.RELU:
            return op.relu(x)
        if kind is Activation.SILU:
            return op.swish(x)
        return op.gelu(x, "erf" if kind is Activation.GELU else "tanh")

    def add(self, left: Any, right: Any) -> Any:
        """Return the sum."""
        return self._op.add(left, right)

    def multiply(self, left: Any, right: Any) -> Any:
        """Return the product, element by element."""
        return self._op.multiply(left, right)

    def scaled(self, x: Any, factor: float) -> Any:
        """Return x times a number."""
        return x if factor == 1.0 else self._op.multiply(x, self.constant(factor))

    def capped(self, x: Any, cap: float) -> Any:
        """Return cap * tanh(x / cap), or x for a cap of 0."""
        return x if cap == 0.0 else self.scaled(self._op.tanh(self.scaled(x, 1.0 / cap)), cap)

    def split(self, x: Any, widths: list[int]) -> list[Any]:
        """Return parts of the last axis."""
        return list(self._op.variadic_split(x, self.constant(-1, np.int64), self.constant(widths, np.int64)).outputs())

    def heads(self, x: Any, size: int) -> Any:
        """Return [tokens, width] as [tokens, heads, 1, size]: the plugin fuses rotation only with four axes."""
        return self._op.reshape(x, self.constant([0, -1, 1, size], np.int64), special_zero=True)

    def flat(self, x: Any, width: int) -> Any:
        """Return heads as [tokens, width]."""
        return self._op.reshape(x, self.constant([-1, width], np.int64), special_zero=False)

    def rotated(self, x: Any, angles: RotaryInputs, head_size: int) -> Any:
        """Return the heads [tokens, heads, 1, head size] with their first numbers rotated."""
        size, op = angles.size, self._op
        if size < head_size:
            first, rest = self.split(x, [size, head_size - size])
            return op.concat([self.rotated(first, angles, size), rest], -1)
        turned = self._pairs_turned(x, size) if angles.interleaved else self._halves_turned(x, size)
        return op.add(op.multiply(x, angles.cosine), op.multiply(turned, angles.sine))

    def _halves_turned(self, x: Any, size: int) -> Any:
        """Return (-second half, first half) of the last axis."""
        first, second = self.split(x, [size // 2, size // 2])
        return self._op.concat([self._op.multiply(second, self.constant(-1.0)), first], -1)

    def _pairs_turned(self, x: Any, size: int) -> Any:
        """Return (-b, a) for each pair (a, b) of the last axis."""
        pairs = self._op.reshape(x, self.constant([0, -1, size // 2, 2], np.int64), special_zero=True)
        turned = self._halves_turned(pairs, 2)
        return self._op.reshape(turned, self.constant([0, -1, 1, size], np.int64), special_zero=True)

    def paged_attention(
        self, heads: tuple[Any, Any, Any], caches: tuple[Any, Any], inputs: PageInputs, options: AttentionOptions
    ) -> Any:
        """Return the attention [tokens, width] of queries, keys and values [tokens, width], and keep keys and values.

        The operator's inputs are those of OpenVINO 2026.4 (`openvino/op/paged_attention.hpp`); the last 15 belong to
        features that are off.
        """
        shared = (inputs.past, inputs.begins, inputs.pages, inputs.page_begins)
        whole = [self.constant(0, np.int32) for _ in range(3)]
        empty = {dtype: self.constant([], dtype) for dtype in (np.int32, np.float32, np.uint8)}
        none, floats = empty[np.int32], empty[np.float32]
        off = [none, none, none, floats, floats, whole[0], whole[1], self.constant(np.zeros((0, 0, 0, 0)))]
        off += [whole[2], none, none, none, none, empty[np.uint8], none]
        slopes = self.constant(options.slopes)
        settings = [self.constant(options.scale), self.constant(options.window, np.int32), slopes, inputs.longest]
        nodes = [*heads, *caches, *shared, *settings, *off]
        make = self._library.op._PagedAttentionExtension  # noqa: SLF001  its only name in Python
        output = self._library.Output
        result = make([node if isinstance(node, output) else node.output(0) for node in nodes])
        sizes = {"num_k_heads": options.heads, "num_v_heads": options.heads}
        for name, value in (sizes | {"k_head_size": options.head_size, "v_head_size": options.head_size}).items():
            result.get_rt_info()[name] = value  # the plugin gives the caches their shapes by these
        return result.output(0)

    def model(self, result: Any, parameters: list[Any]) -> Any:
        """Return the openvino.Model."""
        return self._library.Model([self._op.result(result)], parameters, "decoder")

    def _shared(self, array: np.ndarray) -> Any:
        """Return a constant in the array's memory."""
        if array.dtype != ml_dtypes.bfloat16:
            return self._library.op.Constant(array, shared_memory=True)
        return self._packed(array.reshape(-1).view(np.uint8), array.shape, "bf16")

    def _packed(self, data: np.ndarray, shape: tuple[int, ...], dtype: str) -> Any:
        """Return a constant of a number type that numpy lacks, in the memory of its bytes."""
        library = self._library
        tensor = library.Tensor(data, library.Shape(shape), getattr(library.Type, dtype))
        return library.op.Constant(tensor, shared_memory=True)
