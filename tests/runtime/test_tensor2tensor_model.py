"""A tensor2tensor model as a `model.py` uses it: texts, ids or serialized examples in; ids, scores and texts out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.checkpoints.tensor2tensor.example import encode_example
from slipway.checkpoints.tensor2tensor.export import open_trained, write_export
from slipway.errors import SlipwayError
from slipway.runtime import Tensor2TensorModel
from tests.kits.tensor2tensor_models import HPARAMS, VOCABULARY_NAME, vocabulary, write_data, write_trained

ENGINE = {"ENGINE": "torch", "THREADS": "1"}


@dataclass
class Sink:
    answers: list[dict[str, np.ndarray]] = field(default_factory=list)
    errors: list[SlipwayError] = field(default_factory=list)
    gone: bool = False

    def token(self, row, token):  # noqa: ARG002
        return self.gone

    def wanted(self):
        return not self.gone

    def answer(self, arrays):
        self.answers.append(dict(arrays))

    def fail(self, error):
        self.errors.append(error)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    trained, data = write_trained(root / "trained"), write_data(root / "data")
    settings = DecodeHParams(beam_size=3, extra_length=6)
    write_export(root / "17", open_trained(trained, HPARAMS, data / VOCABULARY_NAME, settings, {}))
    return root / "17"


@pytest.fixture(scope="module")
def opened(export):
    model = Tensor2TensorModel(export, ENGINE, name="m")
    yield model
    model.close()


def run(model, *requests):
    sinks = [Sink() for _ in requests]
    model.run(list(zip(requests, sinks, strict=True)))
    for sink in sinks:
        assert len(sink.answers) + len(sink.errors) == 1
    return sinks


def answer(model, request):
    (sink,) = run(model, request)
    assert not sink.errors, sink.errors
    return sink.answers[0]


def texts(*values):
    return np.array([[value.encode()] for value in values], np.object_)


def padded(*rows):
    width = max(map(len, rows))
    return np.array([[*row, *[0] * (width - len(row))] for row in rows], np.int32)


def ids_of(text):
    return [*vocabulary().encode(text), 1]


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if array.dtype == np.float32:
            assert found[name] == pytest.approx(array, abs=1e-4)
        else:
            assert found[name].tolist() == array.tolist()


def test_a_text_its_ids_and_its_serialized_example_have_the_same_answer(opened):
    text, ids = "hello world", ids_of("hello world")
    expected = answer(opened, {"INPUT_TEXT": texts(text)})
    assert expected["outputs"].dtype == np.int32
    assert expected["outputs"].shape == (1, len(expected["outputs"][0]))
    assert expected["scores"].shape == expected["OUTPUT_TEXT"].shape == (1, 1)
    same(answer(opened, {"inputs": padded(ids)}), expected)
    same(answer(opened, {"input": np.array([[encode_example({"inputs": ids})]], np.object_)}), expected)


def test_requests_of_all_forms_share_a_batch_and_get_what_they_get_alone(opened):
    ids = ids_of("good bye")
    requests = [
        {"INPUT_TEXT": texts("hello world", "and again")},
        {"inputs": padded(ids)},
        {"input": np.array([[encode_example({"inputs": ids})]], np.object_), "beam_size": np.array([[1]], np.int32)},
        {"INPUT_TEXT": texts("")},
    ]
    alone = [answer(opened, request) for request in requests]
    for sink, expected in zip(run(opened, *requests), alone, strict=True):
        same(sink.answers[0], expected)


def test_the_padded_length_of_ids_limits_the_output_as_in_tensor2tensor(opened):
    """decode_length = padded input length + extra_length."""
    short = answer(opened, {"inputs": padded([5, 6]), "extra_length": np.array([[0]], np.int32)})
    longer = answer(opened, {"inputs": padded([5, 6, 0, 0, 0]), "extra_length": np.array([[0]], np.int32)})
    assert short["outputs"].shape[1] <= 2
    assert longer["outputs"].shape[1] <= 5
    same(longer, answer(opened, {"inputs": padded([5, 6]), "extra_length": np.array([[3]], np.int32)}))


def test_the_output_text_ends_at_the_end_token(opened):
    found = answer(opened, {"INPUT_TEXT": texts("hello world"), "extra_length": np.array([[40]], np.int32)})
    ids = found["outputs"][0].tolist()
    kept = ids[: ids.index(1)] if 1 in ids else ids
    assert found["OUTPUT_TEXT"][0, 0] == vocabulary().decode(each for each in kept if each).encode()


def test_greedy_search_returns_the_summed_log_probability(opened):
    request = {"INPUT_TEXT": texts("hello world"), "beam_size": np.array([[1]], np.int32)}
    greedy = answer(opened, request)
    same(answer(opened, {**request, "alpha": np.array([[2.0]], np.float32)}), greedy)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_a_text_without_characters_is_translated_to_none(opened, text):
    found = answer(opened, {"INPUT_TEXT": texts(text, "hello")})
    assert found["OUTPUT_TEXT"][0, 0] == b""
    assert found["scores"][0, 0] == 0
    same(
        {name: array[1:] for name, array in found.items()},
        answer(opened, {"INPUT_TEXT": texts("hello")}),
    )


def test_a_text_beyond_the_limit_is_cut(export):
    model = Tensor2TensorModel(export, ENGINE | {"max_input_size": "5"}, name="m")
    whole = ids_of("hello world hello world hello")
    assert len(whole) > 5
    same(
        answer(model, {"INPUT_TEXT": texts("hello world hello world hello" + " again" * 100_000)}),
        answer(model, {"inputs": padded([*whole[:4], 1])}),
    )
    model.close()


def test_every_beam_is_returned_with_its_score_if_the_config_says_so(export):
    model = Tensor2TensorModel(export, ENGINE | {"return_beams": "true", "beam_size": "4"}, name="m")
    found = answer(model, {"INPUT_TEXT": texts("hello world", "")})
    assert found["outputs"].shape[:2] == found["scores"].shape == found["OUTPUT_TEXT"].shape == (2, 4)
    assert found["scores"][0].tolist() == sorted(found["scores"][0], reverse=True)
    assert found["scores"][1].tolist() == [0.0, *[pytest.approx(-1e7)] * 3]
    assert found["OUTPUT_TEXT"][1].tolist() == [b""] * 4
    model.close()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "exactly one of the inputs INPUT_TEXT, inputs, input, got none"),
        ({"INPUT_TEXT": texts("a"), "inputs": padded([5])}, "got INPUT_TEXT and inputs"),
        ({"inputs": padded([0, 0])}, "row 0: it has no tokens"),
        ({"inputs": padded([5], [9999])}, "row 1: its ids range from 9999 to 9999, but the vocabulary has"),
        ({"inputs": padded([-5])}, "row 0: its ids range from -5"),
        ({"inputs": np.ones((1, 5000), np.int32)}, "it has 5000 tokens, but at most 4096 are possible"),
        ({"input": np.array([[b"\xff\xff"]], np.object_)}, "a serialized tf.train.Example is expected"),
        ({"input": np.array([[encode_example({"targets": [5]})]], np.object_)}, "no feature 'inputs', only targets"),
        ({"INPUT_TEXT": np.array([[b"\xff"]], np.object_)}, "not valid UTF-8"),
        ({"INPUT_TEXT": texts("a"), "beam_size": np.array([[0]], np.int32)}, "beam_size is 0, expected 1 to 64"),
        ({"INPUT_TEXT": texts("a", "b"), "alpha": np.ones((3, 1), np.float32)}, "3 values for 2 rows"),
        ({"INPUT_TEXT": texts("a"), "alpha": np.array([[np.nan]], np.float32)}, "alpha is nan"),
        ({"INPUT_TEXT": texts("a"), "beam_sise": np.array(3)}, "'beam_sise' is unknown: did you mean 'beam_size'?"),
    ],
)
def test_a_bad_request_is_refused_and_costs_its_neighbour_nothing(opened, request_, message):
    bad, good = run(opened, request_, {"INPUT_TEXT": texts("hello")})
    assert message in bad.errors[0].message
    same(good.answers[0], answer(opened, {"INPUT_TEXT": texts("hello")}))


def test_an_export_that_is_damaged_does_not_open(export, tmp_path):
    with pytest.raises(SlipwayError, match=r"hparams\.json"):
        Tensor2TensorModel(tmp_path, ENGINE, name="m")
    with pytest.raises(SlipwayError, match="parameter 'beam_size' is 'four'"):
        Tensor2TensorModel(export, ENGINE | {"beam_size": "four"}, name="m")
    with pytest.raises(SlipwayError, match="parameter 'THREADS' is 'two', expected a whole number"):
        Tensor2TensorModel(export, ENGINE | {"THREADS": "two"}, name="m")
