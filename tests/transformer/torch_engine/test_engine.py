"""The engine's promises: the same results as transformers, with any batch-mates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import Code, SlipwayError
from slipway.transformer.generation import CollectingListener, Decoding, Search, SequenceRequest, collect
from slipway.transformer.spec import Transformer
from slipway.transformer.torch_engine import chunks
from slipway.transformer.torch_engine import engine as engine_module
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.kits.huggingface_models import VOCABULARY, save_model
from tests.transformer.torch_engine.models import random_weights
from tests.transformer.torch_engine.test_architectures import ARCHITECTURES, BASE, DECODING, rows_for

BEAM = Decoding(9, start_id=2, end_id=1, search=Search.HUGGING_FACE, beam_width=4, length_penalty=1.0)


def opened(family, directory, **options):
    model = save_model(family, directory)
    checkpoint = read_huggingface(directory)
    return model, checkpoint.spec, TorchEngine.open(checkpoint.spec, checkpoint.weights, **options)


@pytest.mark.capability("0.9")
@pytest.mark.parametrize("family", ["t5", "bart", "gpt2"])
def test_the_best_beam_is_that_of_transformers(family, tmp_path):
    model, spec, engine = opened(family, tmp_path)
    random = np.random.default_rng(2)
    rows = [random.integers(3, VOCABULARY, length) for length in (2, 8, 5, 1, 6, 3, 3, 7)]
    decoding = replace(BEAM, start_id=spec.start_id, end_id=spec.end_id)
    start = spec.start_id if spec.encoder else None
    model.generation_config = hf.GenerationConfig(
        num_beams=4, length_penalty=1.0, early_stopping=False, do_sample=False, eos_token_id=spec.end_id,
        pad_token_id=spec.end_id, decoder_start_token_id=start,
    )  # fmt: skip
    found = collect(engine, [SequenceRequest(ids, decoding) for ids in rows])
    for ids, hypotheses in zip(rows, found, strict=True):
        made = model.generate(torch.from_numpy(ids)[None], max_new_tokens=9, use_cache=False)[0]
        expected = made[1 if spec.encoder else len(ids) :].tolist()
        own = list(hypotheses[0].ids)
        assert own == expected[: len(own)]
        assert set(expected[len(own) :]) <= {spec.end_id}


@pytest.mark.parametrize("name", ["post-norm", "t5", "padding", "decoder", "decoder-relative", "languages-prefix"])
def test_a_row_gets_what_it_would_get_alone_however_the_others_are_decoded(name):
    spec = ARCHITECTURES[name]
    engine = TorchEngine.open(spec, random_weights(spec))
    own = [
        DECODING, BEAM, replace(DECODING, max_tokens=2), replace(BEAM, beam_width=2, max_tokens=5),
        replace(DECODING, top_k=5, seed=4), replace(DECODING, max_tokens=1), replace(BEAM, search=Search.LIGHTSEQ),
        replace(DECODING, repetition_penalty=1.7, log_probabilities=True),
    ]  # fmt: skip
    rows = [replace(row, decoding=decoding) for row, decoding in zip(rows_for(spec) * 2, own, strict=True)]
    together = collect(engine, rows)
    for row, hypotheses in zip(rows, together, strict=True):
        (alone,) = collect(engine, [row])
        assert [each.ids for each in hypotheses] == [each.ids for each in alone]
        np.testing.assert_allclose(
            [each.log_probability for each in hypotheses], [each.log_probability for each in alone], atol=1e-4
        )


def test_the_listener_hears_every_token_and_can_stop_a_row():
    heard: list[tuple[int, int]] = []

    class Stopping(CollectingListener):
        def token(self, row, token, log_probability, figure):  # noqa: ARG002
            heard.append((row, token))
            return row == 1 and len([each for each in heard if each[0] == 1]) == 3

    spec = ARCHITECTURES["post-norm"]
    engine, listener = TorchEngine.open(spec, random_weights(spec)), Stopping()
    rows = [replace(row, decoding=replace(DECODING, end_id=29)) for row in rows_for(spec)]
    engine.generate(rows, listener)
    for index in range(len(rows)):
        assert listener.results[index][0].ids == tuple(token for row, token in heard if row == index)
    assert len(listener.results[1][0].ids) == 3
    assert listener.results[0][0].ids == collect(engine, rows)[0][0].ids


def test_attention_probabilities_are_those_of_transformers(tmp_path):
    model = save_model("t5", tmp_path)
    checkpoint = read_huggingface(tmp_path)
    rows = [np.array([5, 6, 7]), np.array([9, 8, 7, 6, 5])]
    model.set_attn_implementation("eager")
    engine = TorchEngine.open(checkpoint.spec, checkpoint.weights)
    requests = [SequenceRequest(ids) for ids in rows]
    encoded = engine.encode(requests, attentions=True), engine.encode(requests)
    for ids, found, plain in zip(rows, *encoded, strict=True):
        with torch.inference_mode():
            expected = model.encoder(torch.from_numpy(ids)[None], output_attentions=True)
        np.testing.assert_allclose(found.attentions, torch.cat(expected.attentions).numpy(), atol=1e-5)
        np.testing.assert_allclose(found.hidden, expected.last_hidden_state[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(found.hidden, plain.hidden, atol=1e-4)
        assert plain.attentions is None


def test_scores_are_transformers_loss_row_by_row(tmp_path):
    model, _, engine = opened("gpt2", tmp_path)
    rows = [np.array([5, 6, 7, 8, 9]), np.array([9, 8]), np.array([4])]
    found = engine.score([SequenceRequest(ids) for ids in rows])
    for ids, loss in zip(rows[:2], found[:2], strict=True):
        given = torch.from_numpy(ids)[None]
        with torch.inference_mode():
            assert loss == pytest.approx(float(model(given, labels=given).loss), abs=1e-4)
    assert found[2] == 0.0


@pytest.mark.parametrize(("dtype", "near"), [("bfloat16", 0.05), ("float16", 0.01), ("int8", 0.06)])
@pytest.mark.parametrize("name", ["post-norm", "t5-gated", "experts-2"])
def test_smaller_compute_types_stay_near_float32(name, dtype, near):
    spec = ARCHITECTURES[name]
    weights, rows = random_weights(spec), rows_for(spec)
    engine = TorchEngine.open(spec, weights, dtype=dtype)
    for exact, found in zip(TorchEngine.open(spec, weights).encode(rows), engine.encode(rows), strict=True):
        assert np.linalg.norm(found.hidden - exact.hidden) <= near * np.linalg.norm(exact.hidden) * 2
    assert all(len(hypotheses) == 1 for hypotheses in collect(engine, rows))


def test_many_threads_may_ask_at_once():
    spec = ARCHITECTURES["t5"]
    engine, rows = TorchEngine.open(spec, random_weights(spec), threads=1), rows_for(spec)
    expected = [hypotheses[0].ids for hypotheses in collect(engine, rows)]
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda _: collect(engine, rows), range(8)):
            assert [hypotheses[0].ids for hypotheses in results] == expected


def test_rows_beyond_the_memory_of_a_chunk_are_computed_one_chunk_after_the_other(monkeypatch):
    spec = ARCHITECTURES["post-norm"]
    engine, rows = TorchEngine.open(spec, random_weights(spec)), rows_for(spec) * 3
    whole, hidden = collect(engine, rows), engine.encode(rows)
    monkeypatch.setattr(chunks, "_CACHE_NUMBERS", 4000)
    monkeypatch.setattr(chunks, "_ENCODER_NUMBERS", 1000)
    assert len(list(chunks.for_decoding(spec, rows))) == 3
    assert [each[0].ids for each in collect(engine, rows)] == [each[0].ids for each in whole]
    for small, large in zip(engine.encode(rows), hidden, strict=True):
        np.testing.assert_allclose(small.hidden, large.hidden, atol=1e-5)


def test_weights_are_read_once_and_one_at_a_time():
    spec = ARCHITECTURES["t5"]
    weights = random_weights(spec)
    read: list[str] = []

    class Counting(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    TorchEngine.open(spec, Counting({name: weights[name] for name in weights}))
    assert sorted(read) == sorted(weights)


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("post-norm", SequenceRequest(np.array([3, 30]), DECODING), "token id 30 is not in the vocabulary of 30"),
        ("post-norm", SequenceRequest(np.array([-1]), DECODING), "token id -1 is negative"),
        ("post-norm", SequenceRequest(np.zeros(0, np.int64), DECODING), "no tokens"),
        ("post-norm", SequenceRequest(np.full(25, 3), DECODING), "25 tokens are more than the model's 24 positions"),
        ("post-norm", SequenceRequest(np.array([3]), replace(DECODING, max_tokens=25)), "25 tokens to generate"),
        ("post-norm", SequenceRequest(np.array([3]), replace(DECODING, start_id=99)), "start id 99"),
        ("decoder", SequenceRequest(np.full(20, 3), DECODING), "27 tokens are more than the model's 24 positions"),
        (
            "post-norm",
            SequenceRequest(np.array([3]), DECODING, adapter_task=0),
            "adapter task 0 does not exist: the model has 0 adapter tasks",
        ),
        (
            "adapters",
            SequenceRequest(np.array([3]), DECODING, adapter_task=2),
            "adapter task 2 does not exist: the model has 2 adapter tasks",
        ),
        ("prompts", SequenceRequest(np.array([26]), DECODING), "row 0 of a prompt table, which has 0 rows"),
        (
            "prompts",
            SequenceRequest(np.array([29]), DECODING, prompt_task=0),
            "row 3 of a prompt table, which has 3 rows",
        ),
        (
            "prompts",
            SequenceRequest(np.array([9]), DECODING, prompt_task=7),
            "prompt task 7 does not exist: the model has 2 prompt tasks",
        ),
        ("experts-hard", SequenceRequest(np.array([3]), DECODING, source_language=9), "language 9 has no expert"),
        ("languages-every", SequenceRequest(np.array([3]), DECODING, target_language=3), "language 3 does not exist"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_words(name, row, words):
    spec = ARCHITECTURES[name]
    engine = TorchEngine.open(spec, random_weights(spec))
    assert words in engine.refusal(row)
    with pytest.raises(SlipwayError, match="row 1: ") as caught:
        engine.generate([replace(rows_for(spec)[0]), row], CollectingListener())
    assert caught.value.code is Code.INVALID_ARG


def test_an_encoder_generates_nothing_and_a_closed_engine_answers_nothing():
    spec = Transformer(BASE)
    engine = TorchEngine.open(spec, random_weights(spec))
    with pytest.raises(SlipwayError, match="cannot generate"):
        engine.generate([SequenceRequest(np.array([3]), DECODING)], CollectingListener())
    engine.close()
    with pytest.raises(SlipwayError, match="closed"):
        engine.encode([SequenceRequest(np.array([3]))])


@pytest.mark.parametrize(
    ("options", "words"), [({"dtype": "int4"}, "int4"), ({"device": "tpu"}, "tpu"), ({"device": "cuda:77"}, "cuda:77")]
)
def test_devices_and_compute_types_that_are_not_there_are_named(options, words):
    spec = ARCHITECTURES["post-norm"]
    with pytest.raises(SlipwayError, match=words):
        TorchEngine.open(spec, random_weights(spec), **options)


def test_what_torch_raises_is_an_error_of_the_call_and_the_engine_goes_on(monkeypatch):
    spec = ARCHITECTURES["post-norm"]
    engine, rows = TorchEngine.open(spec, random_weights(spec)), rows_for(spec)

    def exhausted(*_):
        raise torch.OutOfMemoryError("no memory for 4 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "choose_step_runner", exhausted)
        with pytest.raises(SlipwayError, match="torch failed: no memory for 4 GiB") as caught:
            collect(engine, rows)
        assert caught.value.code is Code.INTERNAL
    assert len(collect(engine, rows)) == len(rows)


@pytest.mark.parametrize("search", [Search.HUGGING_FACE, Search.LIGHTSEQ, Search.TENSOR2TENSOR, Search.BRANCHES])
def test_beams_that_no_client_waits_for_any_more_are_given_up(search):
    asked: list[int] = []

    class Leaving(CollectingListener):
        def wanted(self, row):
            asked.append(row)
            return row != 1 or asked.count(1) < 3

    spec = ARCHITECTURES["post-norm"]
    engine, listener = TorchEngine.open(spec, random_weights(spec)), Leaving()
    beams = replace(DECODING, end_id=29, search=search, beam_width=2)
    rows = [replace(row, decoding=beams) for row in rows_for(spec)]
    engine.generate(rows, listener)
    assert listener.results[1] == []
    assert asked.count(1) == 3
    assert listener.results[0][0].ids == collect(engine, rows)[0][0].ids


def test_what_a_listener_raises_is_its_own(monkeypatch):
    spec = ARCHITECTURES["post-norm"]
    engine = TorchEngine.open(spec, random_weights(spec))

    class Failing(CollectingListener):
        def token(self, row, token, log_probability, figure):  # noqa: ARG002
            raise RuntimeError("Event loop is closed")

    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        engine.generate(rows_for(spec), Failing())
    assert len(collect(engine, rows_for(spec))) == len(rows_for(spec))


def test_an_engine_that_is_closed_in_the_middle_finishes_all_chunks_it_has(monkeypatch):
    spec = ARCHITECTURES["post-norm"]
    engine, rows = TorchEngine.open(spec, random_weights(spec)), rows_for(spec)
    expected = [row[0].ids for row in collect(engine, rows)]
    monkeypatch.setattr(chunks, "for_decoding", lambda _spec, rows: ([index] for index in range(len(rows))))

    class Closing(CollectingListener):
        def done(self, row, hypotheses):
            engine.close()
            CollectingListener.done(self, row, hypotheses)

    listener = Closing()
    engine.generate(rows, listener)
    assert [listener.results[index][0].ids for index in range(len(rows))] == expected
    with pytest.raises(SlipwayError, match="closed"):
        engine.generate(rows, listener)


def test_what_is_encoded_at_once_is_handed_over_without_waiting_for_a_neighbours_step():
    spec = ARCHITECTURES["post-norm"]
    engine = TorchEngine.open(spec, random_weights(spec))
    with pytest.raises(StopIteration) as finished, torch.inference_mode():
        next(engine._encode(engine._network, rows_for(spec), attentions=False))
    assert len(finished.value.value) == len(rows_for(spec))
