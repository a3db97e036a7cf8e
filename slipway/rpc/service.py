"""Every unary RPC except ModelInfer, as one table: path -> message class and handler.

A handler takes a decoded message and returns one, or raises `SlipwayError`. RPCs that the server does not support have
a row too, with the error text. A message is parsed on the event loop and therefore small; only the files of a model to
load may be large, and count in the budget of all connections. Does not know the engines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2 as pb

from slipway.core.large_work import LARGE
from slipway.core.version import requested_version
from slipway.engine.api import Dataplane, TensorMetadata
from slipway.errors import Code, SlipwayError, internal, invalid
from slipway.rpc.in_flight import InFlight
from slipway.rpc.shared_memory import shared_memory_rows
from slipway.wire import protobuf
from slipway.wire.protobuf_load import refuse_large_load
from slipway.wire.protobuf_log import log_settings_response, read_log_settings

INFERENCE_SERVICE: Final = "inference.GRPCInferenceService"
MODEL_INFER: Final = f"/{INFERENCE_SERVICE}/ModelInfer"
MODEL_STREAM_INFER: Final = f"/{INFERENCE_SERVICE}/ModelStreamInfer"
MODEL_LOAD: Final = f"/{INFERENCE_SERVICE}/RepositoryModelLoad"
HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"

Handler = Callable[[Any], Awaitable[Message]]


class Service:
    """The less frequent RPCs of one dataplane."""

    def __init__(self, dataplane: Dataplane, in_flight: InFlight) -> None:
        self._dataplane = dataplane
        self._in_flight = in_flight
        handlers: dict[str, tuple[type[Message], Handler]] = {
            "ServerLive": (pb.ServerLiveRequest, self._server_live),
            "ServerReady": (pb.ServerReadyRequest, self._server_ready),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": (pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": (pb.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._repository_index),
            "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, self._unload),
            "TraceSetting": (pb.TraceSettingRequest, self._trace_setting),
            "LogSettings": (pb.LogSettingsRequest, self._log_settings),
        }
        handlers |= shared_memory_rows(dataplane.regions)
        self.methods = {f"/{INFERENCE_SERVICE}/{name}": row for name, row in handlers.items()}
        self.methods[HEALTH_CHECK] = (health_pb2.HealthCheckRequest, self._health)

    async def call(self, path: str, payload: bytes) -> bytes:
        """Return the encoded response of the RPC `path`; raise `SlipwayError` if the RPC fails."""
        if len(payload) <= LARGE:
            return await self._handle(path, payload)
        if path != MODEL_LOAD:
            raise invalid(f"a message of this RPC may have at most {LARGE} bytes")
        self._in_flight.hold(len(payload))
        try:
            refuse_large_load(payload)
            return await self._handle(path, payload)
        finally:
            self._in_flight.release(len(payload))

    async def _handle(self, path: str, payload: bytes) -> bytes:
        message_class, handler = self.methods[path]
        try:
            message = message_class.FromString(payload)
        except DecodeError:
            raise internal("Unable to parse request") from None
        return (await handler(message)).SerializeToString()

    async def _health(self, _: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
        """Answer for the whole server; like Triton, ignore the service name."""
        status = health_pb2.HealthCheckResponse.SERVING if self._dataplane.ready() else _NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)

    async def _server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=self._dataplane.live())

    async def _server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._dataplane.ready())

    async def _model_ready(self, message: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        version = requested_version(message.version)
        try:
            ready = await self._dataplane.model_ready(message.name, version)
        except SlipwayError as error:
            if error.code is Code.UNAVAILABLE:  # no model will ever be
                raise
            ready = False  # gRPC does not report any other reason, not even for unknown models
        return pb.ModelReadyResponse(ready=ready)

    async def _server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        metadata = self._dataplane.server_metadata()
        return pb.ServerMetadataResponse(name=metadata.name, version=metadata.version, extensions=metadata.extensions)

    async def _model_metadata(self, message: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        metadata = self._dataplane.model_metadata(message.name, requested_version(message.version))
        return pb.ModelMetadataResponse(
            name=metadata.name,
            versions=metadata.versions,
            platform=metadata.platform,
            inputs=map(_tensor_metadata, metadata.inputs),
            outputs=map(_tensor_metadata, metadata.outputs),
        )

    async def _model_config(self, message: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        config = self._dataplane.model_config(message.name, requested_version(message.version))
        return pb.ModelConfigResponse(config=config)

    async def _model_statistics(self, message: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        response = pb.ModelStatisticsResponse()
        for row in self._dataplane.model_statistics(message.name, requested_version(message.version)):
            protobuf.model_statistics(row.name, row.version, row.statistics, message=response.model_stats.add())
        return response

    async def _repository_index(self, message: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        protobuf.refuse_repository_name(message.repository_name)
        rows = self._dataplane.repository_index(message.ready)
        return protobuf.repository_index((row.name, row.version, row.state, row.reason) for row in rows)

    async def _load(self, message: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        protobuf.refuse_repository_name(message.repository_name)
        config, files = protobuf.load_parameters(message)
        await self._dataplane.load_model(message.model_name, config, files)
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, message: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        protobuf.refuse_repository_name(message.repository_name)
        dependents = protobuf.unload_dependents(message)
        await self._dataplane.unload_model(message.model_name, dependents)
        return pb.RepositoryModelUnloadResponse()

    async def _trace_setting(self, message: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
        settings = self._dataplane.trace_settings(message.model_name)  # an unknown model is refused first
        if message.settings:
            given = {name: tuple(setting.value) for name, setting in message.settings.items()}
            settings = self._dataplane.trace_settings(message.model_name, given)
        response = pb.TraceSettingResponse()
        for name, values in settings.items():
            response.settings[name].value.extend(values)
        return response

    async def _log_settings(self, message: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        settings = self._dataplane.log_settings
        settings.update(read_log_settings(message))
        return log_settings_response(settings.shown())


_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


def _tensor_metadata(tensor: TensorMetadata) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
