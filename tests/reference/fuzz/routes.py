"""Requests to every route that is not inference: metadata, health, repository, shared memory, tracing, logging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from tests.reference.fuzz.documents import Members, members
from tests.reference.fuzz.http_draft import HttpDraft
from tests.reference.fuzz.signatures import Signature
from tests.reference.fuzz.values import NAMES
from tests.reference.grpc_cases import GrpcCase

_FIXED = (
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("POST", "/v2/repository/index"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/systemsharedmemory/region/r/status"),
    ("POST", "/v2/systemsharedmemory/region/r/register"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("POST", "/v2/cudasharedmemory/region/r/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
    ("GET", "/"),
    ("GET", "/v2/models"),
    ("GET", "/v2/models/stats"),
    ("GET", "/metrics"),
)
_MODEL = (
    ("GET", ()),
    ("GET", ("ready",)),
    ("GET", ("config",)),
    ("GET", ("stats",)),
    ("GET", ("versions", "1")),
    ("GET", ("versions", "1", "ready")),
    ("GET", ("versions", "1", "config")),
    ("GET", ("trace", "setting")),
)


def draft_route(rng: Random, signatures: tuple[Signature, ...]) -> HttpDraft:
    """Return a valid request to a route that asks about the server or a model."""
    if rng.random() < 0.5:
        verb, path = rng.choice(_FIXED)
        draft = HttpDraft(path.split("/"), Members(), None, verb)
        if path.endswith("index"):
            draft.document = members(ready=rng.random() < 0.5) if rng.random() < 0.5 else Members()
        elif "register" in path:
            draft.document = members(key="/k", offset=0, byte_size=64)
        return draft
    verb, rest = rng.choice(_MODEL)
    return HttpDraft(["", "v2", "models", rng.choice(signatures).name, *rest], Members(), None, verb)


@dataclass(slots=True)
class RouteCall:
    """One gRPC call that is not inference."""

    method: str
    request: Message

    def finish(self, name: str) -> GrpcCase:
        """Return the call to make."""
        return GrpcCase(name, self.method, self.request)


_CALLS: dict[str, Callable[[str, str], Message]] = {
    "ServerLive": lambda _model, _version: pb.ServerLiveRequest(),
    "ServerReady": lambda _model, _version: pb.ServerReadyRequest(),
    "ServerMetadata": lambda _model, _version: pb.ServerMetadataRequest(),
    "ModelReady": lambda model, version: pb.ModelReadyRequest(name=model, version=version),
    "ModelMetadata": lambda model, version: pb.ModelMetadataRequest(name=model, version=version),
    "ModelConfig": lambda model, version: pb.ModelConfigRequest(name=model, version=version),
    "ModelStatistics": lambda model, version: pb.ModelStatisticsRequest(name=model, version=version),
    "RepositoryIndex": lambda _model, _version: pb.RepositoryIndexRequest(),
    "SystemSharedMemoryStatus": lambda model, _version: pb.SystemSharedMemoryStatusRequest(name=model),
    "SystemSharedMemoryRegister": lambda model, _version: pb.SystemSharedMemoryRegisterRequest(name=model, key="/k"),
    "SystemSharedMemoryUnregister": lambda model, _version: pb.SystemSharedMemoryUnregisterRequest(name=model),
    "CudaSharedMemoryStatus": lambda model, _version: pb.CudaSharedMemoryStatusRequest(name=model),
    "TraceSetting": lambda model, _version: pb.TraceSettingRequest(model_name=model),
    "LogSettings": lambda _model, _version: pb.LogSettingsRequest(),
}


def draft_call(rng: Random, signatures: tuple[Signature, ...]) -> RouteCall:
    """Return a valid gRPC call that asks about the server or a model."""
    method = rng.choice(sorted(_CALLS))
    return RouteCall(method, _CALLS[method](rng.choice(signatures).name, rng.choice(("", "1"))))


def other_name(call: RouteCall, rng: Random) -> None:
    """Ask about a model that does not exist."""
    for field in ("name", "model_name", "repository_name"):
        if field in call.request.DESCRIPTOR.fields_by_name:
            setattr(call.request, field, rng.choice(NAMES))


def other_version(call: RouteCall, rng: Random) -> None:
    """Ask about a version that does not exist, or is not a number."""
    if "version" in call.request.DESCRIPTOR.fields_by_name:
        call.request.version = rng.choice(("0", "01", "2", "3", "9", "-1", "+1", "1.0", " 1", "1 ", "x", "9" * 30))


CALL_CHANGES: tuple[Callable[[RouteCall, Random], None], ...] = (other_name, other_version)
