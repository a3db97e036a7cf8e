"""The routes of Amazon SageMaker: /ping and /invocations, and those of multi-model endpoints.

Source: Triton `src/sagemaker_server.cc` and docs/customization_guide/sagemaker.md; SageMaker's contract for containers
with several models. Every route belongs to a group by which it may be restricted, also the invocation of one model of
many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from slipway.engine.api import Dataplane
from slipway.errors import invalid
from slipway.rest import health
from slipway.rest.cloud_infer import binary_head, infer_route, plain_generate, plain_generate_stream
from slipway.rest.context import Context, Match, ModelTarget, RestOptions
from slipway.rest.dispatch import Dispatcher
from slipway.rest.exchange import Exchange
from slipway.rest.infer import InferCall
from slipway.rest.vertex import answer_bad_request

PING_PATH: Final = b"/ping"
BINARY_TYPE: Final = b"application/vnd.sagemaker-triton.binary+json;json-header-size="
_NO_MODEL: Final = "unspecified_SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"


class SagemakerCall(InferCall):
    """An infer request in the form of SageMaker."""

    __slots__ = ()
    binary_head = binary_head(BINARY_TYPE)


_PING: Final = {"ready": health.ready, "live": health.live}
_INFERENCE: Final = {
    "infer": infer_route(BINARY_TYPE, SagemakerCall),
    "generate": plain_generate,
    "generate_stream": plain_generate_stream,
}


@dataclass(frozen=True, slots=True)
class SagemakerSettings:
    """What /ping reports ("ready" or "live"), what /invocations does, and with which model."""

    ping: str = "ready"
    inference: str = "infer"
    model: str = _NO_MODEL


def sagemaker_settings(environment: Mapping[str, str]) -> SagemakerSettings:
    """Return the settings in the environment; raise INVALID_ARG for a word that is not known."""
    ping = environment.get("SAGEMAKER_TRITON_PING_MODE", "ready")
    inference = environment.get("SAGEMAKER_TRITON_INFERENCE_TYPE", "infer")
    _check("SAGEMAKER_TRITON_PING_MODE", ping, _PING)
    _check("SAGEMAKER_TRITON_INFERENCE_TYPE", inference, _INFERENCE)
    return SagemakerSettings(ping, inference, environment.get("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME", _NO_MODEL))


def _check(variable: str, word: str, known: Mapping[str, object]) -> None:
    if word not in known:
        close = get_close_matches(word, known, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise invalid(f"{variable}: invalid value '{word}'. Must be one of: {', '.join(known)}{hint}")


def build_sagemaker_app(
    dataplane: Dataplane,
    settings: SagemakerSettings,
    models: Callable[[Exchange], Match | None],
    options: RestOptions | None = None,
) -> Callable[[Exchange], None]:
    """Return the handler with which a listener serves SageMaker; `models` finds the routes of multi-model endpoints."""
    context = Context(dataplane, options or RestOptions())
    ping = Match(b"GET", _PING[settings.ping], "health")
    invoke = Match(b"POST", _INFERENCE[settings.inference], "inference", ModelTarget(settings.model))

    def route(exchange: Exchange) -> Match | None:
        if exchange.path == PING_PATH:
            return ping
        if exchange.path == b"/invocations":
            return invoke
        return models(exchange)

    return Dispatcher(context, route, answer_bad_request).handle
