"""Scores pairs of texts: by a reranker, which reads both together, or by the cosine of two embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.config.purpose import Use
from slipway.core.tensor import Tensor
from slipway.errors import internal
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.embedding import EmbeddingOptions, embed
from slipway.rest.openai.rows import RowJob, run_rows, text_tensor
from slipway.rest.openai.served import ServedModel
from slipway.rest.openai.texts import count_texts

SCORING: Final = (Use.RERANK, Use.EMBED)
_SCORE: Final = "score"


@dataclass(frozen=True, slots=True)
class Scores:
    """One score per pair, and the number of tokens that were read."""

    values: Sequence[float]
    tokens: int


async def score_pairs(
    context: Context,
    exchange: Exchange,
    model: ServedModel,
    pairs: Sequence[tuple[str, str]],
    *,
    field: str,
    truncates: bool,
) -> Scores:
    """Return the score of each pair; `field` names the second texts in errors."""
    if model.purpose.use is Use.EMBED:
        return await _cosines(context, exchange, model, pairs, field=field, truncates=truncates)
    counted = await count_texts(context, model, pairs, field, truncates=truncates)

    def inputs(group: Sequence[int]) -> list[Tensor]:
        queries, texts = zip(*(counted.texts[place] for place in group), strict=True)
        return [text_tensor("query", queries), text_tensor("text", texts)]

    job = RowJob(model.name, model.signature.max_batch_size, (_SCORE,), counted.lengths, inputs)
    rows = (await run_rows(context, exchange, job))[_SCORE]
    return Scores([_finite(float(row.reshape(-1)[0])) for row in rows], counted.tokens)


async def _cosines(
    context: Context,
    exchange: Exchange,
    model: ServedModel,
    pairs: Sequence[tuple[str, str]],
    *,
    field: str,
    truncates: bool,
) -> Scores:
    firsts = list(dict.fromkeys(first for first, _ in pairs))
    options = EmbeddingOptions(field, "query", truncates=truncates, normalize=True)
    queries = await embed(context, exchange, model, list(firsts), options)
    options = EmbeddingOptions(field, "document", truncates=truncates, normalize=True)
    documents = await embed(context, exchange, model, [second for _, second in pairs], options)
    by_text = dict(zip(firsts, queries.vectors, strict=True))
    values = [
        float(np.dot(by_text[first], vector)) for (first, _), vector in zip(pairs, documents.vectors, strict=True)
    ]
    return Scores(values, queries.tokens + documents.tokens)


def _finite(score: float) -> float:
    if not np.isfinite(score):
        raise internal("the model returned a score that is not finite")
    return score
