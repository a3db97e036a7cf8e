"""The arrays of a transformer under canonical names, read one at a time.

Linear weights are [out, in], as in torch and CTranslate2. A `Weights` holds no numbers itself: each array is made when
it is accessed (a view of a mapped file, a transposed or dequantised copy), so that loading needs the memory of the
engine's own form plus one array. `expected_shapes` is the closed world: a reader that provides exactly these names with
these shapes provides a complete model.

    encoder.embedding.{tokens [V,D], positions [P,D], types [T,D], languages [n,D], norm.{scale,bias} [D]}
    encoder.embedding.{patch.weight [D,C,p,p], patch.bias [D], class [D]}                        images
    encoder.relative_bias [buckets, heads], or encoder.layers.<i>.self_attention.relative_bias
    encoder.embedding.project.weight [D,e], head.project.weight [e,D]   a token table [V,e] of another width
    encoder.layers.<i>.self_attention.{norm.*, query.* [A,D], key.*, value.* [K,D], output.* [D,A]}
    encoder.layers.<i>.self_attention.{query_norm, key_norm}.scale [head size, or A and K]
    encoder.layers.<i>.{self_attention, feed_forward}.branch_norm.*
    encoder.layers.<i>.self_attention.{key_scale, value_scale} [tasks,A]                         IA3
    encoder.layers.<i>.feed_forward.{norm.*, up.* [F,D], gated.* [F,D], down.* [D,F], scale [tasks,F]}
    encoder.layers.<i>.feed_forward.{router.weight [E,D], up.weight [E,F,D], up.bias [E,F], ...} experts
    encoder.layers.<i>.feed_forward.shared.{up.*, gated.* [S,D], down.* [D,S], gate.weight [1,D]}
    encoder.final_norm.*
    decoder.*, the same plus decoder.layers.<i>.cross_attention.*, with {key, value}.weight [A,E] for encoder states [E]
    head.weight [V,D], head.bias [V], prompts.<task> [n,D]

`up` is the product that goes through the activation; `gated` is the other factor of a gated block. A normalisation
belongs to the block that it precedes (pre-norm) or follows (post-norm); a block whose output alone is normalised has
only `branch_norm`, and of parallel blocks with one norm, the attention has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from slipway.errors import invalid
from slipway.transformer.spec import Experts, Gate, Norm, Positions, QueryKeyNorm, Stack, Transformer

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """One array that is not yet in memory: its shape, and how to read it (float32, float16 or ml_dtypes.bfloat16)."""

    shape: Shape
    read: Callable[[], np.ndarray]


class Weights(Mapping[str, np.ndarray]):
    """A transformer's arrays by canonical name; each access reads the array. Made by a checkpoint reader."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        value = array.read()
        if value.shape != array.shape:
            raise invalid(f"array '{name}' has shape {list(value.shape)}, expected {list(array.shape)}")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays  # without reading the array

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every array, without reading any."""
        return {name: array.shape for name, array in self._arrays.items()}

    @property
    def elements(self) -> int:
        """The number of parameters."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())


def check_complete(spec: Transformer, weights: Weights, source: str) -> None:
    """Raise INVALID_ARG naming every missing, unused and misshapen array of `weights`; read none of them."""
    expected, given = expected_shapes(spec), weights.shapes
    problems = [f"missing: {name} {list(shape)}" for name, shape in expected.items() if name not in given]
    problems += [f"unused: {name} {list(shape)}" for name, shape in given.items() if name not in expected]
    problems += [
        f"{name} has shape {list(given[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in given and given[name] != shape
    ]
    if problems:
        raise invalid(f"{source} is not the checkpoint that its configuration describes:\n  " + "\n  ".join(problems))


def expected_shapes(spec: Transformer) -> dict[str, Shape]:
    """Return the name and shape of every array of a transformer, in the order of computation."""
    shapes: dict[str, Shape] = {}
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is not None:
            own_tokens = name == "encoder" or not spec.shared_embedding
            shapes |= _stack(
                name, stack, own_tokens=own_tokens, encoded=_encoded_size(spec) if name == "decoder" else 0
            )
    if spec.decoder is not None:
        width = spec.decoder.embedding_size or spec.decoder.hidden
        if not spec.tied_head:
            shapes["head.weight"] = (spec.decoder.vocabulary, width)
        if spec.decoder.embedding_size:
            shapes["head.project.weight"] = (width, spec.decoder.hidden)
        if spec.head_bias:
            shapes["head.bias"] = (spec.decoder.vocabulary,)
    shapes |= {f"prompts.{task}": (rows, spec.input_stack.hidden) for task, rows in spec.prompts}
    return shapes


def _encoded_size(spec: Transformer) -> int:
    """Return the size of the hidden states that the decoder attends to, 0 if it does not."""
    return spec.encoded_size or (spec.encoder.hidden if spec.encoder is not None else 0)


def token_table(spec: Transformer) -> str:
    """Return the name of the decoder's token table, which a tied head also uses."""
    return "encoder.embedding.tokens" if spec.shared_embedding else "decoder.embedding.tokens"


def relative_biases(name: str, stack: Stack) -> list[str]:
    """Return the names of the arrays of relative positions: one for all layers, one per layer, or none."""
    if stack.positions is not Positions.RELATIVE:
        return []
    if not stack.relative_per_layer:
        return [f"{name}.relative_bias"]
    return [f"{name}.layers.{layer}.self_attention.relative_bias" for layer in range(stack.layers)]


