from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, InstanceSpec, ModelContext
from slipway.backends.lightseq.backend import LightSeqBackend
from slipway.backends.lightseq.jobs import ScoringReader
from slipway.backends.lightseq.requests import TokenInput
from slipway.backends.shared.single_pass import ScoringExecutor
from slipway.checkpoints.lightseq.writer import write_lightseq
from slipway.config.signature import build_signature
from slipway.core.pending import Pending
from slipway.errors import SlipwayError, internal
from slipway.instances.execution import execute
from slipway.transformer.spec import Activation, Experts, Gate, Transformer
from tests.backends.lightseq.asking import ids, request
from tests.kits.lightseq_models import add_model, random_checkpoint, toy_conf, toy_spec


class Loop:
    """Runs what a thread hands over at once."""

    def call_soon_threadsafe(self, callback, *arguments):
        callback(*arguments)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_CACHE_DIR", str(tmp_path / "cache"))


def gpt(**settings):
    """Return a Gpt checkpoint and how it decodes."""
    decoder = replace(toy_spec().decoder, activation=Activation.GELU_TANH)
    conf = toy_conf("Gpt", **({"sampling_method": "topk", "topk": 1} | settings))
    return random_checkpoint(Transformer(decoder=decoder, end_id=2)), conf


def prepared(tmp_path, model_type, checkpoint, conf, **parameters):
    """Return the completed context of a model written to `tmp_path`."""
    file = add_model(tmp_path, "m", model_type, **parameters)
    write_lightseq(file, checkpoint, conf)
    directory = file.parent
    config = text_format.Parse((directory / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    LightSeqBackend().complete(config, CompletionContext(directory, directory / "1", 4))
    signature = build_signature(config, directory)
    return ModelContext("m", 1, directory, directory / "1", config, signature, {}, 1, None)


def opened(context, instance=None):
    model = LightSeqBackend().load(context)
    return model, model.open(instance or InstanceSpec("m_0", 0, "CPU"))


def answers(executor, *requests):
    """Return the answer to each request."""
    got = {}
    batch = [
        Pending(one, 1, 0, Loop(), lambda response, index=index: got.setdefault(index, response))
        for index, one in enumerate(requests)
    ]
    alone = len(batch) == 1
    responses = (executor.execute(batch) if alone else execute(executor, batch, "m")).responses
    got |= {index: response for index, response in enumerate(responses) if response is not None}
    return [got[index] for index in range(len(requests))]


@pytest.mark.parametrize(
    ("settings", "engine"),
    [({}, "ctranslate2"), ({"beam_size": 4}, "torch"), ({"sampling_method": "topp", "topp": 0.5}, "torch")],
)
def test_the_engine_that_can_decode_as_the_file_says_is_the_only_one_opened(tmp_path, caplog, settings, engine):
    caplog.set_level(logging.INFO, "slipway.backends")
    context = prepared(
        tmp_path, "Transformer", random_checkpoint(toy_spec()), toy_conf(**settings), COMPUTE_TYPE="int8"
    )
    model, _ = opened(context)
    model.unload()
    assert f"model 'm' version 1: {engine} int8" in caplog.text
    shown = context.config.parameters["slipway_engine"].string_value
    assert shown.startswith(f"{engine} int8")
    assert ("CTranslate2 does not support: " in shown) is (engine == "torch")


def test_the_engine_may_be_named(tmp_path, caplog):
    caplog.set_level(logging.INFO, "slipway.backends")
    context = prepared(tmp_path, "Transformer", random_checkpoint(toy_spec()), toy_conf(), ENGINE="torch")
    model, _ = opened(context)
    model.unload()
    assert "model 'm' version 1: torch float32" in caplog.text
    context.config.parameters["ENGINE"].string_value = "magic"
    with pytest.raises(SlipwayError, match="engine 'magic' does not exist"):
        opened(context)


def test_an_8_bit_file_says_that_it_is_dequantised(tmp_path, caplog):
    caplog.set_level(logging.INFO, "slipway.backends")
    checkpoint, conf = gpt()
    model, _ = opened(prepared(tmp_path, "QuantGpt", checkpoint, replace(conf, model_type="QuantGpt")))
    model.unload()
    assert "the file's int8 weights are dequantised" in caplog.text


def test_instances_share_one_engine(tmp_path):
    model, first = opened(prepared(tmp_path, "Gpt", *gpt()))
    second = model.open(InstanceSpec("m_1", 1, "CPU"))
    assert first._engine is second._engine
    model.unload()
    with pytest.raises(SlipwayError, match="opened after its model was unloaded"):
        model.open(InstanceSpec("m_2", 2, "CPU"))


def test_perplexity_is_declared_as_what_it_is(tmp_path):
    context = prepared(tmp_path, "Gpt", *gpt(sampling_method="ppl"))
    assert context.signature.outputs["result"].datatype == "FP32"
    model, executor = opened(context)
    good, bad, other = answers(
        executor,
        request("token_ids", ids([3, 4, 5])),
        request("token_ids", ids([3])),
        request("token_ids", ids([3, 4, 5], [6, 7, 1])),
    )
    assert good.outputs[0].shape == (1,)
    assert good.outputs[0].array[0] == pytest.approx(other.outputs[0].array[0], rel=1e-5)
    assert "at least 2 tokens" in bad.error.message
    model.unload()


class Failing:
    """An engine that fails where id 13 is."""

    def score(self, rows):
        if any((row.ids == 13).any() for row in rows):
            raise internal("out of luck")
        return [0.5] * len(rows)


def test_a_row_that_fails_in_the_engine_fails_its_own_request_only():
    executor = ScoringExecutor(Failing(), ScoringReader(TokenInput("token_ids", 20, 8, padding_id=1)))
    good, bad = answers(executor, request("token_ids", ids([3, 4])), request("token_ids", ids([3, 13])))
    assert good.outputs[0].array.tolist() == [0.5]
    assert bad.error.message == "out of luck"
    with pytest.raises(SlipwayError, match="out of luck"):
        answers(executor, request("token_ids", ids([3, 13])))


def test_a_request_that_cannot_be_read_leaves_its_batch_mates_alone(tmp_path):
    model, executor = opened(prepared(tmp_path, "Transformer", random_checkpoint(toy_spec()), toy_conf(beam_size=2)))
    asked = [request("source_ids", ids(row)) for row in ([5, 6, 7], [5, 99], [8], [5, 6, 7])]
    first, bad, _, last = answers(executor, *asked)
    assert "outside the vocabulary of 20: 99" in bad.error.message
    assert first.outputs[0].array.tolist() == last.outputs[0].array.tolist()
    model.unload()


def test_hard_experts_without_languages_of_their_own_are_refused_per_request(tmp_path):
    experts = Experts(count=2, top_k=1, gate=Gate.HARD, layers=(0,))
    spec = toy_spec(experts=experts, language_experts=((3, 1),))
    model, executor = opened(prepared(tmp_path, "Moe", random_checkpoint(spec), toy_conf("Moe")))
    (answer,) = answers(executor, request("source_ids", ids([5, 6])))
    assert answer.error is not None
    model.unload()


def test_a_missing_file_is_a_load_error_that_names_both_places(tmp_path):
    context = prepared(tmp_path, "Gpt", *gpt())
    (context.model_directory / "model.hdf5").unlink()
    directories = CompletionContext(context.model_directory, context.version_directory, 4)
    for attempt in (
        lambda: LightSeqBackend().load(context),
        lambda: LightSeqBackend().complete(context.config, directories),
    ):
        with pytest.raises(SlipwayError, match="neither in 'm/' nor in 'm/1/'"):
            attempt()


def test_states_of_padding_are_zeros_on_every_engine(tmp_path):
    encoder = replace(toy_spec().encoder, padding_id=1)
    context = prepared(
        tmp_path, "Bert", random_checkpoint(Transformer(encoder=encoder)), toy_conf("Bert", sampling_method="")
    )
    model, executor = opened(context)
    together, alone = answers(
        executor, request("token_ids", ids([5, 6, 1], [7, 8, 9])), request("token_ids", ids([5, 6]))
    )
    states = together.outputs[0].array
    assert not states[0, 2].any()
    np.testing.assert_allclose(states[0, :2], alone.outputs[0].array[0], atol=1e-5)
    model.unload()
