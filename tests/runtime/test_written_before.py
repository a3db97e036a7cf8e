"""Repositories written by an earlier version keep working: the imports in their `model.py` still resolve.

`written_before/` contains verbatim copies of these files, which import from `slipway.convert.generation`.
"""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import slipway.runtime
from tests.convert.models.kit import OpenedModel, opened, texts, written
from tests.kits.generators import LINES, write_generator

BEFORE = Path(__file__).parent / "written_before"
SETTINGS = {"ENGINE": "torch", "COMPUTE_TYPE": "float32", "max_output_len": "6"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A directory of models in which `engine/1` contains a checkpoint with its tokenizer."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(write_generator(root / "source", "gpt2"), root / "engine/1")
    return root


@pytest.mark.parametrize(("module", "name"), [("served", "GenerationModel"), ("pieces", "TextPieces")])
def test_the_old_modules_export_the_same_classes(module, name):
    old = importlib.import_module(f"slipway.convert.generation.{module}")
    assert getattr(old, name) is getattr(slipway.runtime, name)


def engine_answers(model: OpenedModel) -> dict[str, list]:
    answer = model.ask(input_ids=np.array([[5, 9, 7]]), max_output_len=np.array([[4]]))
    return {name: array.tolist() for name, array in answer.items()}


def test_an_engine_written_before_generates_as_one_written_today(directory):
    source = (BEFORE / "generate.py").read_text(encoding="utf-8")
    settings = {"inputs": ("input_ids", "max_output_len"), "parameters": SETTINGS}
    with opened(directory / "engine", source, **settings) as model:
        before = engine_answers(model)
        refused = model.refusal(input_ids=np.array([[9999]]))
    with written(directory / "engine", "generate", **settings) as model:
        assert before == engine_answers(model)
        assert refused == model.refusal(input_ids=np.array([[9999]]))
    assert len(before["output_ids"][0][0]) == 4
    assert refused[0] == "INVALID_ARG"


def test_a_stream_written_before_has_the_text_of_its_tokens(directory):
    tokenizer_file = directory / "engine/1/tokenizer.json"
    with opened(
        directory / "stream",
        (BEFORE / "stream.py").read_text(encoding="utf-8"),
        inputs=("text",),
        parameters={**SETTINGS, "CHECKPOINT": "../engine/1"},
        files={"tokenizer.json": tokenizer_file.read_text(encoding="utf-8")},
        decoupled=True,
    ) as model:
        [heard] = model.execute([{"text": texts([LINES[0]])}])
    ids = Tokenizer.from_file(str(tokenizer_file)).encode(LINES[0]).ids
    with written(directory / "engine", "generate", inputs=("input_ids",), parameters=SETTINGS) as model:
        [[expected]] = model.ask(input_ids=np.array([ids]))["output_ids"].tolist()
    pieces = [response.output_tensors()[0].as_numpy()[0, 0].decode() for response in heard.responses if response]
    assert "".join(pieces) == Tokenizer.from_file(str(tokenizer_file)).decode(expected)
    assert heard.finals[-1]
