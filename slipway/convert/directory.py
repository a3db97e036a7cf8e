"""Settings that every kind of Hugging Face directory has: task, lengths, JSON files.

The supported families are listed by the wings (encoders/source.py, generation/source.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final

from slipway.errors import invalid, shown
from slipway.foreign_json import read_foreign

_LARGEST: Final = 1e30 + 1e20  # transformers writes about 1e30 for a tokenizer without a limit


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
    IMAGE_CLASSIFICATION = "image-classification"
    OBJECT_DETECTION = "object-detection"
    IMAGE_EMBEDDING = "image-embedding"
    TEXT_EMBEDDING = "text-embedding"
    TEXT_TO_TEXT = "text2text-generation"
    TRANSLATION = "translation"
    SUMMARIZATION = "summarization"
    TEXT_GENERATION = "text-generation"
    IMAGE_TO_TEXT = "image-to-text"
    DOCUMENT_READING = "document-reading"
    PAGE_ELEMENTS = "page-elements"


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
    sentence = ((path.name, "max_seq_length") for path in sorted(directory.glob("sentence_*_config.json")))
    for file, key in (*sentence, ("tokenizer_config.json", "model_max_length")):
        path = directory / file
        length = read_json_object(path).get(key) if path.exists() else None
        if length is not None:
            yield whole_number(length, f"{path}: '{key}'")
    yield 1 << 30  # for when neither file sets a length


def whole_number(value: Any, what: str) -> int:
    """Return a whole number of a JSON file, which may be written as a float; raise INVALID_ARG that begins with `what`
    for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise invalid(f"{what} should be a whole number but is {shown(repr(value))}")
    return int(value)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise `SlipwayError` if it contains another type."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise invalid(f"{path}: expected a JSON object")
    return value


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; raise `SlipwayError` naming the file if it is missing or not JSON."""
    if not path.exists():
        raise invalid(f"'{path.parent}' has no {path.name}")
    return read_foreign(path)
