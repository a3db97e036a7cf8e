"""The routes of the page. Its files have no group: they say nothing about models. Everything else that it shows comes
from routes with a group, which may be restricted; those under /ui/ serve nobody else, and may change.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

import orjson

from slipway.errors import not_found
from slipway.rest.context import Context, Match, ModelTarget, Route
from slipway.rest.exchange import Exchange
from slipway.rest.page.files import FRESH, PREFIX
from slipway.rest.page.models import list_models
from slipway.rest.page.page import Page
from slipway.rest.page.report import show_report
from slipway.rest.response import JSON

_NO_FILE_GROUP: Final = ""
_MODELS: Final = "/ui/models/"
_REPORT: Final = "/report"


def _reading(handler: Route, group: str, model: str = "") -> Match:
    return Match(b"GET", handler, group, ModelTarget(model), other=b"HEAD")


def _send_file(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    context.options.page.files[exchange.path].send(exchange)


def _show_settings(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer GET /ui/settings: what the page has to know about the server."""
    page = context.options.page
    server = context.dataplane.server_metadata()
    grpc = None if page.grpc is None else {"port": page.grpc.port, "tls": page.grpc.is_encrypted}
    document = {
        "name": server.name,
        "version": server.version,
        "control": page.control,
        "openai": context.options.openai,
        "explains": context.options.explains,
        "metrics": page.metrics is not None,
        "why_no_metrics": page.why_no_metrics,
        "grpc": grpc,
    }
    exchange.answer(200, JSON + FRESH, orjson.dumps(document))


def _show_metrics(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer GET /ui/metrics: what the metrics port says, for the charts."""
    page = context.options.page
    if page.metrics is None:
        raise not_found(page.why_no_metrics)
    page.metrics(exchange)


ROUTES: Final[dict[bytes, Match]] = {
    b"/ui/settings": _reading(_show_settings, "metadata"),
    b"/ui/models": _reading(list_models, "model-repository"),
    b"/ui/metrics": _reading(_show_metrics, "statistics"),
}
_FILE: Final = _reading(_send_file, _NO_FILE_GROUP)


def find_page(path: bytes, page: Page) -> Match | None:
    """Return the route for a path without its query, or None."""
    if path in page.files:
        return _FILE
    if not (page.files and path.startswith(PREFIX)):
        return None
    fixed = ROUTES.get(path)
    if fixed is not None:
        return fixed
    text = path.decode("latin-1")
    name = text.removeprefix(_MODELS).removesuffix(_REPORT)
    if len(text) == len(_MODELS) + len(name) + len(_REPORT) and name and "/" not in name:
        return _reading(show_report, "model-config", unquote(name))
    return None
