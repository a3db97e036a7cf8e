"""The routes of Vertex AI: one for health, one for predictions, which may lead to others by a header.

Source: Triton `src/vertex_ai_server.cc`. Vertex AI passes only POST requests to one path on, so the header
X-Vertex-Ai-Triton-Redirect names another path, and the method is that path's own. What would change the server cannot
be reached this way. The routes are those of `app.py`, and so are the groups by which they are restricted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from slipway.engine.api import Dataplane
from slipway.errors import invalid
from slipway.rest import health, infer
from slipway.rest.app import find
from slipway.rest.cloud_infer import infer_route
from slipway.rest.context import Context, Match, ModelTarget, RestOptions
from slipway.rest.dispatch import Dispatcher
from slipway.rest.exchange import Exchange
from slipway.rest.infer import InferCall

_BINARY: Final = b"application/vnd.vertex-ai-triton.binary+json;json-header-size="
_REDIRECT: Final = b"x-vertex-ai-triton-redirect"
# Groups whose paths a redirection may name, besides infer; what changes the server is refused all the same.
_REDIRECTED: Final = ("health", "metadata", "model-config", "statistics", "model-repository", "shared-memory")


_INFER: Final = infer_route(_BINARY, InferCall)  # the responses are as on other ports


@dataclass(frozen=True, slots=True)
class VertexSettings:
    """The two paths, and the model of predictions without a redirection."""

    predict: str
    health: str
    model: str


def vertex_settings(dataplane: Dataplane, model: str, environment: Mapping[str, str]) -> VertexSettings:
    """Return the settings in the environment, with the only ready model if none is named; raise INVALID_ARG, with
    Triton's texts, for what is missing."""
    predict, healthy = environment.get("AIP_PREDICT_ROUTE", ""), environment.get("AIP_HEALTH_ROUTE", "")
    if not predict:
        raise invalid("API_PREDICT_ROUTE is not defined for Vertex AI endpoint")  # Triton's text, with its slip
    if not healthy:
        raise invalid("AIP_HEALTH_ROUTE is not defined for Vertex AI endpoint")
    ready = {entry.name for entry in dataplane.repository_index(ready_only=True)}
    if model and model not in ready:
        raise invalid(f"Expect the default model '{model}' is loaded")
    if not model and len(ready) != 1:
        raise invalid("Expect the model repository contains only a single model if default model is not specified")
    return VertexSettings(predict, healthy, model or ready.pop())


def build_vertex_app(
    dataplane: Dataplane,
    settings: VertexSettings,
    metrics: Callable[[Exchange], None],
    options: RestOptions | None = None,
) -> Callable[[Exchange], None]:
    """Return the handler with which a listener serves Vertex AI; `metrics` answers with the metrics."""
    context = Context(dataplane, options or RestOptions())
    routes = _Routes(settings, metrics)
    return Dispatcher(context, routes.route, answer_bad_request).handle


def answer_bad_request(exchange: Exchange) -> None:
    """Answer, as tritonserver does on the routes of platforms, that there is no such route."""
    exchange.answer(400)


class _Routes:
    def __init__(self, settings: VertexSettings, metrics: Callable[[Exchange], None]) -> None:
        def show_metrics(_: Context, exchange: Exchange, __: ModelTarget) -> None:
            metrics(exchange)

        self._predict, self._health = settings.predict.encode(), settings.health.encode()
        self._default = Match(b"POST", _INFER, "inference", ModelTarget(settings.model))
        self._metrics = Match(b"POST", show_metrics, "statistics")

    def route(self, exchange: Exchange) -> Match | None:
        """Return the route for an exchange, or None; raise `SlipwayError` for an invalid version."""
        if exchange.path == self._health:
            return Match(b"GET", health.ready, "health")
        if exchange.path != self._predict:
            return None
        redirect = exchange.headers.get(_REDIRECT)
        if redirect is None:
            return self._default
        if exchange.method != b"POST":
            exchange.answer(405)
            return None
        if redirect == b"metrics":
            return self._metrics
        return self._redirected(exchange, find(b"/" + redirect))

    def _redirected(self, exchange: Exchange, match: Match | None) -> Match | None:
        if match is None:
            return None
        if match.changes_state:
            exchange.answer(403)
            return None
        if match.handler is infer.infer:
            return match._replace(handler=_INFER)
        return match._replace(method=b"POST") if match.group in _REDIRECTED else None