def _stack(name: str, stack: Stack, *, own_tokens: bool, encoded: int) -> dict[str, Shape]:
    shapes = _embedding(f"{name}.embedding", stack, own_tokens=own_tokens)
    shapes |= dict.fromkeys(relative_biases(name, stack), (stack.relative_buckets, stack.heads))
    for layer in range(stack.layers):
        prefix = f"{name}.layers.{layer}"
        shapes |= _attention(f"{prefix}.self_attention", stack, stack.hidden)
        if encoded:
            shapes |= _attention(f"{prefix}.cross_attention", stack, encoded)
        shapes |= _feed_forward(f"{prefix}.feed_forward", stack, layer)
    if stack.final_norm:
        shapes |= _norm(f"{name}.final_norm", stack)
    return shapes


def _embedding(prefix: str, stack: Stack, *, own_tokens: bool) -> dict[str, Shape]:
    hidden = stack.hidden
    shapes: dict[str, Shape] = {}
    if stack.vision is not None:
        patch = stack.vision.patch_size
        shapes[f"{prefix}.patch.weight"] = (hidden, stack.vision.channels, patch, patch)
        shapes[f"{prefix}.patch.bias"] = (hidden,)
        shapes[f"{prefix}.class"] = (hidden,)
    elif own_tokens and not stack.embedded_input:
        shapes[f"{prefix}.tokens"] = (stack.vocabulary, stack.embedding_size or hidden)
        if stack.embedding_size:
            shapes[f"{prefix}.project.weight"] = (hidden, stack.embedding_size)
    if stack.positions is Positions.TABLE:
        shapes[f"{prefix}.positions"] = (stack.position_rows, hidden)
    if stack.token_types:
        shapes[f"{prefix}.types"] = (stack.token_types, hidden)
    if stack.languages:
        shapes[f"{prefix}.languages"] = (stack.languages, hidden)
    if stack.embedding_norm:
        shapes |= _norm(f"{prefix}.norm", stack)
    return shapes


def _norm(prefix: str, stack: Stack) -> dict[str, Shape]:
    names = ("scale", "bias") if stack.norm is Norm.LAYER else ("scale",)
    return {f"{prefix}.{name}": (stack.hidden,) for name in names}


def _linear(prefix: str, out: int, into: int, *, bias: bool) -> dict[str, Shape]:
    weight: dict[str, Shape] = {f"{prefix}.weight": (out, into)}
    return weight | {f"{prefix}.bias": (out,)} if bias else weight


def _attention(prefix: str, stack: Stack, attended: int) -> dict[str, Shape]:
    """Return the arrays of an attention block whose keys and values are made of states of the size `attended`."""
    shapes = _block_norms(prefix, stack)
    widths = (("query", stack.attention, stack.hidden), ("key", stack.key_value, attended))
    for part, out, into in (*widths, ("value", stack.key_value, attended)):
        shapes |= _linear(f"{prefix}.{part}", out, into, bias=stack.attention_bias)
    output_bias = stack.attention_bias if stack.output_bias is None else stack.output_bias
    shapes |= _linear(f"{prefix}.output", stack.hidden, stack.attention, bias=output_bias)
    if stack.query_key_norm is not QueryKeyNorm.NONE:
        full = stack.query_key_norm is QueryKeyNorm.FULL
        shapes[f"{prefix}.query_norm.scale"] = (stack.attention if full else stack.head_size,)
        shapes[f"{prefix}.key_norm.scale"] = (stack.key_value if full else stack.head_size,)
    if stack.adapter_tasks:
        shapes |= {f"{prefix}.{part}_scale": (stack.adapter_tasks, stack.key_value) for part in ("key", "value")}
    return shapes


def _block_norms(prefix: str, stack: Stack, *, shared: bool = False) -> dict[str, Shape]:
    """Return the arrays of the normalisations around a block; with `shared`, the block before has the first one."""
    before_or_after = not shared and (stack.pre_norm or not stack.branch_norm)
    shapes = _norm(f"{prefix}.norm", stack) if before_or_after else {}
    return shapes | (_norm(f"{prefix}.branch_norm", stack) if stack.branch_norm else {})


def _feed_forward(prefix: str, stack: Stack, layer: int) -> dict[str, Shape]:
    shapes = _block_norms(prefix, stack, shared=stack.shared_norm)
    experts = stack.experts if stack.has_experts(layer) else None
    if experts is None:
        shapes |= _products(prefix, stack, stack.inner)
    else:
        shapes |= _experts(prefix, stack, experts)
    if stack.adapter_tasks:
        shapes[f"{prefix}.scale"] = (stack.adapter_tasks, stack.inner)
    return shapes


def _experts(prefix: str, stack: Stack, experts: Experts) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    if experts.gate is Gate.SOFT:
        shapes[f"{prefix}.router.weight"] = (experts.count, stack.hidden)
    shapes |= _products(prefix, stack, experts.inner or stack.inner, count=(experts.count,))
    if experts.shared_inner:
        shapes |= _products(f"{prefix}.shared", stack, experts.shared_inner)
        if experts.shared_gate:
            shapes[f"{prefix}.shared.gate.weight"] = (1, stack.hidden)
    return shapes


def _products(prefix: str, stack: Stack, inner: int, *, count: Shape = ()) -> dict[str, Shape]:
    """Return the arrays of the products of a block, or of `count` blocks."""
    hidden = stack.hidden
    wide = {"up": (inner, hidden)} | ({"gated": (inner, hidden)} if stack.gated else {}) | {"down": (hidden, inner)}
    shapes: dict[str, Shape] = {}
    for part, (out, into) in wide.items():
        shapes[f"{prefix}.{part}.weight"] = (*count, out, into)
        if stack.feed_forward_bias:
            shapes[f"{prefix}.{part}.bias"] = (*count, out)
    return shapes
