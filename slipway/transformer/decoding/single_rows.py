"""Rows with one hypothesis each that are decoded together, of which any may join or leave between two steps.

The counterpart of `batch.DecodingBatch` for a running batch: whatever goes wrong in a row is that row's alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slipway.errors import internal
from slipway.transformer.decoding import greedy
from slipway.transformer.decoding.batch import check_decoding
from slipway.transformer.decoding.decoding_row import DecodingRow, open_row
from slipway.transformer.decoding.hypothesis import GeneratedSequence
from slipway.transformer.decoding.logits_processor import RowContext
from slipway.transformer.generation import Decoding, GenerationListener, Search

SingleRow = GeneratedSequence | DecodingRow
Choice = int | Exception | None
"""The token that continues a row, None if the row has ended and its listener knows, or why it failed."""


def open_single_row(
    index: int, decoding: Decoding, prompt: Sequence[int], listener: GenerationListener, device: torch.device
) -> SingleRow:
    """Return a row that has generated nothing yet; raise an internal error for values that no rule accepts."""
    check_decoding(index, decoding)
    if decoding.search is not Search.SAMPLE:
        raise internal(f"row {index} is searched with beams, which have several hypotheses")
    if greedy.is_plain(decoding):
        return GeneratedSequence(index, decoding, listener)
    return open_row(index, decoding, RowContext(prompt, prompt, device), listener)


def choose(rows: Sequence[SingleRow], logits: Tensor) -> list[Choice]:
    """Continue each row by its scores float32 [rows, vocabulary], which are only read."""
    choices: list[Choice] = [None] * len(rows)
    lost = _lost(logits)
    for index in lost:
        choices[index] = internal("the model's scores for the next token are not numbers")
    plain = [index for index, row in enumerate(rows) if isinstance(row, GeneratedSequence) and index not in lost]
    for index, choice in zip(plain, _greedy(rows, plain, logits), strict=True):
        choices[index] = choice
    for index, row in enumerate(rows):
        if not isinstance(row, GeneratedSequence) and index not in lost:
            choices[index] = _processed(row, logits[index : index + 1])
    return choices


def _lost(logits: Tensor) -> frozenset[int]:
    """Return the rows without any finite score."""
    if bool(torch.isfinite(logits.amax(dim=-1)).all()):  # a maximum is NaN if any score is
        return frozenset()
    return frozenset((~torch.isfinite(logits).any(dim=-1)).nonzero().flatten().tolist())


def _greedy(rows: Sequence[SingleRow], indices: Sequence[int], logits: Tensor) -> list[Choice]:
    sequences = [row for index in indices if isinstance(row := rows[index], GeneratedSequence)]
    if not sequences:
        return []
    own = logits if len(indices) == len(rows) else logits[torch.tensor(indices, device=logits.device)]
    return [
        _accepted(sequence, token, figure)
        for sequence, (token, figure) in zip(sequences, greedy.pick(own, sequences), strict=True)
    ]


def _accepted(sequence: GeneratedSequence, token: int, figure: float) -> Choice:
    try:
        return token if sequence.accept(token, figure, figure) else None
    except BaseException as error:  # noqa: BLE001  a listener may raise anything; the other rows go on
        return ordinary(error)


def _processed(row: DecodingRow, logits: Tensor) -> Choice:
    try:
        _, tokens = row.step(logits)
    except BaseException as error:  # noqa: BLE001  as above, and so may what processes the scores of this row
        return ordinary(error)
    return tokens[0] if tokens else None


def ordinary(error: BaseException) -> Exception:
    """Return an error that `except Exception` catches: a panic in a library that is written in Rust, as tokenizers and
    llguidance are, is not one."""
    return error if isinstance(error, Exception) else internal(f"generation failed: {type(error).__name__}")
