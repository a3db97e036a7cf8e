"""Every field of a specification changes what is computed exactly as its sentence says, rows of all kinds in one
batch; the reference computes one row at a time and shares no code but T5's buckets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.transformer.generation import Decoding, SequenceRequest, collect
from slipway.transformer.spec import Activation, Experts, Gate, Languages, Norm, Positions, Stack, Transformer
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.transformer.torch_engine.models import Dense, random_weights

BASE = Stack(2, 12, 3, 4, 20, 30, position_rows=24, attention_scale=0.5)
T5 = replace(
    BASE, norm=Norm.RMS, pre_norm=True, final_norm=True, attention_bias=False, feed_forward_bias=False,
    positions=Positions.RELATIVE, position_rows=0, relative_buckets=6, relative_max_distance=9, attention_scale=1.0,
    head_size=6,
)  # fmt: skip
LENGTHS = (1, 7, 3, 3)
DECODING = Decoding(8, start_id=2, end_id=1)


def both(stack: Stack, **fields: object) -> Transformer:
    return Transformer(stack, stack, **fields)  # type: ignore[arg-type]


def soft(top_k: int) -> Experts:
    return Experts(4, top_k, Gate.SOFT, (1,))


ARCHITECTURES = {
    "post-norm": both(BASE),
    "pre-norm": both(replace(BASE, pre_norm=True, final_norm=True, activation=Activation.GELU)),
    "t5": both(T5, shared_embedding=True, logit_scale=12**-0.5),
    "t5-gated": both(replace(T5, gated=True, activation=Activation.GELU_TANH), tied_head=False),
    "umt5": both(replace(T5, relative_per_layer=True), shared_embedding=True, tied_head=False),
    "silu-gated": both(replace(BASE, gated=True, activation=Activation.SILU)),
    "bart": both(replace(BASE, embedding_norm=True), shared_embedding=True, head_bias=True),
    "scaled": both(replace(BASE, embedding_scale=3.0), tied_head=False, head_bias=True, logit_scale=0.7),
    "padding": both(replace(BASE, padding_id=4)),
    "padding-in-source": Transformer(replace(BASE, padding_id=0), BASE),
    "types": both(replace(BASE, token_types=2, embedding_norm=True)),
    "no-positions": both(replace(BASE, positions=Positions.NONE, position_rows=0)),
    "unequal": Transformer(BASE, replace(BASE, layers=1, heads=2, head_size=5, inner=8, vocabulary=17)),
    "experts-1": both(replace(BASE, experts=soft(1))),
    "experts-2": both(replace(T5, experts=soft(2), gated=True)),
    "experts-hard": both(
        replace(BASE, experts=Experts(3, 1, Gate.HARD, (0,))), language_experts=((0, 2), (1, 0), (2, 1))
    ),
    "adapters": both(replace(T5, adapter_tasks=2)),
    "adapters-experts": both(replace(BASE, adapter_tasks=2, experts=soft(2))),
    "languages-every": both(replace(BASE, languages=3, padding_id=0), language_mode=Languages.EVERY_TOKEN),
    "languages-prefix": both(replace(BASE, languages=3, padding_id=0), language_mode=Languages.PREFIX_TOKEN),
    "languages-target": both(replace(BASE, languages=3), language_mode=Languages.TARGET_IN_SOURCE),
    "prompts": both(T5, prompts=(("a", 3), ("b", 4)), prompt_start_id=26),
    "decoder": Transformer(decoder=replace(BASE, pre_norm=True, final_norm=True)),
    "decoder-relative": Transformer(decoder=T5),
    "decoder-relative-per-layer": Transformer(decoder=replace(T5, relative_per_layer=True)),
    "decoder-padding": Transformer(decoder=replace(BASE, padding_id=4)),
    "decoder-prompts": Transformer(decoder=BASE, prompts=(("a", 4), ("b", 4)), prompt_start_id=26),
}


def rows_for(spec: Transformer) -> list[SequenceRequest]:
    random = np.random.default_rng(3)
    stack = spec.encoder or spec.decoder
    top = spec.prompt_start_id if spec.prompts else stack.vocabulary
    rows = []
    for index, length in enumerate(LENGTHS):
        ids = random.integers(2, top, length)
        if spec.prompts and index != 1:
            ids[-1] = spec.prompt_start_id + 2
        if stack.padding_id is not None and length == 7:
            ids[[2, 6]] = stack.padding_id
        rows.append(
            SequenceRequest(
                ids,
                DECODING,
                adapter_task=(0, None, 1, 0)[index] if stack.adapter_tasks else None,
                prompt_task=index % 2 if spec.prompts and index != 3 else None,
                prompt=random.normal(size=(3, stack.hidden)).astype(np.float32)
                if spec.prompts and index == 3
                else None,
                source_language=index % 3,
                target_language=(index + 1) % 3,
            )
        )
    return rows


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_encoding_and_greedy_decoding_are_those_of_the_reference(name):
    spec = ARCHITECTURES[name]
    weights, rows = random_weights(spec), rows_for(spec)
    engine, dense = TorchEngine.open(spec, weights), Dense(spec, weights)
    assert [engine.refusal(row) for row in rows] == [""] * len(rows)
    for row, encoded in zip(rows, engine.encode(rows), strict=True):
        np.testing.assert_allclose(encoded.hidden, dense.encode(row).numpy(), atol=1e-4)
    for row, (found,) in zip(rows, collect(engine, rows), strict=True):
        ids, total = dense.greedy(row)
        assert list(found.ids) == ids
        assert found.log_probability == pytest.approx(total, abs=1e-3)


@pytest.mark.capability("1.12")
@pytest.mark.parametrize("name", ["experts-1", "experts-2", "experts-hard"])
def test_a_mixture_of_experts_adds_up_to_the_dense_sum_over_all_experts(name):
    spec = ARCHITECTURES[name]
    weights, rows = random_weights(spec, seed=5), rows_for(spec)
    for row, encoded in zip(rows, TorchEngine.open(spec, weights).encode(rows), strict=True):
        np.testing.assert_allclose(encoded.hidden, Dense(spec, weights).encode(row).numpy(), atol=1e-4)


def test_embedded_input_enters_the_layers_as_it_is():
    stack = replace(BASE, positions=Positions.NONE, position_rows=0)
    weights = random_weights(Transformer(stack))
    ids, none = np.array([3, 4, 5]), np.zeros(0, np.int64)
    embedded = weights["encoder.embedding.tokens"][ids]
    (plain,) = TorchEngine.open(Transformer(stack), weights).encode([SequenceRequest(ids)])
    engine = TorchEngine.open(Transformer(replace(stack, vocabulary=0, embedded_input=True)), weights)
    (given,) = engine.encode([SequenceRequest(none, hidden=embedded)])
    np.testing.assert_allclose(given.hidden, plain.hidden, atol=1e-6)
    assert "embedded" in engine.refusal(SequenceRequest(ids))
    assert "expected [tokens, 12]" in engine.refusal(SequenceRequest(none, hidden=embedded[:, :5]))
