"""Turn a checkpoint into the contents of a LightSeq file: check that the format can represent it, and make its arrays.

The format fixes much: biases everywhere (none in T5), a norm after the embedding if and only if layers are post-norm,
queries as wide as the model. Knows no bytes; all reasons against are collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isclose, sqrt
from typing import Final

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.lightseq.architecture import T5_BUCKETS, T5_MAX_DISTANCE
from slipway.checkpoints.lightseq.conf import LightSeqConf, conf_problems
from slipway.errors import unsupported
from slipway.transformer.newer_features import newer_features
from slipway.transformer.spec import Activation, Norm, Positions, Stack, Transformer, standard_scale
from slipway.transformer.weights import Shape, Weights, token_table

# Whether a model type has an encoder, a decoder; the others have both.
_SHAPES: Final = {"Bert": (True, False), "Vit": (True, False), "Gpt": (False, True)}
_TYPES_ROW: Final = "encoder.embedding.types"


@dataclass(frozen=True, slots=True)
class LightSeqTarget:
    """The arrays of one file under canonical names, float32, made on access. `spec` is the file's own."""

    spec: Transformer
    weights: Weights
    factors: dict[str, float]  # what arrays are multiplied by, by name

    def read(self, name: str, shape: Shape) -> np.ndarray:
        """Return one array: biases that the checkpoint lacks are zeros, positions stop where the file's do, and MT5's
        separate head may be the token table."""
        stored = token_table(self.spec) if name == "head.weight" and name not in self.weights else name
        if stored not in self.weights:
            return np.zeros(shape, np.float32)
        array = self.weights[stored]
        if name.endswith(".positions"):
            array = array[: shape[0]]
        result = np.asarray(array).astype(np.float32, copy=False)
        if name == "encoder.embedding.tokens" and _TYPES_ROW in self.weights:
            result = result + self.weights[_TYPES_ROW][0].astype(np.float32)  # every token has the first type
        factor = self.factors.get(name, 1.0)
        return result if isclose(factor, 1.0) else result * np.float32(factor)


def make_target(checkpoint: Checkpoint, conf: LightSeqConf) -> LightSeqTarget:
    """Return the file contents for `checkpoint`; raise UNSUPPORTED, with all reasons, if they are not possible."""
    spec, base = checkpoint.spec, conf.base_type
    wanted = _SHAPES.get(base, (True, True))
    if (spec.encoder is not None, spec.decoder is not None) != wanted:
        names = [name for name, there in zip(("an encoder", "a decoder"), wanted, strict=True) if there]
        raise unsupported(
            f"'{checkpoint.source}' cannot become a LightSeq {base}, which consists of {' and '.join(names)}"
        )
    problems = conf_problems(conf)
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is not None:
            problems += [f"{name}: {reason}" for reason in _stack_problems(stack, base, conf)]
    problems += [f"it has {feature}, which the format does not know" for feature in newer_features(spec)]
    problems += _model_problems(spec, conf)
    scales, reasons = _scales(spec, conf)
    problems += reasons
    if problems:
        text = "\n  ".join(problems)
        raise unsupported(f"'{checkpoint.source}' cannot become a LightSeq {conf.model_type}:\n  {text}")
    return LightSeqTarget(_file_spec(spec, conf), checkpoint.weights, scales)


def _stack_problems(stack: Stack, base: str, conf: LightSeqConf) -> Iterator[str]:
    t5 = base in ("T5", "MT5")
    if stack.hidden % 4:
        yield f"hidden size {stack.hidden} is not a multiple of 4"
    if stack.attention != stack.hidden:
        yield f"{stack.heads} heads of {stack.head_size} are not as wide as the model ({stack.hidden})"
    scale = 1.0 if t5 else standard_scale(stack.head_size)
    if not isclose(stack.attention_scale, scale, rel_tol=1e-6):
        yield f"attention is scaled by {stack.attention_scale:g}, but the engine scales by {scale:g}"
    if stack.norm is not (Norm.RMS if t5 else Norm.LAYER):
        yield f"its normalisation is {stack.norm.value}"
    if stack.gated != (base == "MT5"):
        yield "its feed-forward blocks are gated, which only MT5 supports" if stack.gated else "MT5 must be gated"
    yield from _t5_problems(stack, base) if t5 else _other_problems(stack, base, conf)


def _other_problems(stack: Stack, base: str, conf: LightSeqConf) -> Iterator[str]:
    if stack.positions is not Positions.TABLE:
        yield f"its positions are {stack.positions.value}, expected a table"
    elif stack.position_rows < conf.max_step:
        yield f"max_step is {conf.max_step}, but there are {stack.position_rows} positions"
    if stack.activation is Activation.SILU or (base == "Gpt" and stack.activation is Activation.RELU):
        yield f"its activation is {stack.activation.value}"
    if (stack.embedding_norm, stack.final_norm) != (not stack.pre_norm, stack.pre_norm):
        kind, wanted = ("pre-norm", "after the last layer") if stack.pre_norm else ("post-norm", "after the embedding")
        yield f"{kind} layers need exactly one more norm, {wanted}"
    if base == "Gpt" and not stack.pre_norm:
        yield "Gpt must be pre-norm"
    if (stack.vision is not None) != (base == "Vit"):
        yield "only Vit takes images"
    if stack.experts is not None and base != "Moe":
        yield "experts can only be written as Moe"
    if stack.adapter_tasks:
        yield "adapters cannot be written"


