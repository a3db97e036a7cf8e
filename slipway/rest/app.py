"""The HTTP front as one callable: finds the route for an exchange and runs its handler.

Source of the routes: KServe v2 and Triton's extensions (http_server.cc matches whole paths, so a trailing slash makes
a different path). A model name is one percent-encoded path segment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from slipway.core.repeats import Repeats
from slipway.core.version import requested_version
from slipway.engine.api import Dataplane
from slipway.errors import SlipwayError, unsupported
from slipway.rest import generate, health, infer, metadata, repository, settings, shared_memory
from slipway.rest.context import Context, Match, ModelTarget, RestOptions, Route
from slipway.rest.dispatch import Dispatcher
from slipway.rest.exchange import Exchange
from slipway.rest.framing import HttpHead
from slipway.rest.openai.routes import find_openai
from slipway.rest.page.routes import find_page
from slipway.rest.response import JSON, error_body

_MAX_REMEMBERED: Final = 4096  # paths; a client that sends more is making them up
_MAX_PATH: Final = 256  # bytes of a path that is remembered


def _no_repository_name(*_: object) -> None:
    raise unsupported("'repository_name' specification is not supported")


def _settings(handler: Route, group: str, model: str = "") -> Match:
    return Match(b"GET", handler, group, ModelTarget(model), changes_state=True, other=b"POST")


HEALTH_PATHS: Final = frozenset({b"/v2/health/live", b"/v2/health/ready"})  # of the server itself, open to everybody
_FIXED: Final = {
    "/v2": Match(b"GET", metadata.server, "metadata"),
    "/v2/health/live": Match(b"GET", health.live, "health"),
    "/v2/health/ready": Match(b"GET", health.ready, "health"),
    "/v2/models/stats": Match(b"GET", metadata.statistics, "statistics"),
    "/v2/trace/setting": _settings(settings.trace, "trace"),
    "/v2/logging": _settings(settings.logging, "logging"),
    "/v2/repository/index": Match(b"POST", repository.index, "model-repository"),
}
_MODEL: Final = {
    "": (b"GET", metadata.model, "metadata"),
    "ready": (b"GET", health.model_ready, "health"),
    "config": (b"GET", metadata.config, "model-config"),
    "stats": (b"GET", metadata.statistics, "statistics"),
    "infer": (b"POST", infer.infer, "inference"),
    "generate": (b"POST", generate.generate, "inference"),
    "generate_stream": (b"POST", generate.generate_stream, "inference"),
}
_REPOSITORY: Final = {"load": repository.load, "unload": repository.unload}
_SHARED_MEMORY: Final[dict[str, dict[str, tuple[bytes, Route]]]] = {
    "systemsharedmemory": {
        "status": (b"GET", shared_memory.status),
        "register": (b"POST", shared_memory.register),
        "unregister": (b"POST", shared_memory.unregister),
    },
    "cudasharedmemory": {
        "status": (b"GET", shared_memory.cuda_status),
        "register": (b"POST", shared_memory.register_cuda),
        "unregister": (b"POST", shared_memory.unregister_cuda),
    },
}


def build_app(dataplane: Dataplane, options: RestOptions | None = None) -> Callable[[Exchange], None]:
    """Return the handler with which a listener serves `dataplane`."""
    repeats = None if dataplane.cache_report() is None else Repeats[HttpHead]()
    context = Context(dataplane, options or RestOptions(), repeats=repeats)
    app = App(context)
    return Dispatcher(context, app.route).handle if context.options.restrictions else app.handle


class App:
    """Routes exchanges to handlers and turns the errors they raise into responses."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._matches: dict[bytes, Match] = {}

    def handle(self, exchange: Exchange) -> None:
        """Answer the exchange, or start the work that will answer it."""
        try:
            match = self._matches.get(exchange.path) or self._remember(exchange.path)
            if match is None:
                exchange.answer(404, JSON, error_body("Not Found"))
            else:
                self._answer(exchange, match)
        except SlipwayError as error:
            exchange.fail(error)
        except Exception as error:  # noqa: BLE001  a bug must not cost other clients their connections
            exchange.fail_unexpectedly(error)

    def _answer(self, exchange: Exchange, match: Match) -> None:
        if match.envelope is not None:
            exchange.envelope = match.envelope
        if exchange.method != match.method and exchange.method != match.other:  # noqa: PLR1714  a tuple costs more
            exchange.refuse(405, "Method Not Allowed")
        elif refusal := self._context.options.access.refusal(exchange, changes_state=match.changes_state):
            exchange.refuse(refusal.status, refusal.message)
        else:
            match.handler(self._context, exchange, match.target)

    def route(self, exchange: Exchange) -> Match | None:
        """Return the route for an exchange, or None; raise `SlipwayError` for an invalid version."""
        return self._matches.get(exchange.path) or self._remember(exchange.path)

    def _remember(self, path: bytes) -> Match | None:
        match = find(path)
        if match is None and self._context.options.openai:
            match = find_openai(path)
        if match is None:
            match = find_page(path, self._context.options.page)
        if match is not None and len(path) <= _MAX_PATH:
            if len(self._matches) >= _MAX_REMEMBERED:
                self._matches.clear()
            self._matches[path] = match
        return match


def find(path: bytes) -> Match | None:
    """Return the route for a path without its query, or None; raise `SlipwayError` for an invalid version."""
    text = path.decode("latin-1")
    fixed = _FIXED.get(text)
    if fixed is not None:
        return fixed
    match text.split("/")[1:]:
        case ["v2", "models", name, "trace", "setting"] if name:
            return _settings(settings.trace, "trace", unquote(name))
        case ["v2", "models", name, *rest] if name:
            return _model_route(name, rest)
        case ["v2", "repository", "models", name, action] if name and action in _REPOSITORY:
            target = ModelTarget(unquote(name))
            return Match(b"POST", _REPOSITORY[action], "model-repository", target, changes_state=True)
        case ["v2", "repository", repository_name, "index"] if repository_name:
            return Match(b"POST", _no_repository_name, "model-repository")
        case ["v2", "repository", repository_name, "models", name, action] if (
            repository_name and name and action in _REPOSITORY
        ):
            return Match(b"POST", _no_repository_name, "model-repository", changes_state=True)
        case ["v2", kind, *rest] if kind in _SHARED_MEMORY:
            return _region_route(kind, rest)
    return None


def _model_route(name: str, rest: list[str]) -> Match | None:
    version = ""
    if len(rest) >= 2 and rest[0] == "versions":
        version, rest = rest[1], rest[2:]
        if not (version.isascii() and version.isdigit()):
            return None
    if len(rest) > 1 or (rest and rest[0] not in _MODEL) or rest == [""]:
        return None
    method, handler, group = _MODEL[rest[0] if rest else ""]
    return Match(method, handler, group, ModelTarget(unquote(name), requested_version(version)))


def _region_route(kind: str, rest: list[str]) -> Match | None:
    name = ""
    if len(rest) == 3 and rest[0] == "region" and rest[1]:
        name, rest = rest[1], rest[2:]
    if len(rest) != 1 or rest[0] not in _SHARED_MEMORY[kind]:
        return None
    method, handler = _SHARED_MEMORY[kind][rest[0]]
    return Match(method, handler, "shared-memory", ModelTarget(unquote(name)), changes_state=method == b"POST")
