"""Today's decoders compute what `transformers` computes: scores, losses, greedy ids in a mixed batch, beams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network
from slipway.transformer.module.static_decoder_state import StaticDecoderState
from slipway.transformer.spec import (
    Activation,
    QueryKeyNorm,
    Rotary,
    RotaryScaling,
    Transformer,
    standard_scale,
)
from slipway.transformer.torch_engine import engine as engine_module
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.torch_engine.input_builder import InputBuilder
from slipway.transformer.torch_engine.step_runner import StaticStepRunner
from tests.transformer.torch_engine.decoders import (
    LLAMA,
    LLAMA_SIZES,
    VOCABULARY,
    Decoder,
    decoder,
    gemma_like,
    llama_like,
    olmo2_like,
    qwen3_like,
)

LENGTHS = (40, 1, 17, 6)
NEW_TOKENS = 64


def llama() -> Decoder:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**LLAMA_SIZES, tie_word_embeddings=False, rms_norm_eps=1e-6)
    return decoder(LlamaForCausalLM(config), Transformer(decoder=LLAMA, tied_head=False), llama_like)


def qwen2() -> Decoder:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**LLAMA_SIZES, tie_word_embeddings=True, rms_norm_eps=1e-6)
    spec = Transformer(decoder=replace(LLAMA, attention_bias=True, output_bias=False))
    return decoder(
        Qwen2ForCausalLM(config),
        spec,
        lambda arrays: {name: array for name, array in llama_like(arrays).items() if name != "head.weight"},
    )


def mistral() -> Decoder:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(**LLAMA_SIZES, tie_word_embeddings=False, rms_norm_eps=1e-6, sliding_window=12, head_dim=10)
    stack = replace(
        LLAMA, head_size=10, rotary=Rotary(10), attention_scale=standard_scale(10), window=12, window_layers=(0, 1, 2)
    )
    return decoder(MistralForCausalLM(config), Transformer(decoder=stack, tied_head=False), llama_like)


def gemma2() -> Decoder:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        **LLAMA_SIZES, head_dim=8, rms_norm_eps=1e-6, sliding_window=16, query_pre_attn_scalar=20,
        attn_logit_softcapping=3.0, final_logit_softcapping=8.0, hidden_activation="gelu_pytorch_tanh",
        attn_implementation="eager",
    )  # fmt: skip
    stack = replace(
        LLAMA, activation=Activation.GELU_TANH, branch_norm=True, embedding_scale=32**0.5, attention_softcap=3.0,
        attention_scale=20**-0.5, window=16, window_layers=(0, 2),
    )  # fmt: skip
    return decoder(Gemma2ForCausalLM(config), Transformer(decoder=stack, logit_softcap=8.0), gemma_like)


def gemma3() -> Decoder:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        **LLAMA_SIZES, head_dim=8, rms_norm_eps=1e-6, sliding_window=10, query_pre_attn_scalar=8,
        hidden_activation="gelu_pytorch_tanh",
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    )  # fmt: skip
    stack = replace(
        LLAMA, activation=Activation.GELU_TANH, branch_norm=True, embedding_scale=32**0.5,
        window=10, window_layers=(0, 2), query_key_norm=QueryKeyNorm.HEAD, local_rotary=Rotary(8),
        rotary=Rotary(8, 1e6, scaling=RotaryScaling.LINEAR, factor=8.0),
    )  # fmt: skip
    return decoder(Gemma3ForCausalLM(config), Transformer(decoder=stack), gemma_like)


def qwen3() -> Decoder:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(**LLAMA_SIZES, head_dim=12, rms_norm_eps=1e-6, tie_word_embeddings=False)
    stack = replace(
        LLAMA, head_size=12, rotary=Rotary(12), attention_scale=standard_scale(12), query_key_norm=QueryKeyNorm.HEAD
    )
    return decoder(Qwen3ForCausalLM(config), Transformer(decoder=stack, tied_head=False), qwen3_like)


def olmo2() -> Decoder:
    from transformers import Olmo2Config, Olmo2ForCausalLM

    config = Olmo2Config(**LLAMA_SIZES, rms_norm_eps=1e-6, tie_word_embeddings=False)
    stack = replace(LLAMA, pre_norm=False, branch_norm=True, query_key_norm=QueryKeyNorm.FULL)
    return decoder(Olmo2ForCausalLM(config), Transformer(decoder=stack, tied_head=False), olmo2_like)


FAMILIES: dict[str, Callable[[], Decoder]] = {
    "llama": llama,
    "qwen2": qwen2,
    "mistral": mistral,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "qwen3": qwen3,
    "olmo2": olmo2,
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> Iterator[Decoder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield FAMILIES[request.param]()
    torch.set_num_threads(threads)


def prompts(lengths: tuple[int, ...] = LENGTHS) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(3, VOCABULARY, length) for length in lengths]


def rows(tokens: int = NEW_TOKENS, **changes: object) -> list[SequenceRequest]:
    decoding = replace(Decoding(tokens, end_id=-1), **changes)
    return [SequenceRequest(ids, decoding) for ids in prompts()]


def scores(own: Decoder, requests: list[SequenceRequest]) -> list[np.ndarray]:
    """Return the scores after every token of the rows, computed together."""
    network = Network(own.spec, LayerBuilder(own.weights, device=torch.device("cpu"), dtype=torch.float32))
    sequences = InputBuilder(network).outer(requests)
    found = network.scores(network.encode(sequences))
    return [part.numpy() for part in torch.split(found, sequences.layout.lengths)]


def generated(engine: TorchEngine, requests: list[SequenceRequest]) -> list[list[int]]:
    return [list(hypotheses[0].ids) for hypotheses in collect(engine, requests)]


def assert_greedy(own: Decoder, prompt: np.ndarray, ids: list[int]) -> None:
    """Check that each id is the reference's best one after the ids before it."""
    wanted = own.logits([*prompt.tolist(), *ids[:-1]])[len(prompt) - 1 :].argmax(-1)
    assert ids == wanted.tolist()


