"""What CTranslate2 cannot express, and what it would not compute exactly as requested, as reasons in words.

The reasons are a few fixed texts, so that each is logged only once. Knows specifications and rows, not the library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from slipway.transformer.generation import Decoding, Search, SequenceRequest, TransformersRules
from slipway.transformer.newer_features import newer_features
from slipway.transformer.spec import Languages, Norm, Positions, QueryKeyNorm, RotaryScaling, Stack, Transformer

_SCALINGS: Final = (RotaryScaling.NONE, RotaryScaling.LINEAR, RotaryScaling.LLAMA3, RotaryScaling.YARN)
LARGEST_VARIABLE: Final = 2**32 - 1  # the file format stores a variable's size in 32 bits


def why_not(spec: Transformer) -> str:
    """Return why CTranslate2 cannot express the architecture, "" if it can."""
    return _joined(_architecture(spec))


def refusal(spec: Transformer, row: SequenceRequest) -> str:
    """Return why CTranslate2 would not run the row exactly as requested, "" if it would."""
    reasons = [*_inputs(spec, row), *([] if row.decoding is None else _decoding(row.decoding))]
    return _joined(reasons)


def impossible(spec: Transformer, row: SequenceRequest) -> str:
    """Return why no engine can run the row (of tokens), "" if one can; the library would return nonsense instead."""
    return _joined(_impossible(spec, row))


def _impossible(spec: Transformer, row: SequenceRequest) -> Iterator[str]:
    outer = spec.input_stack
    tokens = 0 if row.decoding is None else row.decoding.max_tokens
    if row.ids.size == 0:
        yield "the row has no tokens"
    elif int(row.ids.min()) < 0 or int(row.ids.max()) >= outer.vocabulary:
        wrong = int(row.ids.min()) if int(row.ids.min()) < 0 else int(row.ids.max())
        yield f"token id {wrong} is not in the vocabulary of {outer.vocabulary}"
    if row.decoding is not None and spec.decoder is None:
        yield "the model is an encoder and cannot generate"
    length = row.ids.size + (max(tokens - 1, 0) if spec.encoder is None else 0)  # the last token is not fed back
    if length > outer.position_rows > 0:
        yield f"{length} tokens are more than the model's {outer.position_rows} positions"
    if spec.encoder is None or spec.decoder is None or row.decoding is None:
        return
    if tokens > spec.decoder.position_rows > 0:
        yield f"{tokens} tokens to generate are more than the decoder's {spec.decoder.position_rows} positions"
    if not 0 <= row.decoding.start_id < spec.decoder.vocabulary:
        yield f"start id {row.decoding.start_id} is not in the vocabulary of {spec.decoder.vocabulary}"


def no_states(spec: Transformer, *, attentions: bool) -> str:
    """Return why the library cannot return the model's hidden states, "" if it can."""
    if attentions:
        return "does not return attention probabilities"
    return "returns hidden states only for encoder-only models" if spec.decoder is not None else ""


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))


def _architecture(spec: Transformer) -> Iterator[str]:
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is not None:
            yield from _stack(name, stack)
    if spec.encoder is not None and spec.decoder is not None:
        if spec.encoder.norm_epsilon != spec.decoder.norm_epsilon:
            yield "the encoder's and the decoder's normalisations have different epsilons"
        if spec.encoder.token_types:
            yield "an encoder with token types before a decoder"
    if spec.encoded_size:
        yield "hidden states from another model"
    if spec.encoder is not None or spec.encoded_size:
        yield from newer_features(spec)  # the library has them in decoder-only models
    elif spec.decoder is not None:
        yield from _decoder(spec.decoder)
    if spec.logit_softcap and spec.encoder is None:
        yield "a soft cap of the scores over the vocabulary"
    if spec.decoder is not None and spec.decoder.token_types:
        yield "token types in the decoder"
    if spec.encoder is None and spec.decoder is not None and spec.decoder.positions is Positions.RELATIVE:
        yield "relative positions of a prompt"  # measured: version 4.8 computes something else
    if spec.language_mode is not Languages.NONE:
        yield "language embeddings"


