"""Health: /v2/health/live, /v2/health/ready, /v2/models/NAME/ready."""

from __future__ import annotations

from slipway.errors import Code, SlipwayError
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON, error_body


def live(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer 200 while the server is live."""
    exchange.answer(200 if context.dataplane.live() else 400)


def ready(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer 200 when the server is ready, 503 when it is about to stop."""
    dataplane = context.dataplane
    exchange.answer(200 if dataplane.ready() else 503 if dataplane.stopping() else 400)


def model_ready(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer 200 when the model is ready; this may ask the model itself."""
    exchange.run(_model_ready(context, exchange, target), to_end=True)


async def _model_ready(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    try:
        is_ready = await context.dataplane.model_ready(target.model, target.version)
    except SlipwayError as error:
        if error.code is Code.UNAVAILABLE:  # no model will ever be
            exchange.fail(error)
            return
        is_ready = False  # Triton sends the same response for every other reason
    if is_ready:
        exchange.answer(200)
    else:
        exchange.answer(400, JSON, error_body("Model version not ready"))
