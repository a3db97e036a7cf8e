"""The numeric gate: what was exported against `transformers` in FP32, before anything is written.

The reference sees every row alone and without padding, and its pooling is computed here in numpy, so a mistake in the
exported head, in masking or in batching shows as a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slipway.convert.source import Source, Task
from slipway.convert.tokenizer import encode
from slipway.errors import SlipwayError, invalid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOLERANCE: Final = 1e-4
SHORT: Final = 9

TEXTS: Final = (
    "The cat sat on the mat.",
    "Stocks rallied and the British pound gained.",
    "A quarterly report: revenue rose 4.2% to $1,300 million, but margins fell; analysts had expected the opposite.",
    "naïve café, Straße, Ελληνικά, 東京, 🙂 and\ttabs\nand lines",
    "Hi",
    "",
    "word " * 600,  # longer than any encoder here takes: truncation
)


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison that was made: largest absolute difference over all rows."""

    name: str
    difference: float


def check_tokenizer(tokenizer: Tokenizer, reference: Any, source: Source) -> Check:
    """Raise `SlipwayError` unless both tokenizers give the same ids for every text, padding aside."""
    encoded = encode(tokenizer, TEXTS, ("input_ids", "attention_mask"))
    for text, ids, mask in zip(TEXTS, encoded["input_ids"], encoded["attention_mask"], strict=True):
        cased = text.lower() if source.lowercase else text
        expected = reference(cased, truncation=True, max_length=source.max_length)["input_ids"]
        if ids[mask == 1].tolist() != list(expected):
            raise invalid(f"the exported tokenizer and transformers disagree on {text[:40]!r}; nothing was written")
    return Check("tokenizer ids on real text", 0.0)


def check_encoder(source: Source, network: Any, path: Path, tokenizer: Tokenizer, max_batch: int) -> list[Check]:
    """Return every comparison made; raise `SlipwayError` saying by how much when one exceeds `TOLERANCE`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the error types of onnxruntime are private to its extension module
        raise invalid(f"onnxruntime cannot open the exported model: {error}") from error
    checks = []
    for name, inputs in _cases(source, tokenizer, max_batch):
        try:
            answer = session.run([source.task.value], inputs)[0]
        except Exception as error:  # as above
            raise invalid(f"the exported model fails on {name}: {error}; nothing was written") from error
        checks.append(Check(name, _difference(source, network, inputs, answer)))
    worst = max(checks, key=lambda check: np.inf if np.isnan(check.difference) else check.difference)
    if not worst.difference <= TOLERANCE:
        raise _too_far(worst)
    return checks


def _too_far(check: Check) -> SlipwayError:
    return invalid(
        f"the exported model differs from transformers by {check.difference:.3g} on {check.name} "
        f"(allowed: {TOLERANCE:g}); nothing was written"
    )


def _cases(source: Source, tokenizer: Tokenizer, max_batch: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    yield f"real text, {len(TEXTS)} padded rows", encode(tokenizer, TEXTS, source.input_names)
    yield "real text, one row", encode(tokenizer, TEXTS[:1], source.input_names)
    random = np.random.default_rng(0)
    longest = source.max_length
    short = min(SHORT, longest)
    shapes = ((1, 1), (1, short), (2, short), (max_batch, short), (1, longest), (2, longest))
    for rows, tokens in shapes:
        yield f"random ids, {rows} x {tokens}", _random(source, random, [tokens] * rows)
        if rows > 1 and tokens > 1:
            lengths = [1 + row * (tokens - 1) // (rows - 1) for row in range(rows)]
            yield f"random ids, {rows} x {tokens} padded", _random(source, random, lengths)


def _random(source: Source, random: np.random.Generator, lengths: Sequence[int]) -> dict[str, np.ndarray]:
    ids = random.integers(0, source.vocabulary_size - 1, (len(lengths), max(lengths)), dtype=np.int64)
    ids += ids >= source.padding_id  # padding inside a text is not a case
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    ids[mask == 0] = source.padding_id
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: arrays[name] for name in source.input_names}


def _difference(source: Source, network: Any, inputs: dict[str, np.ndarray], answer: np.ndarray) -> float:
    worst = 0.0
    for row, length in enumerate(inputs["attention_mask"].sum(1)):
        expected = _reference(source, network, inputs["input_ids"][row, :length])
        actual = answer[row, :length] if source.task is Task.HIDDEN_STATES else answer[row]
        worst = float(np.maximum(worst, np.abs(actual - expected).max()))  # np.maximum keeps NaN, max() would not
    return worst


def _reference(source: Source, network: Any, ids: np.ndarray) -> np.ndarray:
    """Return what one text must give: transformers' network on the row alone, pooled in numpy."""
    import torch

    with torch.inference_mode():
        answer = network(input_ids=torch.from_numpy(ids[None].copy()))
    if source.task is Task.CLASSIFICATION:
        return np.asarray(answer.logits[0].numpy())
    hidden: np.ndarray = answer.last_hidden_state[0].numpy()
    if source.task is Task.HIDDEN_STATES:
        return hidden
    pooled = {
        "cls": lambda: hidden[0],
        "mean": lambda: hidden.mean(0),
        "max": lambda: hidden.max(0),
        "mean_sqrt_len_tokens": lambda: hidden.sum(0) / np.sqrt(len(hidden)),
    }[source.pooling]()
    return np.asarray(pooled / np.linalg.norm(pooled) if source.normalise else pooled)
