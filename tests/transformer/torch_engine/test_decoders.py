"""Today's decoders compute what `transformers` computes: scores, losses, greedy ids in a mixed batch, beams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch

from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network
from slipway.transformer.module.static_decoder_state import StaticDecoderState
from slipway.transformer.torch_engine import engine as engine_module
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.torch_engine.input_builder import InputBuilder
from slipway.transformer.torch_engine.step_runner import StaticStepRunner
from tests.transformer.torch_engine.decoder_families import FAMILIES
from tests.transformer.torch_engine.decoders import VOCABULARY, Decoder

LENGTHS = (40, 1, 17, 6)
NEW_TOKENS = 64


some = partial(pytest.mark.parametrize, "family", indirect=True)  # each feature once; the rest only takes time


@cache
def made(name: str) -> Decoder:
    return FAMILIES[name]()


@pytest.fixture(params=FAMILIES)
def family(request) -> Iterator[Decoder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made(request.param)
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


@some(argvalues=["llama", "mistral", "gemma2", "gemma3", "gpt-j", "bloom"])
def test_scores_of_equally_long_rows_are_those_of_transformers(family):
    long = prompts((40, 40))
    for prompt, found in zip(long, scores(family, [SequenceRequest(ids) for ids in long]), strict=True):
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


@some(argvalues=["llama", "mistral", "gemma3", "falcon-alibi-multi-query", "mixtral"])
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
@some(argvalues=["llama", "gemma2", "qwen3", "olmo2", "gpt-neox", "bloom", "qwen2-moe", "opt-350m"])
def test_lower_precision_gives_nearly_the_same_states_in_any_batch(family, dtype):
    exact = TorchEngine.open(family.spec, family.weights, threads=1).encode(rows())
    engine = TorchEngine.open(family.spec, family.weights, dtype=dtype, threads=1)
    for row, wanted, found in zip(rows(), exact, engine.encode(rows()), strict=True):
        scale = np.abs(wanted.hidden).mean()
        assert np.abs(found.hidden - wanted.hidden).mean() < 0.1 * scale
        alone = engine.encode([row])[0]
        assert np.abs(found.hidden - alone.hidden).mean() < 0.02 * scale
    assert all(len(ids) == 8 for ids in generated(engine, rows(8)))


@some(argvalues=["llama", "gemma2", "opt-350m"])
def test_the_loss_of_a_row_is_that_of_transformers(family):
    engine = TorchEngine.open(family.spec, family.weights, threads=1)
    for prompt, found in zip(prompts(), engine.score(rows()), strict=True):
        if len(prompt) > 1:
            logits = torch.from_numpy(family.logits(prompt.tolist())[:-1])
            wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(prompt[1:]))
            assert found == pytest.approx(float(wanted), rel=1e-4)


@some(argvalues=["llama", "gemma2", "phi"])
def test_attention_probabilities_are_those_of_transformers(family):
    family.model.set_attn_implementation("eager")
    engine = TorchEngine.open(family.spec, family.weights, threads=1)
    for prompt, found in zip(prompts(), engine.encode(rows(), attentions=True), strict=True):
        wanted = family.model(torch.from_numpy(prompt)[None], output_attentions=True).attentions
        np.testing.assert_allclose(found.attentions, torch.cat(wanted).detach().numpy(), atol=1e-5)


def test_adapters_scale_keys_and_values_that_query_heads_share():
    own, random = made("llama"), np.random.default_rng(1)
    plain, stack = dict(own.weights), own.spec.decoder
    added, folded = {}, dict(plain)
    for layer in range(stack.layers):
        prefix = f"decoder.layers.{layer}"
        for part in ("key", "value"):
            scale = random.uniform(0.5, 2.0, stack.key_value).astype(np.float32)
            added[f"{prefix}.self_attention.{part}_scale"] = scale[None]
            name = f"{prefix}.self_attention.{part}.weight"
            folded[name] = plain[name] * scale[:, None]
        added[f"{prefix}.feed_forward.scale"] = np.ones((1, stack.inner), np.float32)
    adapted = replace(own.spec, decoder=replace(stack, adapter_tasks=1))
    requests = [replace(row, adapter_task=0) for row in rows()]
    found = TorchEngine.open(adapted, plain | added, threads=1).encode(requests)
    wanted = TorchEngine.open(own.spec, folded, threads=1).encode(rows())
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.hidden, other.hidden, atol=1e-4)


@some(argvalues=["llama", "mistral", "gemma3"])
def test_masked_tokens_of_a_prompt_keep_their_place_but_nothing_attends_to_them(family):
    padding = 7
    stack = replace(family.spec.decoder, padding_id=padding)
    engine = TorchEngine.open(replace(family.spec, decoder=stack), family.weights, threads=1)
    requests = rows(24)
    for request in requests:
        request.ids[2::5] = padding
    for request, ids in zip(requests, generated(engine, requests), strict=True):
        tokens = torch.tensor([[*request.ids.tolist(), *ids[:-1]]])
        with torch.no_grad():
            logits = family.model(
                tokens, attention_mask=(tokens != padding).long(), position_ids=torch.arange(tokens.shape[1])[None]
            ).logits[0, len(request.ids) - 1 :]
        assert ids == logits.argmax(-1).tolist()
