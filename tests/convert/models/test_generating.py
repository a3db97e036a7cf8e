"""The models with an engine, on a tiny checkpoint: ids to ids, and text to text in pieces."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer

from slipway.errors import SlipwayError
from slipway.runtime.arguments import ARGUMENTS
from tests.convert.models.kit import Heard, texts, written
from tests.kits.generators import LINES, write_generator

INPUTS = ("input_ids", "attention_mask", *(each.name for each in ARGUMENTS))
SETTINGS = {"ENGINE": "torch", "COMPUTE_TYPE": "float32", "max_output_len": "8"}
IDS = ([5, 9, 7], [40, 41, 42, 43, 44], [3])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_generator(tmp_path_factory.mktemp("checkpoint") / "gpt2", "gpt2")


@pytest.fixture(scope="module")
def directory(checkpoint, tmp_path_factory) -> Path:
    """A directory of models in which `engine/1` contains the checkpoint."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(checkpoint, root / "engine/1")
    return root


@pytest.fixture(scope="module")
def engine(directory):
    with written(directory / "engine", "generate", inputs=INPUTS, parameters=SETTINGS) as model:
        yield model


@pytest.fixture(scope="module")
def streaming(directory, checkpoint):
    files = {"tokenizer.json": (checkpoint / "tokenizer.json").read_text(encoding="utf-8")}
    parameters = {**SETTINGS, "CHECKPOINT": "../engine/1"}
    inputs = ("text", *INPUTS[2:])
    with written(
        directory / "stream", "stream", inputs=inputs, parameters=parameters, files=files, decoupled=True
    ) as model:
        yield model


@pytest.fixture(scope="module")
def expected(checkpoint) -> Any:
    """Return what transformers generates from the ids."""
    network = hf.AutoModelForCausalLM.from_pretrained(checkpoint).eval()

    def generated(ids: list[int], tokens: int, **settings: Any) -> list[list[int]]:
        given = torch.tensor([ids])
        with torch.inference_mode():
            made = network.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=tokens, do_sample=False, **settings
            )
        return [row[len(ids) :].tolist() for row in made]

    return generated


def request(ids: list[int], **arguments: Any) -> dict[str, np.ndarray]:
    return {"input_ids": np.array([ids]), **{name: np.array([[value]]) for name, value in arguments.items()}}


def test_requests_of_any_lengths_and_settings_are_answered_as_transformers_would(engine, expected):
    lengths = (3, 8, 5)
    heard = engine.execute([request(ids, max_output_len=length) for ids, length in zip(IDS, lengths, strict=True)])
    for sink, ids, length in zip(heard, IDS, lengths, strict=True):
        answer = sink.arrays()
        assert answer["output_ids"].tolist() == [expected(ids, length)]
        assert answer["sequence_length"].tolist() == [[length]]
        assert answer["cum_log_probs"].shape == (1, 1)


def test_beams_come_best_first(engine, expected):
    answer = engine.ask(**request(IDS[0], beam_width=3, num_return_sequences=2, max_output_len=5))
    assert answer["output_ids"][0].tolist() == expected(IDS[0], 5, num_beams=3, num_return_sequences=2)


def test_a_bad_request_is_refused_with_its_code_and_fails_no_other(engine, expected):
    asked = [request(IDS[0], beam_width=0), request([9999]), request(IDS[1])]
    zero, unknown, good = engine.execute(asked)
    assert (zero.error.code().name, zero.error.message()) == (
        "INVALID_ARG",
        "input 'beam_width': 0 is out of range, expected 1 to 64",
    )
    assert unknown.error.code().name == "INVALID_ARG"
    assert good.arrays()["output_ids"].tolist() == [expected(IDS[1], 8)]


def test_a_beam_search_whose_client_is_gone_is_cancelled(engine):
    [heard] = engine.execute([request(IDS[0], beam_width=3, max_output_len=60)], stays=[0])
    assert heard.error.code().name == "CANCELLED"


def test_a_model_without_its_checkpoint_names_what_is_missing(tmp_path):
    with (
        pytest.raises(SlipwayError, match=r"TritonModelException: .*config\.json"),
        written(tmp_path, "generate", inputs=INPUTS, parameters=SETTINGS),
    ):
        pass


def pieces(heard: Heard) -> list[str]:
    return [
        response.output_tensors()[0].as_numpy()[0, 0].decode()
        for response in heard.responses
        if response is not None and response.error() is None
    ]


def test_pieces_join_to_the_text_of_what_is_generated_and_the_last_is_final(streaming, expected, checkpoint):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    heard = streaming.execute([{"text": texts([line])} for line in LINES[:2]])
    for line, sink in zip(LINES, heard, strict=False):
        [ids] = expected(tokenizer.encode(line).ids, 8)
        assert "".join(pieces(sink)) == tokenizer.decode(ids)
        assert sink.finals == [False] * (len(sink.finals) - 1) + [True]
        assert not sink.abandoned
    assert max(len(sink.finals) for sink in heard) > 2


def test_a_stream_that_is_held_to_a_form_keeps_the_spaces_that_others_lose(directory, checkpoint):
    files = {"tokenizer.json": (checkpoint / "tokenizer.json").read_text(encoding="utf-8")}
    parameters = {**SETTINGS, "CHECKPOINT": "../engine/1", "CLEAN_UP": "1"}
    with written(
        directory / "cleaned", "stream", inputs=("text",), parameters=parameters, files=files, decoupled=True
    ) as model:
        [heard] = model.execute([{"text": texts([LINES[0]])}], parameters={"choice": ["a , b ."], "max_tokens": 20})
    assert "".join(pieces(heard)) == "a , b ."


def test_beams_come_as_one_piece(streaming, expected, checkpoint):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    [heard] = streaming.execute([{"text": texts([LINES[0]]), "beam_width": np.array([[2]])}])
    assert pieces(heard) == [tokenizer.decode(expected(tokenizer.encode(LINES[0]).ids, 8, num_beams=2)[0])]
    assert heard.finals == [True]


def test_a_stream_whose_client_is_gone_stops(streaming):
    [heard] = streaming.execute([{"text": texts([LINES[0]]), "max_output_len": np.array([[40]])}], stays=[2])
    assert heard.error.code().name == "CANCELLED"
    assert len(heard.responses) <= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (texts(["a"], ["b"]), "a stream takes one text, but the request has 2"),
        (np.array([[b"\xff"]], dtype=np.object_), "input 'text' is not valid UTF-8: "),
    ],
)
def test_a_text_that_cannot_be_streamed_is_refused_and_fails_no_other(streaming, text, message):
    bad, good = streaming.execute([{"text": text}, {"text": texts([LINES[0]])}])
    assert bad.error.code().name == "INVALID_ARG"
    assert bad.error.message().startswith(message)
    assert good.error is None