def test_scores_are_those_of_transformers(family):
    for prompt, found in zip(prompts(), scores(family, rows()), strict=True):
        np.testing.assert_allclose(found, family.logits(prompt.tolist()), atol=1e-4, rtol=1e-4)


def test_rows_of_all_lengths_generate_the_ids_of_transformers(family):
    engine = TorchEngine.open(family.spec, family.weights, threads=1)
    for prompt, ids in zip(prompts(), generated(engine, rows()), strict=True):
        assert len(ids) == NEW_TOKENS
        assert_greedy(family, prompt, ids)


def test_fixed_steps_generate_the_ids_of_growing_ones(family, monkeypatch):
    engine = TorchEngine.open(family.spec, family.weights, threads=1)
    growing = generated(engine, rows(40))
    monkeypatch.setattr(
        engine_module,
        "choose_step_runner",
        lambda network, state, _rows: StaticStepRunner(network, StaticDecoderState(state, state.cache.length + 40)),
    )
    assert generated(engine, rows(40)) == growing


def test_beams_are_those_of_transformers(family):
    engine = TorchEngine.open(family.spec, family.weights, threads=1)
    beam = {"beam_width": 3, "search": Search.HUGGING_FACE, "early_stopping": True}
    for prompt, ids in zip(prompts(), generated(engine, rows(24, **beam)), strict=True):
        wanted = family.model.generate(
            torch.from_numpy(prompt)[None], max_new_tokens=24, num_beams=3, do_sample=False, early_stopping=True,
            eos_token_id=None, pad_token_id=0, length_penalty=0.0,
        )  # fmt: skip
        assert ids == wanted[0, len(prompt) :].tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_lower_precision_gives_nearly_the_same_states_in_any_batch(family, dtype):
    exact = TorchEngine.open(family.spec, family.weights, threads=1).encode(rows())
    engine = TorchEngine.open(family.spec, family.weights, dtype=dtype, threads=1)
    for row, wanted, found in zip(rows(), exact, engine.encode(rows()), strict=True):
        scale = np.abs(wanted.hidden).mean()
        assert np.abs(found.hidden - wanted.hidden).mean() < 0.1 * scale
        alone = engine.encode([row])[0]
        assert np.abs(found.hidden - alone.hidden).mean() < 0.02 * scale
    assert all(len(ids) == 8 for ids in generated(engine, rows(8)))


def test_the_loss_of_a_row_is_that_of_transformers(family):
    engine = TorchEngine.open(family.spec, family.weights, threads=1)
    for prompt, found in zip(prompts(), engine.score(rows()), strict=True):
        if len(prompt) > 1:
            logits = torch.from_numpy(family.logits(prompt.tolist())[:-1])
            wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(prompt[1:]))
            assert found == pytest.approx(float(wanted), rel=1e-4)
