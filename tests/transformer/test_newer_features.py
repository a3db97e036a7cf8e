"""What old formats cannot hold is refused by each of their writers, by name."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.fastertransformer.sections import WriteOptions, describe_sections
from slipway.checkpoints.lightseq.conf import LightSeqConf
from slipway.checkpoints.lightseq.target import make_target
from slipway.convert.tensor2tensor.network import PlainTransformer
from slipway.errors import Code, SlipwayError
from slipway.transformer.ctranslate2.support import why_not
from slipway.transformer.newer_features import newer_features
from slipway.transformer.spec import Experts, Gate, Positions, QueryKeyNorm, Rotary, Stack, Transformer
from slipway.transformer.weights import Weights

STACK = Stack(2, 16, 2, 8, 32, 40, position_rows=20, pre_norm=True, final_norm=True)
EXPERTS = Experts(4, 2, Gate.SOFT, (1,))
ROTARY = {"positions": Positions.ROTARY, "position_rows": 0, "rotary": Rotary(8)}
CHANGES = {
    "key_value_heads": ({"key_value_heads": 1}, "share keys and values"),
    "output_bias": ({"output_bias": False}, "bias of only some"),
    "rotary": (ROTARY, "rotary positions"),
    "local_rotary": (ROTARY | {"local_rotary": Rotary(4)}, "rotary positions"),
    "unrotated_layers": (ROTARY | {"unrotated_layers": (1,)}, "rotary positions"),
    "alibi_scale": ({"positions": Positions.ALIBI, "position_rows": 0}, "ALiBi"),
    "window": ({"window": 4, "window_layers": (0,)}, "attention window"),
    "query_key_norm": ({"query_key_norm": QueryKeyNorm.HEAD}, "normalised queries and keys"),
    "attention_softcap": ({"attention_softcap": 50.0}, "soft cap of attention scores"),
    "branch_norm": ({"branch_norm": True}, "normalised outputs of blocks"),
    "parallel": ({"parallel": True}, "parallel blocks"),
    "shared_norm": ({"parallel": True, "shared_norm": True}, "parallel blocks"),
    "residual_scale": ({"residual_scale": 0.5}, "scaled residuals"),
    "embedding_size": ({"embedding_size": 8}, "token table of another width"),
    "normalised": ({"experts": replace(EXPERTS, normalised=True)}, "experts with a size"),
    "inner": ({"experts": replace(EXPERTS, inner=8)}, "experts with a size"),
    "shared_inner": ({"experts": replace(EXPERTS, shared_inner=8)}, "experts with a size"),
    "shared_gate": ({"experts": replace(EXPERTS, shared_inner=8, shared_gate=True)}, "experts with a size"),
}
CONF = LightSeqConf("Gpt", 10)


def spec_of(name: str) -> Transformer:
    changes, _ = CHANGES[name]
    return Transformer(decoder=replace(STACK, **changes))


def test_every_field_since_the_key_value_heads_is_a_feature():
    names = [field.name for field in fields(Stack)]
    newer = set(names[names.index("key_value_heads") :]) - {"context", "window_layers"}  # a limit; part of `window`
    assert newer <= set(CHANGES)
    names = [field.name for field in fields(Experts)]
    assert set(names[names.index("normalised") :]) <= set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_a_feature_is_named(name):
    assert newer_features(Transformer(decoder=STACK)) == []
    assert [CHANGES[name][1] in feature for feature in newer_features(spec_of(name))] == [True]


def test_a_soft_cap_of_the_vocabulary_is_named():
    assert newer_features(Transformer(decoder=STACK, logit_softcap=30.0)) == [
        "a soft cap of the scores over the vocabulary"
    ]


@pytest.mark.parametrize("name", CHANGES)
def test_no_writer_of_an_older_format_drops_it(name):
    spec, text = spec_of(name), CHANGES[name][1]
    for write in (
        lambda: describe_sections(spec, WriteOptions()),
        lambda: make_target(Checkpoint("here", spec, Weights({})), CONF),
        lambda: PlainTransformer(Transformer(spec.decoder, STACK), {}),
    ):
        with pytest.raises(SlipwayError, match=text) as caught:
            write()
        assert caught.value.code is Code.UNSUPPORTED
    beside = why_not(Transformer(spec.decoder, STACK))  # CTranslate2 has some of them, in decoder-only models
    assert text in beside or "mixture of experts" in beside
