"""Rows of a running batch on the torch engine get what they get alone, on every kind of decoder."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from slipway.errors import Code, SlipwayError
from slipway.transformer.generation import (
    CollectingListener,
    Decoding,
    Hypothesis,
    Search,
    SequenceRequest,
    TransformersRules,
    collect,
)
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.paged.running_batch import RunningBatch, Steps
from slipway.transformer.paged.step import PagedStep
from slipway.transformer.spec import Positions, QueryKeyNorm, Transformer
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.torch_engine.paged_network import TorchPagedNetwork
from slipway.transformer.weights import Array, Weights
from tests.transformer.torch_engine.decoders import LLAMA, LLAMA_SIZES, decoder, llama_like
from tests.transformer.torch_engine.models import random_weights
from tests.transformer.torch_engine.test_architectures import ARCHITECTURES, BASE

GEMMA = replace(
    LLAMA, window=7, window_layers=(0, 2), attention_softcap=5.0, query_key_norm=QueryKeyNorm.HEAD, branch_norm=True
)
SPECS = {
    "positions": Transformer(decoder=replace(BASE, pre_norm=True, final_norm=True, position_rows=128)),
    "relative": ARCHITECTURES["decoder-relative"],
    "padding": Transformer(decoder=replace(BASE, padding_id=4, position_rows=128)),
    "rotary": Transformer(decoder=LLAMA, tied_head=False),
    "penalties": Transformer(decoder=replace(BASE, positions=Positions.ALIBI, position_rows=0)),
    "windows": Transformer(decoder=GEMMA, logit_softcap=4.0),
}
KINDS = (
    Decoding(9, end_id=1),
    Decoding(12, end_id=1, top_k=4, temperature=1.5, seed=3),
    Decoding(7, end_id=1, top_p=0.9, seed=5),
    Decoding(10, end_id=1, repetition_penalty=1.3),
    Decoding(8, end_id=1, top_k=20, seed=8, rules=TransformersRules(end_ids=(1, 2), min_p=0.01, frequency_penalty=0.5)),
)


class Collected(CollectingListener):
    """Collects, and lets an error fail the test."""

    def failed(self, row: int, error: Exception) -> None:  # noqa: ARG002
        raise error


def rows_of(spec: Transformer, count: int, seed: int = 0) -> list[SequenceRequest]:
    """Return rows of different lengths and kinds, many of which begin with the same tokens."""
    random = Random(seed)
    shared = [random.randrange(2, spec.decoder.vocabulary) for _ in range(10)]
    rows = []
    for index in range(count):
        ids = shared[: random.randrange(11)] + [random.randrange(2, spec.decoder.vocabulary) for _ in range(3 + index)]
        rows.append(SequenceRequest(np.array(ids), KINDS[index % len(KINDS)]))
    return rows


def alone(spec: Transformer, weights: Weights, rows: Sequence[SequenceRequest]) -> list[Hypothesis]:
    """Return what each row generates by itself without a running batch."""
    engine = TorchEngine.open(spec, weights, running=RunningOptions(places=0), threads=1)
    found = [collect(engine, [row])[0][0] for row in rows]
    engine.close()
    return found


@pytest.mark.parametrize("name", SPECS)
def test_rows_that_join_leave_and_are_preempted_generate_what_they_do_alone(name: str) -> None:
    spec = SPECS[name]
    weights, rows = random_weights(spec), rows_of(spec, 10)
    network = Network(spec, LayerBuilder(weights, device=torch.device("cpu"), dtype=torch.float32))
    steps: list[Steps] = []
    paged = TorchPagedNetwork(network, page_count=14, page_size=4)
    batch = RunningBatch(paged, steps.append, places=6, step_tokens=5)
    heard = []
    with torch.inference_mode():
        for row in rows:
            heard.append(Collected())
            batch.start([row], heard[-1])
            next(steps[-1], None)
        for _ in steps[-1]:
            pass
    stats = batch.stats()
    assert stats.preemptions > 0
    assert stats.cached_tokens > 0
    for own, expected in zip(heard, alone(spec, weights, rows), strict=True):
        assert own.results[0][0].ids == expected.ids
        assert own.results[0][0].log_probability == pytest.approx(expected.log_probability, abs=1e-3)


def test_callers_in_many_threads_share_the_batch() -> None:
    spec = SPECS["rotary"]
    weights, rows = random_weights(spec), rows_of(spec, 12, seed=1)
    engine = TorchEngine.open(spec, weights, threads=1)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda row: collect(engine, [row, row]), rows))
    engine.close()
    expected = [each.ids for each in alone(spec, weights, rows)]
    assert [[each[0].ids for each in pair] for pair in found] == [[ids, ids] for ids in expected]


def test_ids_are_those_of_transformers() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = decoder(
        LlamaForCausalLM(LlamaConfig(**LLAMA_SIZES, tie_word_embeddings=False, rms_norm_eps=1e-6)),
        SPECS["rotary"],
        llama_like,
    )
    prompts = [[5, 9, 11], [7] * 30, [5, 9, 11, 40, 41]]
    engine = TorchEngine.open(
        model.spec, model.weights, threads=1, running=RunningOptions(cache_mib=1, places=2, step_tokens=7)
    )
    found = collect(engine, [SequenceRequest(np.array(prompt), Decoding(16, end_id=1000)) for prompt in prompts])
    engine.close()
    for prompt, hypotheses in zip(prompts, found, strict=True):
        ids = list(prompt)
        for _ in range(16):
            ids.append(int(model.logits(ids)[-1].argmax()))
        assert list(hypotheses[0].ids) == ids[len(prompt) :]


def test_a_prompt_that_is_found_in_the_pool_gives_the_same_result() -> None:
    spec = SPECS["windows"]
    engine = TorchEngine.open(spec, random_weights(spec), threads=1)
    row = SequenceRequest(np.arange(3, 60), Decoding(12, end_id=1))
    first, second = collect(engine, [row])[0][0], collect(engine, [row])[0][0]
    stats = engine.stats()
    engine.close()
    assert stats is not None
    assert stats.cached_tokens == 56  # all but the last token: the page that was not full is full now
    assert (stats.running, stats.pages_used) == (0, 0)
    assert second.ids == first.ids
    assert second.log_probability == pytest.approx(first.log_probability, abs=1e-4)


def test_a_row_that_computes_to_nan_spoils_neither_its_batch_mates_nor_those_who_get_its_pages() -> None:
    spec = SPECS["rotary"]
    weights = dict(random_weights(spec).items())
    table = weights["decoder.embedding.tokens"].copy()
    table[7] = np.nan
    spoilt = Weights({name: Array(array.shape, lambda array=array: array) for name, array in weights.items()}
                     | {"decoder.embedding.tokens": Array(table.shape, lambda: table)})  # fmt: skip
    rows = [SequenceRequest(np.array(ids), KINDS[0]) for ids in ([5, 9], [5, 7, 9, 11], [12] * 20)]
    network = Network(spec, LayerBuilder(spoilt, device=torch.device("cpu"), dtype=torch.float32))
    steps: list[Steps] = []
    batch = RunningBatch(TorchPagedNetwork(network, page_count=12, page_size=4), steps.append, places=3, step_tokens=64)
    errors: list[Exception] = []

    class Heard(CollectingListener):
        def failed(self, row: int, error: Exception) -> None:
            assert row == 1
            errors.append(error)

    with torch.inference_mode():
        for _ in range(3):  # the pages of the row that failed go to others
            heard = Heard()
            batch.start(rows, heard)
            for _ in steps[-1]:
                pass
            assert heard.results[0][0].ids == alone(spec, spoilt, [rows[0]])[0].ids
            assert heard.results[2][0].ids == alone(spec, spoilt, [rows[2]])[0].ids
    assert len(errors) == 3
    assert "not numbers" in str(errors[0])


def test_a_row_that_never_fits_is_refused_with_both_numbers() -> None:
    spec = Transformer(decoder=replace(BASE, positions=Positions.NONE, position_rows=0, layers=2))
    engine = TorchEngine.open(spec, random_weights(spec), threads=1, running=RunningOptions(cache_mib=1))
    room = engine.stats().pages_total * 16  # type: ignore[union-attr]
    row = SequenceRequest(np.array([3, 4]), Decoding(room, end_id=1))
    refusal = engine.refusal(row)
    assert f"needs {room + 1} tokens" in refusal
    assert f"the pool has {room}" in refusal
    with pytest.raises(SlipwayError, match="the pool has") as raised:
        collect(engine, [row])
    assert raised.value.code is Code.INVALID_ARG
    assert engine.refusal(replace(row, decoding=Decoding(room - 1, end_id=1))) == ""
    engine.close()


def test_an_error_of_the_listener_reaches_its_caller() -> None:
    class Raising(CollectingListener):
        def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
            raise RuntimeError("the listener's own")

    spec = SPECS["rotary"]
    engine = TorchEngine.open(spec, random_weights(spec), threads=1)
    with pytest.raises(RuntimeError, match="the listener's own"):
        engine.generate(rows_of(spec, 3), Raising())
    assert engine.stats().running == 0  # type: ignore[union-attr]
    engine.close()


def test_memory_that_is_missing_for_the_pages_is_an_error_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise RuntimeError("you tried to allocate 4294967296 bytes")

    spec = SPECS["rotary"]
    engine = TorchEngine.open(spec, random_weights(spec), threads=1)
    with monkeypatch.context() as patched:
        patched.setattr("slipway.transformer.torch_engine.running.TorchPagedNetwork", no_memory)
        with pytest.raises(SlipwayError, match="torch failed: you tried to allocate 4294967296 bytes"):
            engine.start(rows_of(spec, 1), Collected())
    assert collect(engine, rows_of(spec, 1))[0][0].ids
    engine.close()


def test_when_rows_with_beams_fail_those_in_the_running_batch_stop_before_the_caller_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = SPECS["rotary"]
    engine = TorchEngine.open(spec, random_weights(spec), threads=1)
    long, beams = Decoding(60, end_id=-1), Decoding(60, end_id=-1, search=Search.HUGGING_FACE, beam_width=2)
    monkeypatch.setattr(Network, "begin", lambda *_, **__: torch.zeros(1 << 62))
    heard = CollectingListener()
    with pytest.raises(SlipwayError, match="torch failed"):
        engine.generate([SequenceRequest(np.array([2, 3]), each) for each in (long, beams)], heard)
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert not heard.results
    engine.close()


def test_an_engine_that_is_closed_while_rows_run_finishes_them() -> None:
    spec = SPECS["rotary"]
    weights, rows = random_weights(spec), rows_of(spec, 3)
    engine = TorchEngine.open(spec, weights, threads=1)

    class Closing(Collected):
        def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
            engine.close()
            return False

    heard = Closing()
    engine.generate(rows, heard)
    assert [heard.results[index][0].ids for index in range(3)] == [each.ids for each in alone(spec, weights, rows)]
    with pytest.raises(SlipwayError, match="closed"):
        engine.generate(rows, heard)


def test_a_draft_that_goes_beyond_the_positions_so_far_is_scored_as_token_by_token() -> None:
    spec = SPECS["rotary"]
    network = Network(spec, LayerBuilder(random_weights(spec), device=torch.device("cpu"), dtype=torch.float32))
    tokens = np.random.default_rng(0).integers(3, 90, 258)
    pages = np.arange(17, dtype=np.int32)

    def step(paged: TorchPagedNetwork, begin: int, end: int, *, known: int) -> np.ndarray:
        own = np.array([0, end - begin], np.int32)
        bounds = np.array([0, len(pages)], np.int32)
        scored = np.arange(end - begin, dtype=np.int32)
        lengths, past = np.array([known], np.int32), np.array([begin], np.int32)
        return paged.run(PagedStep(tokens[begin:end], own, past, pages, bounds, lengths, scored))

    with torch.inference_mode():
        drafted = TorchPagedNetwork(network, page_count=17, page_size=16)
        step(drafted, 0, 254, known=254)
        together = step(drafted, 254, 258, known=255)  # the tables of positions have 256 rows at first
        single = TorchPagedNetwork(network, page_count=17, page_size=16)
        step(single, 0, 254, known=254)
        alone = [step(single, place, place + 1, known=place + 1)[0] for place in range(254, 258)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-3, atol=1e-4)
