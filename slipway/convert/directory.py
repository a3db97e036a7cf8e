"""Settings that every kind of Hugging Face directory has: task, lengths, JSON files.

The supported families are listed by the wings (encoders/source.py, generation/source.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from slipway.errors import invalid


class Task(Enum):
    """The purpose of the converted model; the values are those of `--task`."""

    EMBEDDING = "embedding"
    HIDDEN_STATES = "hidden-states"
    CLASSIFICATION = "text-classification"
    TOKENS = "token-classification"
    QUESTIONS = "question-answering"
    MASK = "fill-mask"
    RERANKING = "reranking"
    ZERO_SHOT = "zero-shot"
    TEXT_TO_TEXT = "text2text-generation"
    TRANSLATION = "translation"
    SUMMARIZATION = "summarization"
    TEXT_GENERATION = "text-generation"


def choose_task(asked: Task | None, served: Sequence[Task], architecture: str) -> Task:
    """Return the requested task, by default the first one served; raise INVALID_ARG if it is not served."""
    if asked is None:
        return served[0]
    if asked not in served:
        choices = ", ".join(task.value for task in served)
        raise invalid(f"'{architecture}' cannot serve the task '{asked.value}'; it can serve: {choices}")
    return asked


def declared_lengths(directory: Path) -> Iterator[int]:
    """Yield every maximum text length, in tokens, that a directory sets, then a very large one."""
    for file, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = directory / file
        length = read_json_object(path).get(key) if path.exists() else None
        if length is not None:
            yield int(length)
    yield 1 << 30  # for when neither file sets a length


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise `SlipwayError` if it contains another type."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise invalid(f"{path}: expected a JSON object")
    return value


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; raise `SlipwayError` naming the file if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise invalid(f"'{path.parent}' has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise invalid(f"{path}: {error}") from None
