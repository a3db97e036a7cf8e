"""Read the token ids of a request into rows: cut off padding, check lengths and ids, take languages from the front.

Knows the limits of one model, not how it decodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.core.request import InferRequest
from slipway.errors import SlipwayError, invalid
from slipway.transformer.spec import Languages

_SHOWN: Final = 8  # how many rows or ids a message lists
_PREFIX: Final = 2  # the source and target languages precede the tokens
# How much the two language ids shorten the sequence (LightSeq's engine adds one row of its own).
_LENGTH_LESS: Final[Mapping[Languages, int]] = {
    Languages.NONE: 0,
    Languages.EVERY_TOKEN: 2,
    Languages.PREFIX_TOKEN: 1,
    Languages.TARGET_IN_SOURCE: 1,
}


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row without its padding: ids int64 [tokens], and its languages if the model is multilingual."""

    ids: np.ndarray
    source_language: int = 0
    target_language: int = 0


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """The rows of a request. `length` is the padded length that LightSeq computes limits from."""

    rows: list[TokenRow]
    length: int


@dataclass(frozen=True, slots=True)
class TokenInput:
    """How the rows of one model's requests are read.

    A row ends at its last id that is not `padding_id`; padding inside a row is left to the engine, which masks it.
    `pads_front` also removes padding before a row, so that a prompt begins with its first token.
    `languages` are the languages that the model has.
    """

    name: str
    vocabulary: int
    max_step: int
    padding_id: int | None = None
    mode: Languages = Languages.NONE
    languages: frozenset[int] = frozenset()
    pads_front: bool = False

    def read(self, request: InferRequest) -> TokenBatch:
        """Return the rows of `request`; raise INVALID_ARG for lengths or ids outside the model's limits."""
        ids = np.atleast_2d(request.inputs[self.name].array).astype(np.int64)
        self._check_lengths(request, ids)
        languages, tokens = self._split(ids)
        rows = [TokenRow(self._trimmed(row)) for row in tokens]
        self._check_ids(request, languages, rows)
        if languages is not None:
            rows = [TokenRow(row.ids, *map(int, pair)) for row, pair in zip(rows, languages, strict=True)]
        return TokenBatch(rows, ids.shape[1] - _LENGTH_LESS[self.mode])

    def check_filled(self, request: InferRequest, batch: TokenBatch, least: int = 1) -> None:
        """Raise INVALID_ARG naming the rows with fewer than `least` tokens."""
        short = [index for index, row in enumerate(batch.rows) if len(row.ids) < least]
        if short:
            raise self._refused(
                request,
                f"needs at least {least} token{'s' if least > 1 else ''} that are not padding (id {self.padding_id}) "
                f"in each row, but row {_listed(short)} has fewer",
            )

    def _split(self, ids: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        if self.mode is Languages.NONE:
            return None, ids
        return ids[:, :_PREFIX], ids[:, _PREFIX:]

    def _trimmed(self, row: np.ndarray) -> np.ndarray:
        if self.padding_id is None:
            return row
        (real,) = np.nonzero(row != self.padding_id)
        if not len(real):
            return row[:0]
        return row[int(real[0]) if self.pads_front else 0 : int(real[-1]) + 1]

    def _check_lengths(self, request: InferRequest, ids: np.ndarray) -> None:
        if ids.ndim != 2:
            raise self._refused(request, f"has shape {list(ids.shape)}, expected [rows, tokens]")
        least = _PREFIX + 1 if self.mode is not Languages.NONE else 1
        if ids.shape[1] < least:
            wanted = "source language, target language and at least one token" if least > 1 else "at least one token"
            raise self._refused(request, f"has {ids.shape[1]} ids per row, expected {wanted}")
        if ids.shape[1] > self.max_step:
            raise invalid(
                f"{request.log_prefix}seq len of input greater than max_step: input '{self.name}' of model "
                f"'{request.model_name}' has {ids.shape[1]} ids per row, the model accepts at most {self.max_step}"
            )

    def _check_ids(self, request: InferRequest, languages: np.ndarray | None, rows: list[TokenRow]) -> None:
        ids = np.concatenate([row.ids for row in rows]) if rows else np.zeros(0, np.int64)
        outside = (ids < 0) | (ids >= self.vocabulary)
        if outside.any():
            found = sorted(set(ids[outside].tolist()))
            raise self._refused(request, f"has ids outside the vocabulary of {self.vocabulary}: {_listed(found)}")
        if languages is not None:
            strange = sorted(set(languages.ravel().tolist()) - self.languages)
            if strange:
                raise self._refused(
                    request,
                    f"must begin with the source and the target language, from {_listed(sorted(self.languages))}, "
                    f"but has {_listed(strange)}",
                )

    def _refused(self, request: InferRequest, message: str) -> SlipwayError:
        return invalid(f"{request.log_prefix}input '{self.name}' of model '{request.model_name}' {message}")


def _listed(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:_SHOWN]))
    return shown if len(values) <= _SHOWN else f"{shown}, ..."
