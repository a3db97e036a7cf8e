"""The routes of these APIs, by path. Like the routes of `app.py`, each has a group by which it may be restricted:
`inference` for what a model computes, tokens included, and `metadata` for what is said about models.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import unquote

from slipway.rest.context import Context, Match, ModelTarget, Route
from slipway.rest.exchange import Exchange
from slipway.rest.openai import models
from slipway.rest.openai.chat import create_chat_completion
from slipway.rest.openai.classify import classify
from slipway.rest.openai.completions import create_completion
from slipway.rest.openai.embeddings import create_embeddings
from slipway.rest.openai.errors import openai_envelope, tei_envelope
from slipway.rest.openai.rerank import rerank, score
from slipway.rest.openai.tei import embed_texts, info, predict
from slipway.rest.openai.tokens import decode, detokenize, tokenize
from slipway.rest.response import Envelope, plain_envelope

_MODELS: Final = "/v1/models"
_OPENAI: Final = b"/v1/"
_NO_MODEL: Final = ModelTarget()
Work = Callable[[Context, Exchange], Coroutine[Any, Any, None]]


def _post(work: Work, envelope: Envelope = openai_envelope) -> Match:
    """Return the route of a request that a model answers."""
    return Match(b"POST", _started(work), "inference", envelope=envelope)


def _started(work: Work) -> Route:
    def start(context: Context, exchange: Exchange, _: ModelTarget) -> None:
        exchange.run(work(context, exchange))  # cancelled when the client leaves

    return start


def _about(handler: Route, target: ModelTarget = _NO_MODEL, envelope: Envelope = openai_envelope) -> Match:
    """Return the route of a question about models."""
    return Match(b"GET", handler, "metadata", target, envelope=envelope)


_ROUTES: Final[dict[bytes, Match]] = {
    _MODELS.encode(): _about(models.list_models),
    b"/v1/completions": _post(create_completion),
    b"/v1/chat/completions": _post(create_chat_completion),
    b"/v1/embeddings": _post(create_embeddings),
    b"/v1/rerank": _post(rerank),
    b"/rerank": _post(rerank),
    b"/v1/score": _post(score),
    b"/v1/classify": _post(classify),
    b"/tokenize": _post(tokenize),
    b"/detokenize": _post(detokenize),
    b"/embed": _post(embed_texts, tei_envelope),
    b"/predict": _post(predict, tei_envelope),
    b"/decode": _post(decode, tei_envelope),
    b"/info": _about(info, envelope=tei_envelope),
}


def envelope_of(path: bytes) -> Envelope:
    """Return the form of errors on a path, for those that come before the route is looked up. Under /v1 it is OpenAI's
    on every path: its clients also ask for what is not served."""
    if path.startswith(_OPENAI):
        return openai_envelope
    match = find_openai(path)
    return plain_envelope if match is None or match.envelope is None else match.envelope


def find_openai(path: bytes) -> Match | None:
    """Return the route for a path without its query, or None."""
    fixed = _ROUTES.get(path)
    if fixed is not None:
        return fixed
    name = path.decode("latin-1").removeprefix(_MODELS + "/")
    if len(name) < len(path) and name:
        return _about(models.show_model, ModelTarget(unquote(name)))
    return None