def _t5_problems(stack: Stack, base: str) -> Iterator[str]:
    relative = (stack.positions, stack.relative_buckets, stack.relative_max_distance)
    if relative != (Positions.RELATIVE, T5_BUCKETS, T5_MAX_DISTANCE):
        yield f"positions are not relative in {T5_BUCKETS} buckets up to a distance of {T5_MAX_DISTANCE}"
    if stack.relative_per_layer:
        yield "every layer has its own relative positions"
    if stack.attention_bias or stack.feed_forward_bias:
        yield "T5 must not have biases"
    if base == "T5" and stack.activation is not Activation.RELU:
        yield f"its activation is {stack.activation.value}, expected relu"
    if base == "MT5" and stack.activation not in (Activation.GELU, Activation.GELU_TANH):
        yield f"its activation is {stack.activation.value}, expected gelu"
    if not stack.pre_norm or not stack.final_norm or stack.embedding_norm:
        yield "T5 must be pre-norm with a final norm"


def _model_problems(spec: Transformer, conf: LightSeqConf) -> Iterator[str]:
    if spec.decoder is None:
        return
    base = conf.base_type
    if not spec.tied_head and base != "MT5":
        yield "its head is a separate array, which only MT5 supports"
    if spec.head_bias and base in ("T5", "MT5", "Gpt"):
        yield f"{base} cannot have a bias on the logits"
    if spec.prompts:
        yield "prompts cannot be written"
    if conf.end_id == 0:
        yield "end_id is 0, which means the last token in this format"
    if spec.encoder is not None:
        pairs = ("hidden", "heads", "inner", "pre_norm", "activation")
        for name in pairs:
            if getattr(spec.encoder, name) != getattr(spec.decoder, name):
                yield f"encoder and decoder differ in {name}"
        if spec.language_mode.value != conf.multilg_type:
            yield f"multilg_type is {conf.multilg_type}, but the model's is {spec.language_mode.value}"


def _scales(spec: Transformer, conf: LightSeqConf) -> tuple[dict[str, float], list[str]]:
    """Return the factors for token tables and positions that lead to the same results with the engine's fixed scales.

    The engine embeds 1 x table (8-bit seq2seq: sqrt(h) x table) and scales logits by 1, 1/sqrt(h) (not
    no_scale_embedding) or h^-0.5 (T5); table and head are one array. If embedding and head need different factors, and
    a norm follows the embedding, the positions can be scaled as well: the norm undoes a common factor.
    """
    outer = spec.decoder or spec.input_stack
    lookup = sqrt(outer.hidden) if conf.quantised and conf.base_type in ("Transformer", "Moe") else 1.0
    factors: dict[str, float] = {}
    problems = []
    head = _head_factor(spec, conf)
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is None or stack.vision is not None:
            continue
        wanted = stack.embedding_scale / lookup
        tied = head is not None and (name == "decoder" or spec.shared_embedding)
        factor = head if tied and head is not None else wanted
        if not isclose(factor, wanted, rel_tol=1e-6):
            if not stack.embedding_norm:
                problems.append(
                    f"{name}: embeddings are multiplied by {stack.embedding_scale:g} and logits by "
                    f"{spec.logit_scale:g}, which {conf.model_type} cannot represent"
                )
            factors[f"{name}.embedding.positions"] = factor / wanted
            if stack.languages:
                factors[f"{name}.embedding.languages"] = factor / wanted
        factors[f"{name}.embedding.tokens"] = factor
    if head is None:
        factors["head.weight"] = spec.logit_scale
    return factors, problems


def _head_factor(spec: Transformer, conf: LightSeqConf) -> float | None:
    """Return the factor that the table needs as a head, None if it is not the head."""
    if spec.decoder is None or conf.base_type == "MT5":
        return None
    hidden = spec.decoder.hidden
    if conf.base_type == "T5":
        return spec.logit_scale * sqrt(hidden)
    if conf.base_type == "Gpt" or conf.quantised or no_scale_embedding(spec):
        return spec.logit_scale
    return spec.logit_scale * sqrt(hidden)


def no_scale_embedding(spec: Transformer) -> bool:
    """Return whether a float file sets no_scale_embedding: the table is used as it is, and logits are not scaled."""
    stack = spec.decoder
    return stack is None or isclose(stack.embedding_scale, spec.logit_scale, rel_tol=1e-6)


def _file_spec(spec: Transformer, conf: LightSeqConf) -> Transformer:
    """Return the architecture that the file describes, with the shapes of the written arrays."""
    seq2seq = conf.base_type in ("Transformer", "Moe")
    return replace(
        spec,
        encoder=_file_stack(spec.encoder, conf),
        decoder=_file_stack(spec.decoder, conf),
        head_bias=seq2seq,
        tied_head=conf.base_type != "MT5",
    )


def _file_stack(stack: Stack | None, conf: LightSeqConf) -> Stack | None:
    if stack is None or conf.base_type in ("T5", "MT5"):
        return stack
    rows = stack.position_rows if conf.base_type == "Vit" else conf.max_step
    return replace(stack, token_types=0, position_rows=rows, attention_bias=True, feed_forward_bias=True)
