"""A checkpoint that generates text: requests run together, each has its own sink, and its models share one engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from slipway.errors import Code, SlipwayError, internal
from slipway.runtime import GenerationModel
from slipway.transformer.engines import RoutingEngine
from tests.kits.generators import write_generator

PARAMETERS = {"ENGINE": "torch", "COMPUTE_TYPE": "float32", "max_output_len": "6"}
POISON = 13


class Sink:
    """Records the result of one request; its client leaves after `stays` calls of `token` and `wanted`."""

    def __init__(self, stays: int = 1000) -> None:
        self.tokens: list[tuple[int, int]] = []
        self.arrays: Mapping[str, np.ndarray] | None = None
        self.error: SlipwayError | None = None
        self._stays = stays

    def token(self, row: int, token: int) -> bool:
        self.tokens.append((row, token))
        return not self.wanted()

    def wanted(self) -> bool:
        self._stays -= 1
        return self._stays > 0

    def answer(self, arrays: Mapping[str, np.ndarray]) -> None:
        assert self.error is None
        self.arrays = arrays

    def fail(self, error: SlipwayError) -> None:
        assert self.arrays is None
        self.error = error


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_generator(tmp_path_factory.mktemp("checkpoint") / "gpt2", "gpt2")


@pytest.fixture(scope="module")
def model(checkpoint):
    opened = GenerationModel(checkpoint, PARAMETERS, name="m")
    yield opened
    opened.close()


def asked(*ids: int, **arguments: float) -> dict[str, np.ndarray]:
    return {"input_ids": np.array([ids]), **{name: np.array([[value]]) for name, value in arguments.items()}}


def alone(model: GenerationModel, inputs: dict[str, np.ndarray]) -> list:
    sink = Sink()
    model.run([(inputs, sink)])
    assert sink.arrays is not None
    return sink.arrays["output_ids"].tolist()


def test_rows_of_many_lengths_are_padded_to_the_longest_of_their_request(model):
    sink = Sink()
    inputs = asked(5, 9, 7) | {
        "input_ids": np.array([[5, 9, 7], [0, 0, 40]]),
        "attention_mask": np.array([[1, 1, 1], [0, 0, 1]]),
        "max_output_len": np.array([[2], [4]]),
    }
    model.run([(inputs, sink)])
    assert sink.arrays is not None
    ids, lengths = sink.arrays["output_ids"], sink.arrays["sequence_length"]
    assert (ids.shape, lengths.tolist()) == ((2, 1, 4), [[2], [4]])
    assert [ids[0, :, :2].tolist()] == alone(model, asked(5, 9, 7, max_output_len=2))
    assert [ids[1].tolist()] == alone(model, asked(40, max_output_len=4))
    assert [token for row, token in sink.tokens if row == 1] == ids[1, 0].tolist()


def test_lists_of_tokens_are_parameters_as_values_or_as_json(model):
    for lists in ({"allowed_token_ids": np.array([70, 71])}, {"allowed_token_ids": np.array("[70, 71]")}):
        sink = Sink()
        model.run([(asked(5, 9) | lists, sink)])
        assert sink.arrays is not None
        assert set(sink.arrays["output_ids"].ravel().tolist()) <= {70, 71, 300}
    biased = alone(model, asked(5, 9) | {"logit_bias": np.array('{"70": 100}'), "frequency_penalty": np.array(0.0)})
    assert biased == [[[70] * 6]]
    varied = alone(model, asked(5, 9) | {"logit_bias": np.array('{"70": 100}'), "frequency_penalty": np.array(90.0)})
    assert varied != biased
    assert alone(model, asked(5, 9) | {"stop_token_ids": np.array([70]), "logit_bias": np.array('{"70": 100}')}) == [
        [[70]]
    ]
    sink = Sink()
    model.run([(asked(5) | {"stop_token_ids": np.array("[999]")}, sink)])
    assert sink.error is not None
    assert "stop_token_ids has token 999" in sink.error.message


@pytest.mark.parametrize("stop", [["a"] * 100_000, ["b" * 2000]])
def test_stop_texts_have_a_bound(model, stop):
    sink = Sink()
    model.run([(asked(5) | {"stop": np.array([stop], dtype=np.object_)}, sink)])
    assert sink.error is not None
    assert sink.error.code is Code.INVALID_ARG
    assert "stop" in sink.error.message


def test_a_request_without_rows_has_a_result_without_rows(model):
    sink = Sink()
    model.run([({"input_ids": np.zeros((0, 4), np.int64)}, sink)])
    assert sink.arrays is not None
    assert sink.arrays["output_ids"].shape == (0, 1, 0)


@pytest.mark.parametrize("arguments", [{}, {"beam_width": 3}])
def test_a_request_whose_client_leaves_is_cancelled_and_its_neighbour_completes(model, arguments):
    gone, other = Sink(stays=1), Sink()
    model.run([(asked(5, max_output_len=40, **arguments), gone), (asked(9), other)])
    assert gone.error is not None
    assert gone.error.code is Code.CANCELLED
    assert len(gone.tokens) <= 2
    assert other.arrays is not None
    assert other.arrays["output_ids"].tolist() == alone(model, asked(9))


def test_when_a_batch_fails_requests_without_tokens_are_run_again_alone(model, monkeypatch):
    expected = alone(model, asked(9))
    generate = RoutingEngine.generate

    def failing(engine, rows, listener):
        if any(POISON in row.ids for row in rows):
            raise internal("out of memory")
        generate(engine, rows, listener)

    monkeypatch.setattr(RoutingEngine, "joins", lambda *_: False)
    monkeypatch.setattr(RoutingEngine, "generate", failing)
    bad, good = Sink(), Sink()
    model.run([(asked(POISON), bad), (asked(9), good)])
    assert bad.error is not None
    assert bad.error.message == "out of memory"
    assert good.arrays is not None
    assert good.arrays["output_ids"].tolist() == expected


def test_a_request_that_received_tokens_before_a_failure_gets_the_error(model, monkeypatch):
    generate = RoutingEngine.generate

    def failing_late(engine, rows, listener):
        generate(engine, rows[:1], Cut(listener))
        raise internal("out of memory")

    class Cut:
        """Passes tokens on, but not the end."""

        def __init__(self, listener):
            self.token, self.wanted = listener.token, listener.wanted

        def done(self, row, hypotheses):
            pass

    monkeypatch.setattr(RoutingEngine, "joins", lambda *_: False)
    monkeypatch.setattr(RoutingEngine, "generate", failing_late)
    first, second = Sink(), Sink()
    model.run([(asked(5), first), (asked(9), second)])
    assert len(first.tokens) == 6  # not twelve
    assert first.error is not None
    assert second.error is not None


def test_models_of_one_checkpoint_share_an_engine_until_the_last_is_closed(checkpoint, model):
    second = GenerationModel(checkpoint, PARAMETERS, name="second")
    third = GenerationModel(checkpoint, {**PARAMETERS, "THREADS": "1"}, name="third")
    assert second._engine is model._engine
    assert third._engine is not model._engine
    second.close()
    third.close()
    assert alone(model, asked(5))


def test_a_model_that_is_opened_after_its_files_have_changed_has_their_weights(tmp_path):
    place = write_generator(tmp_path / "gpt2", "gpt2")
    before = GenerationModel(place, PARAMETERS, name="before")
    old = alone(before, asked(5, 9))
    write_generator(tmp_path / "other", "gpt2", n_embd=32)
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "other" / name).replace(place / name)
    after = GenerationModel(place, PARAMETERS, name="after")
    assert alone(before, asked(5, 9)) == old
    assert alone(after, asked(5, 9)) != old
    before.close()
    after.close()


def test_the_error_of_a_bad_request_names_every_invalid_row(model):
    sink = Sink()
    model.run([({"input_ids": np.array([[9999], [5], [-1]])}, sink)])
    assert sink.error is not None
    assert sink.error.message.startswith("row 0: its ids range from 9999 to 9999")
    assert "row 2: its ids range from -1 to -1" in sink.error.message
