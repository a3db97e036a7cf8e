"""POST /embed and /predict, GET /info: the API of text-embeddings-inference.

Its requests do not name a model, because its server has one. Here they mean the only model that fits, or the one in the
additional field `model`. Unlike its server's, an embedding that the model itself has normalised stays so with
`normalize: false`. Source: text-embeddings-inference, its OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import orjson

from slipway.config.purpose import Use
from slipway.core.large_work import LARGE_COUNT, run_large
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.openai.classifying import classify_texts
from slipway.rest.openai.embedding import EmbeddingOptions, Inputs, embed
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.reading import read_request
from slipway.rest.openai.scoring import score_pairs
from slipway.rest.openai.served import ServedModel, choose_model
from slipway.rest.openai.texts import MAX_TEXTS, as_list, counted_refusals
from slipway.rest.response import JSON

_FIELD = "inputs"
_DTYPES = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16"}
_SERVED = (Use.EMBED, Use.CLASSIFY, Use.RERANK)
Side = Literal["right", "Right", "left", "Left"]


class EmbedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /embed."""

    inputs: Inputs
    normalize: bool = True
    truncate: bool | None = None
    truncation_direction: Side = "Right"
    prompt_name: str | None = None
    dimensions: int | None = None
    model: str | None = None


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /predict: a text, a pair of texts, or an array of arrays of one or two texts."""

    inputs: str | list[str | list[str]]
    raw_scores: bool = False
    truncate: bool | None = None
    truncation_direction: Side = "Right"
    model: str | None = None


async def embed_texts(context: Context, exchange: Exchange) -> None:
    """Answer POST /embed with an array of vectors."""
    request = await read_request(exchange, EmbedRequest)
    _check_side(request.truncation_direction, shortens=request.truncate)
    model = choose_model(context, request.model, Use.EMBED)
    options = EmbeddingOptions(
        _FIELD,
        prompt_name=request.prompt_name,
        truncates=bool(request.truncate),
        dimensions=request.dimensions,
        normalize=request.normalize,
    )
    with counted_refusals(context, model):
        found = await embed(context, exchange, model, request.inputs, options)
    large = sum(vector.size for vector in found.vectors) > LARGE_COUNT
    document = await run_large(_arrays, found.vectors) if large else _arrays(found.vectors)
    exchange.answer(200, JSON, document)


def _arrays(vectors: Sequence[np.ndarray]) -> bytes:
    return b"[%b]" % b",".join(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY) for vector in vectors)


async def predict(context: Context, exchange: Exchange) -> None:
    """Answer POST /predict with the labels and scores of a text, or of each text."""
    request = await read_request(exchange, PredictRequest)
    _check_side(request.truncation_direction, shortens=request.truncate)
    rows, is_batch = _rows(request.inputs)
    model = choose_model(context, request.model, *_predicting(rows))
    with counted_refusals(context, model):
        found = await _predictions(context, exchange, model, rows, request)
    exchange.answer(200, JSON, orjson.dumps(found if is_batch else found[0]))


def _rows(inputs: str | list[str | list[str]]) -> tuple[list[tuple[str, ...]], bool]:
    """Return one or two texts per row, and whether the request is a batch."""
    elements = as_list(inputs, _FIELD)
    texts = [each for each in elements if isinstance(each, str)]
    is_batch = not texts
    rows = [tuple(texts)] if texts else [tuple(each) for each in elements]
    if len(texts) not in (0, len(elements)) or not all(1 <= len(row) <= 2 and all(row) for row in rows):
        raise ApiError("'inputs' must be a text, a pair of texts, or an array of arrays of one or two texts.", _FIELD)
    if len({len(row) for row in rows}) > 1:
        raise ApiError("'inputs' has both single texts and pairs, and no model reads both.", _FIELD)
    return rows, is_batch


def _predicting(rows: Sequence[tuple[str, ...]]) -> tuple[Use, ...]:
    return (Use.CLASSIFY,) if len(rows[0]) == 1 else (Use.RERANK,)


async def _predictions(
    context: Context, exchange: Exchange, model: ServedModel, rows: Sequence[tuple[str, ...]], request: PredictRequest
) -> list[list[dict[str, object]]]:
    shortens = bool(request.truncate)
    if model.purpose.use is Use.RERANK:
        if request.raw_scores:
            raise ApiError("'raw_scores' is not supported: the model returns its scores only.", "raw_scores")
        pairs = [(row[0], row[1]) for row in rows]
        scores = await score_pairs(context, exchange, model, pairs, field=_FIELD, truncates=shortens)
        return [[{"score": value, "label": "LABEL_0"}] for value in scores.values]
    texts = [row[0] for row in rows]
    found = await classify_texts(
        context, exchange, model, texts, field=_FIELD, truncates=shortens, raw=request.raw_scores
    )
    best = map(found.best, range(len(texts)))
    return [[{"score": value, "label": label} for label, value in each] for each in best]


def _check_side(side: Side, *, shortens: bool | None) -> None:
    """Refuse a direction of truncation: it is a setting of the model's tokenizer."""
    if shortens and side.lower() == "left":
        raise ApiError(
            "'truncation_direction' is 'Left', but texts are truncated where the model's tokenizer does it.",
            "truncation_direction",
        )


def info(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer GET /info about the only model that text-embeddings-inference could serve."""
    model = choose_model(context, None, *_SERVED)
    output = next(iter(model.signature.outputs.values()))
    exchange.answer(
        200,
        JSON,
        orjson.dumps(
            {
                "model_id": model.name,
                "model_sha": None,
                "model_dtype": _DTYPES.get(output.datatype, output.datatype.lower()),
                "model_type": _kind(model),
                "max_concurrent_requests": None,
                "max_input_length": model.purpose.max_tokens or None,
                "max_batch_tokens": None,
                "max_batch_requests": model.signature.max_batch_size or None,
                "max_client_batch_size": MAX_TEXTS,
                "auto_truncate": False,
                "tokenization_workers": None,
                "version": context.dataplane.server_metadata().version,
            }
        ),
    )


def _kind(model: ServedModel) -> dict[str, object]:
    if model.purpose.use is Use.EMBED:
        return {"embedding": {"pooling": None}}
    scores = model.signature.outputs.get("scores")
    labels = scores.labels if scores and model.purpose.use is Use.CLASSIFY else ("LABEL_0",)
    by_id = {str(place): label for place, label in enumerate(labels)}
    tables = {"id2label": by_id, "label2id": {label: place for place, label in enumerate(labels)}}
    return {"classifier" if model.purpose.use is Use.CLASSIFY else "reranker": tables}
