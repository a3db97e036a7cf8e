"""Lines over gRPC: Triton's service, with tensors in raw form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from slipway.client.endpoint import Endpoint
from slipway.client.grpc_codec import STATUS_CODES
from slipway.client.transport import CHANNEL_OPTIONS
from slipway.core.bytes_codec import TruncatedElementError, decode_bytes, encode_bytes
from slipway.errors import Code, SlipwayError, invalid
from slipway.lines.connection import Described
from slipway.lines.text_model import TextModel

_SERVICE: Final = "/inference.GRPCInferenceService/"


class GrpcModelConnection:
    """A `ModelConnection` over gRPC. `credentials` (of grpc) encrypt it, `options` are further ones of the channel."""

    def __init__(
        self, endpoint: Endpoint, credentials: Any = None, options: Sequence[tuple[str, str | int]] = ()
    ) -> None:
        import grpc.aio
        from tritonclient.grpc import service_pb2

        self._messages = service_pb2
        self._timeout = endpoint.timeout
        self._metadata = [(name.lower(), value) for name, value in endpoint.headers]  # as gRPC wants them
        target, given = str(endpoint), [*CHANNEL_OPTIONS, *options]
        self._channel = (
            grpc.aio.secure_channel(target, credentials, given)
            if credentials
            else grpc.aio.insecure_channel(target, given)
        )
        self._failure = grpc.aio.AioRpcError
        self._infer = self._method("ModelInfer", service_pb2.ModelInferResponse)

    async def describe(self, model: str, version: str) -> Described:
        """Return the model's metadata and configuration."""
        from google.protobuf.json_format import MessageToDict

        messages = self._messages
        asked = {"name": model, "version": version}
        metadata = await self._call(
            self._method("ModelMetadata", messages.ModelMetadataResponse), messages.ModelMetadataRequest(**asked)
        )
        config = await self._call(
            self._method("ModelConfig", messages.ModelConfigResponse), messages.ModelConfigRequest(**asked)
        )
        return Described(
            MessageToDict(metadata, preserving_proto_field_name=True),
            MessageToDict(config.config, preserving_proto_field_name=True),
        )

    async def is_ready(self, model: str, version: str) -> bool:
        """Return whether the model can be asked."""
        method = self._method("ModelReady", self._messages.ModelReadyResponse)
        answer = await self._call(method, self._messages.ModelReadyRequest(name=model, version=version))
        return bool(answer.ready)

    async def infer(self, model: TextModel, lines: Sequence[bytes]) -> list[list[bytes]]:
        """Return the values of the text output for each line."""
        messages = self._messages
        request = messages.ModelInferRequest(
            model_name=model.name,
            model_version=model.version,
            inputs=[
                messages.ModelInferRequest.InferInputTensor(
                    name=model.input_name, datatype="BYTES", shape=model.shape(len(lines))
                )
            ],
            outputs=[messages.ModelInferRequest.InferRequestedOutputTensor(name=model.output_name)],
            raw_input_contents=[encode_bytes(lines)],
        )
        response = await self._call(self._infer, request)
        return model.rows_of(_values(response, model.output_name), len(lines))

    async def models(self) -> list[str]:
        """Return the names of the models of the server, as far as it reports them."""
        method = self._method("RepositoryIndex", self._messages.RepositoryIndexResponse)
        index = await self._call(method, self._messages.RepositoryIndexRequest())
        return [each.name for each in index.models]

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    def _method(self, name: str, response: Any) -> Any:
        return self._channel.unary_unary(
            _SERVICE + name,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._timeout, metadata=self._metadata)
        except self._failure as error:
            code = STATUS_CODES.get(error.code().name, Code.INVALID_ARG)
            raise SlipwayError(code, error.details() or error.code().name) from None


def _values(response: Any, name: str) -> list[bytes]:
    """Return the elements of an output, in raw or typed form."""
    names = [output.name for output in response.outputs]
    if name not in names:
        raise invalid(f"the response does not contain the output '{name}'")
    place = names.index(name)
    if not response.raw_output_contents:
        return list(response.outputs[place].contents.bytes_contents)
    try:
        return decode_bytes(response.raw_output_contents[place])
    except TruncatedElementError as error:
        raise invalid(f"output '{name}' is cut short: {error}") from None
