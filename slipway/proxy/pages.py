"""The routes that do not run a model: health, the models, the repository index, the configuration of a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from tritonclient.grpc import service_pb2

from slipway.core.budget import Budget
from slipway.proxy.asgi import ClientGoneError, HeldBody, TooLargeError, read_body
from slipway.proxy.body import RoutedModel
from slipway.proxy.catalog import Catalog, ListedVersion
from slipway.proxy.description import TensorDescription, config_of
from slipway.proxy.failures import UpstreamFailure, plain_error
from slipway.proxy.head import Metadata, ProxiedHead, read_head
from slipway.proxy.options import ProxyOptions
from slipway.proxy.server_message import read_message
from slipway.proxy.upstream import Upstream

_HEALTH_S: Final = 5.0
_OK: Final = {"status": "OK"}
_NOT_OK: Final = {"status": "NOT OK"}
_MAX_INDEX_BODY: Final = 4096  # bytes
_NO_BOOLEAN: Final = "the body should be an object with at most one field, the boolean 'ready'"


class Health(BaseModel):
    """Whether the server answers requests; `error` says why it cannot be asked."""

    status: str
    error: str | None = None


class TensorPage(BaseModel):
    """An input or output; the shape has the batch axis, and -1 for what varies."""

    name: str
    datatype: str
    shape: list[int]
    optional: bool = False


class ModelPage(BaseModel):
    """A model with a route at `path`."""

    name: str
    versions: list[str]
    platform: str
    max_batch_size: int
    decoupled: bool
    path: str
    inputs: list[TensorPage]
    outputs: list[TensorPage]


class ModelList(BaseModel):
    """The models with a route, and those of the server that cannot be used, with the reason."""

    models: list[ModelPage]
    unavailable: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Pages:
    """The handlers."""

    upstream: Upstream
    catalog: Catalog
    options: ProxyOptions

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        unready: dict[int | str, dict[str, Any]] = {503: {"model": Health}}
        for path in ("/health", "/healthz"):
            app.add_api_route(
                path, self.health, methods=["GET"], tags=["server"], response_model=Health, responses=unready
            )
        app.add_api_route("/models", self.models, methods=["GET"], tags=["server"], response_model=ModelList)
        app.add_api_route("/models/{name:path}", self.model, methods=["GET"], tags=["server"], response_model=ModelPage)
        app.add_api_route("/v2/repository/index", self.index, methods=["POST"], tags=["server"])
        app.add_api_route("/v2/models/{name}/config", self.config, methods=["GET"], tags=["server"])

    async def health(self, request: Request) -> Response:
        """Say whether the server behind the proxy is ready."""
        asked = service_pb2.ServerReadyRequest().SerializeToString()
        seconds = min(_HEALTH_S, self.options.timeout_secs)
        try:
            answer = await self.upstream.call(
                "ServerReady", asked, self._metadata(request), limit_s=seconds, repeatable=False
            )
            is_ready = read_message(service_pb2.ServerReadyResponse, answer).ready
        except UpstreamFailure as failure:
            return JSONResponse({**_NOT_OK, "error": failure.text}, 503)
        return JSONResponse(_OK) if is_ready else JSONResponse(_NOT_OK, 503)

    async def models(self, request: Request) -> Response:
        """List the models, as they are now."""
        entries = await self.catalog.refresh(self._metadata(request))
        served = sorted(self.catalog.models)
        pages = [_page(self.catalog.models[name]) for name in served]
        others = [_entry(entry) for entry in entries if entry.name not in self.catalog.models]
        return JSONResponse({"models": pages, "unavailable": others})

    async def model(self, request: Request, name: str) -> Response:
        """Describe one model."""
        metadata = self._metadata(request)
        await self.upstream.admit(metadata)
        return JSONResponse(_page(await self.catalog.find(name, metadata)))

    async def index(self, request: Request) -> Response:
        """List all models of the server's repositories, as its own route does."""
        head, held = self._head(request), HeldBody(Budget(_MAX_INDEX_BODY))
        try:
            only_ready = _only_ready(await read_body(request.receive, head.length, _MAX_INDEX_BODY, held))
        except (TooLargeError, ClientGoneError):
            only_ready = None
        if only_ready is None:
            return Response(plain_error(_NO_BOOLEAN), 400, media_type="application/json")
        entries = await self.catalog.index(head.metadata, only_ready=only_ready)
        return JSONResponse([_entry(entry) for entry in entries])

    async def config(self, request: Request, name: str) -> Response:
        """Return the configuration of a model, as the server's own route does."""
        asked = service_pb2.ModelConfigRequest(name=name).SerializeToString()
        answer = await self.upstream.call("ModelConfig", asked, self._metadata(request))
        return Response(orjson.dumps(config_of(answer)), media_type="application/json")

    async def admits(self, request: Request) -> bool:
        """Return whether the client may learn what the proxy knows of the models."""
        try:
            await self.upstream.admit(self._metadata(request))
        except UpstreamFailure:
            return False
        return True

    def _head(self, request: Request) -> ProxiedHead:
        forwards = self.options.forward_authorization
        return read_head(request.scope["headers"], self.upstream.metadata, forwards_authorization=forwards)

    def _metadata(self, request: Request) -> Metadata:
        return self._head(request).metadata


def _only_ready(body: bytes) -> bool | None:
    """Return the field `ready` of a body, None if the body is not as it should be."""
    if not body.strip():
        return False
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict) or fields.keys() - {"ready"}:
        return None
    ready = fields.get("ready", False)
    return ready if isinstance(ready, bool) else None


def _entry(entry: ListedVersion) -> dict[str, str]:
    return {name: value for name, value in asdict(entry).items() if value or name == "name"}


def _page(model: RoutedModel) -> dict[str, Any]:
    about = model.description
    return {
        "name": about.name,
        "versions": list(about.versions),
        "platform": about.platform,
        "max_batch_size": about.max_batch_size,
        "decoupled": about.is_decoupled,
        "path": f"/models/{about.name}",
        "inputs": [_tensor(each) for each in about.inputs],
        "outputs": [_tensor(each) for each in about.outputs],
    }


def _tensor(tensor: TensorDescription) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype.name,
        "shape": list(tensor.shape),
        "optional": tensor.optional,
    }