def _stack(name: str, stack: Stack) -> Iterator[str]:
    if stack.vision is not None:
        yield "images as input"
    if stack.embedded_input:
        yield "input that was embedded elsewhere"
    if stack.experts is not None:
        yield "a mixture of experts"
    if stack.languages:
        yield "language embeddings"
    if stack.relative_per_layer:
        yield "each layer's own relative positions"  # it computes those of the first layer for all
    if stack.positions is Positions.NONE:
        yield f"an {name} without positions" if name == "encoder" else f"a {name} without positions"
    if max(stack.vocabulary, stack.inner) * stack.hidden * 4 > LARGEST_VARIABLE:
        yield "an array of more than 4 GiB"


def _decoder(stack: Stack) -> Iterator[str]:
    """Yield what the library does not have, or computes otherwise, in a decoder-only model."""
    if stack.positions is Positions.ALIBI and stack.alibi_scale not in (1.0, stack.attention_scale):
        yield "penalties for distance with a scale of their own (ALiBi)"
    if stack.rotary is not None:
        if stack.rotary.scaling not in _SCALINGS:
            yield f"rotary scaling '{stack.rotary.scaling.value}'"
        if stack.rotary.magnitude != 1.0 and stack.rotary.size != stack.head_size:
            yield "a magnitude of the rotated part of a head"
    if stack.local_rotary is not None:
        yield "rotary positions of two kinds"
    if stack.unrotated_layers:
        yield "layers without positions"
    if stack.window_layers and not (stack.context and stack.window >= stack.context):
        yield "an attention window"
    if stack.attention_softcap:
        yield "a soft cap of attention scores"
    if stack.query_key_norm is QueryKeyNorm.FULL:
        yield "normalised queries and keys of all heads together"
    if stack.branch_norm and not stack.pre_norm:
        yield "normalised outputs of blocks without normalised inputs"
    if stack.parallel and stack.norm is Norm.RMS:
        yield "parallel blocks with root mean square norms"
    if stack.residual_scale != 1.0:
        yield "scaled residuals"
    if stack.embedding_size:
        yield "a token table of another width"


def _inputs(spec: Transformer, row: SequenceRequest) -> Iterator[str]:
    if row.pixels is not None or row.hidden is not None:
        yield "input that is not tokens"
        return
    if row.adapter_task is not None:
        yield "an adapter task"
    if row.prompt is not None or row.prompt_task is not None:
        yield "a prompt table"
    padding_id = spec.input_stack.padding_id
    if padding_id is not None and bool(np.any(row.ids == padding_id)):
        yield "padding inside a sequence"
    if row.decoding is not None and spec.decoder is not None and spec.decoder.padding_id is not None:
        yield "a decoder that does not attend to padding"


def _decoding(decoding: Decoding) -> Iterator[str]:
    if decoding.search is Search.HUGGING_FACE:
        yield from _beam(decoding)
    elif decoding.search is not Search.SAMPLE:
        yield f"'{decoding.search.value}' beam search"
    elif decoding.top_k != 1 and (decoding.top_k > 1 or decoding.top_p > 0.0):
        yield "sampling with a seed for each row"
    if decoding.repetition_penalty != 1.0 or decoding.presence_penalty != 0.0:
        yield "a repetition or presence penalty"
    if decoding.temperature != 1.0:
        yield "a temperature"  # greedy ids are the same, but their log-probabilities are not
    if decoding.forced:
        yield "forced first tokens"
    if any(len(word) > 1 for word in decoding.bad_words):
        yield "bad words of several tokens"
    if decoding.rules is not None:
        yield from _transformers(decoding, decoding.rules)


def _transformers(decoding: Decoding, rules: TransformersRules) -> Iterator[str]:
    """Yield what the library does differently: it bans tokens before it normalises, and only one end token."""
    if rules.change_scores:
        yield "score processors that exist only in transformers"
    if decoding.min_tokens > 0 and len(rules.end_ids) > 1:
        yield "a minimum length with several end tokens"
    if decoding.search is Search.HUGGING_FACE and decoding.min_tokens > 0:
        yield "a minimum length in beam search as in transformers"
    if decoding.search is Search.HUGGING_FACE and rules.stop_texts is not None:
        yield "stop texts in beam search"


def _beam(decoding: Decoding) -> Iterator[str]:
    """Yield reasons against a beam search: the library's ends at `beam_width` finished ones and reports only totals."""
    if not decoding.early_stopping:
        yield "beam search without early stopping"
    if decoding.diversity != 0.0:
        yield "diverse beam search"
    if decoding.stop_words:
        yield "stop words in beam search"
    if decoding.log_probabilities:
        yield "log-probabilities of each token in beam search"
