"""GET /v1/models and /v1/models/ID: the models that can answer these APIs. Source: OpenAI's API reference, "Models"."""

from __future__ import annotations

import time
from typing import Final

import orjson

from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.openai.served import ServedModel, find_model, served_models
from slipway.rest.response import JSON

_STARTED: Final = int(time.time())  # `created` of every model: when a checkpoint was trained is not known


def list_models(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer GET /v1/models."""
    models = [_described(model) for model in served_models(context)]
    exchange.answer(200, JSON, orjson.dumps({"object": "list", "data": models}))


def show_model(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer GET /v1/models/ID."""
    exchange.answer(200, JSON, orjson.dumps(_described(find_model(context, target.model))))


def _described(model: ServedModel) -> dict[str, object]:
    purpose = model.purpose
    return {
        "id": model.name,
        "object": "model",
        "created": _STARTED,
        "owned_by": "slipway",
        "task": purpose.task,
        "max_model_len": purpose.max_tokens or None,
    }
