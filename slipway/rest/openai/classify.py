"""POST /v1/classify: the label of each text.

Sources: vLLM's "Classification API" (`label`, `probs`, `num_classes`) and Jina AI's API reference, "Classifier", which
chooses among the `labels` of a request (`prediction`, `score`, `predictions`). An answer has the fields of both.
"""

from __future__ import annotations

import time
from uuid import uuid4

import msgspec
import orjson

from slipway.config.purpose import Use
from slipway.core.large_work import LARGE_COUNT, run_large
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.classifying import Classes, choose_labels, classify_texts
from slipway.rest.openai.embedding import Truncate, truncates
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.reading import read_request
from slipway.rest.openai.served import choose_model
from slipway.rest.openai.texts import MAX_TEXTS, as_list, bounded, counted_refusals
from slipway.rest.openai.usage import Usage
from slipway.rest.response import JSON


class ClassifyText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text as an object, as in Jina's API."""

    text: str


class ClassifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body; `user` is accepted without effect."""

    input: str | list[str | ClassifyText]
    model: str | None = None
    labels: list[str] | None = None
    truncate: Truncate = None
    user: str | None = None


async def classify(context: Context, exchange: Exchange) -> None:
    """Answer POST /v1/classify."""
    request = await read_request(exchange, ClassifyRequest)
    given = as_list(request.input, "input")
    texts = [each if isinstance(each, str) else each.text for each in given]
    model = choose_model(context, request.model, Use.CLASSIFY if request.labels is None else Use.CHOOSE)
    shortens = truncates(request.truncate)
    with counted_refusals(context, model):
        if not all(texts):
            raise ApiError("'input' must not contain empty texts.", "input")
        if request.labels is None:
            found = await classify_texts(context, exchange, model, texts, field="input", truncates=shortens)
        else:
            labels = bounded(request.labels, "labels")
            if len(texts) * len(labels) > MAX_TEXTS:
                count = len(texts) * len(labels)
                raise ApiError(f"{count} pairs of text and label, at most {MAX_TEXTS} are allowed.", "labels")
            found = await choose_labels(context, exchange, model, texts, labels, truncates=shortens)
    rest: dict[str, object] = {"model": model.name, "usage": Usage(found.tokens).document()}
    large = len(texts) * len(found.labels) > LARGE_COUNT
    document = await run_large(_document, found, rest) if large else _document(found, rest)
    exchange.answer(200, JSON, document)


def _document(found: Classes, rest: dict[str, object]) -> bytes:
    head = {"id": f"classify-{uuid4().hex}", "object": "list", "created": int(time.time()), **rest}
    data = b",".join(orjson.dumps(_described(found, place)) for place in range(len(found.scores)))
    return orjson.dumps(head)[:-1] + b',"data":[' + data + b"]}"


def _described(found: Classes, place: int) -> dict[str, object]:
    best = found.best(place)
    label, score = best[0]
    return {
        "index": place,
        "object": "classification",
        "label": label,
        "prediction": label,
        "score": score,
        "probs": found.scores[place],
        "num_classes": len(found.labels),
        "predictions": [{"label": each, "score": value} for each, value in best],
    }
