"""The FastAPI application: the parts, put together; the channel and the catalog live as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from starlette.routing import Route

from slipway import __version__
from slipway.core.budget import Budget, default_budget
from slipway.errors import unforeseen
from slipway.proxy.catalog import Catalog
from slipway.proxy.docs_page import add_docs
from slipway.proxy.failures import UNEXPECTED, UpstreamFailure
from slipway.proxy.host_guard import HostGuard
from slipway.proxy.openapi import add_models
from slipway.proxy.options import ProxyOptions
from slipway.proxy.pages import Pages
from slipway.proxy.predict import Predict
from slipway.proxy.upstream import Upstream
from slipway.rest.access import access_to

_TITLE: Final = "Models"


def build_app(options: ProxyOptions) -> FastAPI:
    """Return the application; it connects to the server when it is started."""
    upstream = Upstream(options)
    catalog = Catalog(upstream, options.poll_secs)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        upstream.open()
        following = asyncio.create_task(catalog.follow())
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await upstream.close()

    app = FastAPI(title=_TITLE, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    # First, and past FastAPI's own way to a handler: `Predict` says why.
    predict = Route(
        "/models/{name:path}", Predict(upstream, catalog, options, Budget(default_budget())), methods=["POST"]
    )
    app.router.routes.insert(0, predict)
    pages = Pages(upstream, catalog, options)
    pages.add_to(app)
    add_docs(app)
    app.add_middleware(HostGuard, access=access_to(options.address, options.http_allowed_hosts))
    app.add_exception_handler(UpstreamFailure, _failed)
    app.add_exception_handler(Exception, _unexpected)
    app.openapi = _Description(app, catalog)  # type: ignore[method-assign]  # as FastAPI's documentation does
    if options.forward_authorization:
        _guard_description(app, pages)
    return app


def _guard_description(app: FastAPI, pages: Pages) -> None:
    """Keep the models out of the OpenAPI document of clients without a key."""
    whole = next(route for route in app.routes if isinstance(route, Route) and route.path == app.openapi_url)

    async def description(request: Request) -> Response:
        if await pages.admits(request):
            response: Response = await whole.endpoint(request)
            return response
        return JSONResponse(_fixed_routes(app))

    app.router.routes.insert(0, Route(whole.path, description))


def _fixed_routes(app: FastAPI) -> dict[str, Any]:
    return get_openapi(title=app.title, version=app.version, routes=app.routes)


class _Description:
    """The OpenAPI document of the routes and the models that there are now; called as FastAPI calls its own."""

    def __init__(self, app: FastAPI, catalog: Catalog) -> None:
        self._app = app
        self._catalog = catalog
        self._generation = -1
        self._document: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        """Return the document, made once for each change of the models."""
        if self._generation != self._catalog.generation:
            self._document = add_models(_fixed_routes(self._app), self._catalog.models.values())
            self._generation = self._catalog.generation
        return self._document


async def _failed(_: Request, failure: Exception) -> Response:
    if not isinstance(failure, UpstreamFailure):
        raise failure
    return Response(failure.body(), failure.status, media_type="application/json")


async def _unexpected(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": UNEXPECTED, "details": unforeseen(error).message}, 500)
