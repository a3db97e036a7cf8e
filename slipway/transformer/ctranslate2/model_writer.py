"""Write a specification and its arrays as a CTranslate2 model.

The structure comes from `ctranslate2.specs`; arrays are filled in as `DeferredVariable`s, so that writing needs the
memory of one array. Only for specifications that `support.why_not` accepts. Tokens have synthetic names, their ids as
decimals: ids go in and come out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from ctranslate2.specs import (
    Activation as Ct2Activation,
)
from ctranslate2.specs import (
    EmbeddingsMerge,
    TransformerDecoderModelSpec,
    TransformerDecoderSpec,
    TransformerEncoderModelSpec,
    TransformerEncoderSpec,
    TransformerSpec,
)

from slipway.transformer.ctranslate2.decoder_arguments import decoder_arguments, queries_scale, set_rotary_tables
from slipway.transformer.ctranslate2.variables import DeferredVariable, QuantisedMatrix
from slipway.transformer.mapped_pages import MappedPages
from slipway.transformer.spec import Activation, Norm, Positions, QueryKeyNorm, Stack, Transformer
from slipway.transformer.weights import Weights, token_table

ACTIVATION: Final = {
    Activation.RELU: Ct2Activation.RELU,
    Activation.GELU: Ct2Activation.GELU,
    Activation.GELU_TANH: Ct2Activation.GELUTanh,
    Activation.SILU: Ct2Activation.SWISH,
}


def write_model(spec: Transformer, weights: Weights, directory: Path, *, storage: str) -> None:
    """Write the model into an existing directory; `storage` is float32, float16, bfloat16, or int8 for the matrices."""
    model = _Builder(spec, weights, storage).build()
    model.validate()
    model.optimize()  # writes an array that has two names only once
    model.save(str(directory))


class _Builder:
    """Fills the library's specification from canonical names."""

    def __init__(self, spec: Transformer, weights: Weights, storage: str) -> None:
        self._spec = spec
        self._weights = weights
        self._shapes = weights.shapes
        self._int8 = storage == "int8"
        self._pages = MappedPages()
        self._float = "float32" if self._int8 else storage

    def build(self) -> Any:
        """Return the model's specification with every variable set, none read."""
        spec = self._spec
        if spec.encoder is None:
            model = TransformerDecoderModelSpec(self._decoder(spec.output_stack))
            model.register_vocabulary(_names(spec.output_stack.vocabulary))
        elif spec.decoder is None:
            model = TransformerEncoderModelSpec(self._encoder(spec.encoder))
            model.register_vocabulary(_names(spec.encoder.vocabulary))
        else:
            model = TransformerSpec(self._encoder(spec.encoder), self._decoder(spec.decoder))
            model.register_source_vocabulary(_names(spec.encoder.vocabulary))
            model.register_target_vocabulary(_names(spec.decoder.vocabulary))
            model.config.decoder_start_token = None  # each row brings its own
        for token in ("unk_token", "bos_token", "eos_token"):  # required in the vocabulary, unused here
            setattr(model.config, token, "0")
        model.config.layer_norm_epsilon = (spec.decoder or spec.input_stack).norm_epsilon
        return model

    def _encoder(self, stack: Stack) -> Any:
        target = TransformerEncoderSpec(
            stack.layers,
            stack.heads,
            num_source_embeddings=2 if stack.token_types else 1,
            embeddings_merge=EmbeddingsMerge.ADD,
            **_common(stack),
        )
        self._matrix(target.embeddings[0], "encoder.embedding.tokens")
        if stack.token_types:
            self._matrix(target.embeddings[1], "encoder.embedding.types")
        self._stack(target, "encoder", stack)
        return target

    def _decoder(self, stack: Stack) -> Any:
        cross = self._spec.has_cross_attention
        arguments = _common(stack) | decoder_arguments(stack)
        target = TransformerDecoderSpec(stack.layers, stack.heads, with_encoder_attention=cross, **arguments)
        tokens = token_table(self._spec)
        self._matrix(target.embeddings, tokens)
        self._matrix(target.projection, tokens if self._spec.tied_head else "head.weight")
        if self._spec.head_bias:
            target.projection.bias = self._vector("head.bias")
        if self._spec.logit_scale != 1.0:
            target.scale_outputs = np.float32(self._spec.logit_scale)
        self._stack(target, "decoder", stack)
        return target

    def _stack(self, target: Any, name: str, stack: Stack) -> None:
        target.pre_norm = stack.pre_norm
        target.scale_embeddings = float(stack.embedding_scale)
        if stack.positions is Positions.TABLE:
            target.position_encodings.encodings = self._vector(f"{name}.embedding.positions")
        if stack.embedding_norm:
            self._norm(target.layernorm_embedding, f"{name}.embedding.norm")
        if stack.final_norm:
            self._norm(target.layer_norm, f"{name}.final_norm")
        for index, layer in enumerate(target.layer):
            prefix = f"{name}.layers.{index}"
            set_rotary_tables(layer.self_attention, stack)
            self._norms(layer, prefix, stack)
            self._self_attention(layer.self_attention, f"{prefix}.self_attention", stack)
            if stack.positions is Positions.RELATIVE:  # every layer adds the same bias (support.py refuses others)
                layer.self_attention.relative_attention_bias = self._vector(f"{name}.relative_bias")
                distance = np.int32(stack.relative_max_distance)
                layer.self_attention.relative_attention_max_distance = distance
            if name == "decoder" and self._spec.has_cross_attention:
                self._cross_attention(layer.attention, f"{prefix}.cross_attention", stack)
            self._feed_forward(layer.ffn, f"{prefix}.feed_forward", stack)

    def _norms(self, target: Any, prefix: str, stack: Stack) -> None:
        """Fill the norms of both blocks of a layer, where the library has them."""
        attention, feed_forward = f"{prefix}.self_attention", f"{prefix}.feed_forward"
        if stack.shared_norm:
            self._norm(target.shared_layer_norm, f"{attention}.norm")
        elif stack.parallel:
            self._norm(target.input_layer_norm, f"{attention}.norm")
            self._norm(target.post_attention_layer_norm, f"{feed_forward}.norm")
        elif stack.branch_norm:
            self._norm(target.input_layer_norm, f"{attention}.norm")
            self._norm(target.post_attention_layer_norm, f"{attention}.branch_norm")
            self._norm(target.pre_feedforward_layer_norm, f"{feed_forward}.norm")
            self._norm(target.post_feedforward_layer_norm, f"{feed_forward}.branch_norm")
        else:
            self._norm(target.self_attention.layer_norm, f"{attention}.norm")
            self._norm(target.ffn.layer_norm, f"{feed_forward}.norm")
        if stack.query_key_norm is QueryKeyNorm.HEAD:
            self._norm(target.self_attention.q_norm, f"{attention}.query_norm")
            self._norm(target.self_attention.k_norm, f"{attention}.key_norm")

    def _self_attention(self, target: Any, prefix: str, stack: Stack) -> None:
        target.queries_scale = queries_scale(stack)
        self._linear(target.linear[0], [f"{prefix}.{part}" for part in ("query", "key", "value")])
        self._linear(target.linear[1], [f"{prefix}.output"])

    def _cross_attention(self, target: Any, prefix: str, stack: Stack) -> None:
        target.queries_scale = np.float32(stack.attention_scale)
        self._norm(target.layer_norm, f"{prefix}.norm")
        self._linear(target.linear[0], [f"{prefix}.query"])
        self._linear(target.linear[1], [f"{prefix}.key", f"{prefix}.value"])
        self._linear(target.linear[2], [f"{prefix}.output"])

    def _feed_forward(self, target: Any, prefix: str, stack: Stack) -> None:
        self._linear(target.linear_0, [f"{prefix}.up"])
        if stack.gated:
            self._linear(target.linear_0_noact, [f"{prefix}.gated"])
        self._linear(target.linear_1, [f"{prefix}.down"])

    def _norm(self, target: Any, prefix: str) -> None:
        target.gamma = self._vector(f"{prefix}.scale")
        if f"{prefix}.bias" in self._shapes:
            target.beta = self._vector(f"{prefix}.bias")

    def _linear(self, target: Any, prefixes: list[str]) -> None:
        """Fill one linear layer from one or several, whose outputs are placed side by side."""
        self._matrix(target, *[f"{prefix}.weight" for prefix in prefixes])
        biases = [f"{prefix}.bias" for prefix in prefixes]
        if biases[0] in self._shapes:
            target.bias = self._vector(*biases)

    def _matrix(self, target: Any, *names: str) -> None:
        if not self._int8:
            target.weight = self._vector(*names)
            return
        quantised = QuantisedMatrix(" ".join(names), self._shape(names), lambda: self._read(names))
        target.weight, target.weight_scale = quantised.weight, quantised.scale

    def _vector(self, *names: str) -> DeferredVariable:
        return DeferredVariable(" ".join(names), self._shape(names), self._float, lambda: self._read(names))

    def _shape(self, names: tuple[str, ...]) -> tuple[int, ...]:
        first, *_ = shapes = [self._shapes[name] for name in names]
        return (sum(shape[0] for shape in shapes), *first[1:])

    def _read(self, names: tuple[str, ...]) -> np.ndarray:
        self._pages.release()  # the arrays read before are written by now
        arrays = [self._pages.read(self._weights[name]) for name in names]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _common(stack: Stack) -> dict[str, Any]:
    """Return the arguments that encoders and decoders share."""
    return {
        # This sets whether there is a final normalisation; `_stack` sets where the others are.
        "pre_norm": True,
        "no_final_norm": not stack.final_norm,
        "activation": ACTIVATION[stack.activation],
        "layernorm_embedding": stack.embedding_norm,
        "relative_attention_bias": stack.positions is Positions.RELATIVE,
        "ffn_glu": stack.gated,
        "rms_norm": stack.norm is Norm.RMS,
        "head_dim": stack.head_size if stack.attention != stack.hidden else None,
    }


def _names(vocabulary: int) -> list[str]:
    return [str(token) for token in range(vocabulary)]
