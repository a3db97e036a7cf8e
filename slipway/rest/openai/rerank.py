"""POST /v1/rerank and /rerank: documents in the order of their relevance to a query; POST /v1/score: pairs of texts.

Sources: Cohere's API reference, "Rerank" (v1 and v2); Jina AI's API reference, "Reranker"; text-embeddings-inference,
`/rerank`, whose body has `texts` in place of `documents`; vLLM's "Score API". As at Cohere and Jina, long documents are
truncated unless a request says otherwise; text-embeddings-inference refuses them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import uuid4

import msgspec
import orjson

from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.embedding import Truncate, truncates
from slipway.rest.openai.errors import ApiError, tei_envelope
from slipway.rest.openai.reading import read_request
from slipway.rest.openai.scoring import SCORING, Scores, score_pairs
from slipway.rest.openai.served import choose_model
from slipway.rest.openai.texts import as_list, bounded, counted_refusals
from slipway.rest.openai.usage import Usage
from slipway.rest.response import JSON

_TEXT = "text"


class RerankDocument(msgspec.Struct, frozen=True):
    """A document as an object; its fields beside `text` do not count for the order and come back with it."""

    text: str


class RerankRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of Cohere's and Jina's APIs, with `texts`, `raw_scores` and `return_text` that of
    text-embeddings-inference. Without effect: `max_tokens_per_doc` and `max_chunks_per_doc` beyond what the model
    reads, `user`, `priority`."""

    query: str
    documents: list[str | RerankDocument] | None = None
    texts: list[str] | None = None
    model: str | None = None
    top_n: int | None = None
    return_documents: bool = False
    return_text: bool = False
    truncate: Truncate = None
    truncation: bool | None = None
    raw_scores: bool = False
    max_tokens_per_doc: int | None = None
    max_chunks_per_doc: int | None = None
    user: str | None = None
    priority: int | None = None


class ScoreRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of vLLM's API: one text with many, or as many first as second texts."""

    text_1: str | list[str]
    text_2: str | list[str]
    model: str | None = None
    truncate: Truncate = None
    user: str | None = None


async def rerank(context: Context, exchange: Exchange) -> None:
    """Answer POST /v1/rerank and /rerank."""
    request = await read_request(exchange, RerankRequest)
    is_tei = request.texts is not None
    if is_tei:
        exchange.envelope = tei_envelope
    documents = _documents(request)
    if request.top_n is not None and request.top_n < 1:
        raise ApiError(f"'top_n' is {request.top_n}, but must be at least 1.", "top_n")
    model = choose_model(context, request.model, *SCORING)
    with counted_refusals(context, model):
        if request.raw_scores:
            raise ApiError("'raw_scores' is not supported: the model returns its scores only.", "raw_scores")
        pairs = [(request.query, document) for document in documents]
        shortens = _shortens(request)
        field = "texts" if is_tei else "documents"
        scores = await score_pairs(context, exchange, model, pairs, field=field, truncates=shortens)
    order = sorted(range(len(documents)), key=lambda place: -scores.values[place])[: request.top_n]
    if is_tei:
        exchange.answer(200, JSON, orjson.dumps(_ranks(order, scores, documents if request.return_text else None)))
        return
    results = [_result(place, scores, documents if request.return_documents else None) for place in order]
    answer = {
        "id": f"rerank-{uuid4().hex}",
        "object": "list",
        "model": model.name,
        "results": results,
        "usage": Usage(scores.tokens).document(),
        "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": scores.tokens}},
    }
    exchange.answer(200, JSON, orjson.dumps(answer))


def _documents(request: RerankRequest) -> list[str]:
    if (request.documents is None) == (request.texts is None):
        raise ApiError("Specify either 'documents' or 'texts'.", "documents", kind="missing_required_parameter")
    if not request.query:
        raise ApiError("'query' must not be empty.", "query")
    if request.texts is not None:
        return bounded(request.texts, "texts")
    given = bounded(request.documents or [], "documents")
    return [each if isinstance(each, str) else each.text for each in given]


def _shortens(request: RerankRequest) -> bool:
    if request.truncate is None and request.truncation is None:
        return request.texts is None
    return truncates(request.truncate if request.truncation is None else request.truncation)


def _ranks(order: Sequence[int], scores: Scores, documents: Sequence[str] | None) -> list[dict[str, object]]:
    return [
        {"index": place, **({_TEXT: documents[place]} if documents else {}), "score": scores.values[place]}
        for place in order
    ]


def _result(place: int, scores: Scores, documents: Sequence[str] | None) -> dict[str, object]:
    shown = {"document": {_TEXT: documents[place]}} if documents else {}
    return {"index": place, "relevance_score": scores.values[place], **shown}


async def score(context: Context, exchange: Exchange) -> None:
    """Answer POST /v1/score."""
    request = await read_request(exchange, ScoreRequest)
    firsts, seconds = as_list(request.text_1, "text_1"), as_list(request.text_2, "text_2")
    firsts = firsts * len(seconds) if len(firsts) == 1 else firsts
    seconds = seconds * len(firsts) if len(seconds) == 1 else seconds
    if len(firsts) != len(seconds):
        raise ApiError(
            f"'text_1' has {len(firsts)} texts and 'text_2' has {len(seconds)}: their numbers must be equal, or one of "
            f"them must be 1.",
            "text_1",
        )
    model = choose_model(context, request.model, *SCORING)
    with counted_refusals(context, model):
        pairs = list(zip(firsts, seconds, strict=True))
        if not all(text for pair in pairs for text in pair):
            raise ApiError("'text_1' and 'text_2' must not contain empty texts.", "text_2")
        shortens = truncates(request.truncate)
        scores = await score_pairs(context, exchange, model, pairs, field="text_2", truncates=shortens)
    data = [{"index": place, "object": "score", "score": value} for place, value in enumerate(scores.values)]
    answer = {
        "id": f"score-{uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": model.name,
        "data": data,
        "usage": Usage(scores.tokens).document(),
    }
    exchange.answer(200, JSON, orjson.dumps(answer))
