"""What a model takes and returns, as the server describes it. Knows protobuf messages, not requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tritonclient.grpc import service_pb2

from slipway.config.render import config_object
from slipway.datatypes import BY_NAME, DataType
from slipway.errors import shown, unsupported
from slipway.proxy.server_message import read_message

_MAX_RANK: Final = 16


@dataclass(frozen=True, slots=True)
class TensorDescription:
    """One input or output; `shape` is that of a request, batch axis included, with -1 for what varies."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ProxiedModel:
    """A model; `max_batch_size` is 0 if its tensors do not have a batch axis."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    max_batch_size: int = 0
    is_decoupled: bool = False

    @property
    def row_inputs(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input for one row, by name."""
        skipped = 1 if self.max_batch_size else 0
        return {each.name: each.shape[skipped:] for each in self.inputs}


def describe(metadata: bytes, config: bytes) -> ProxiedModel:
    """Return the description in the responses to ModelMetadata and ModelConfig; raise UNSUPPORTED for tensors that the
    protocol does not have, and `UpstreamFailure` for what cannot be read."""
    about = read_message(service_pb2.ModelMetadataResponse, metadata)
    settings = read_message(service_pb2.ModelConfigResponse, config).config
    optional = {each.name for each in settings.input if each.optional}
    return ProxiedModel(
        about.name,
        tuple(about.versions),
        about.platform,
        tuple(_tensor(about.name, each, each.name in optional) for each in about.inputs),
        tuple(_tensor(about.name, each, False) for each in about.outputs),
        settings.max_batch_size,
        settings.model_transaction_policy.decoupled,
    )


def config_of(config: bytes) -> dict[str, object]:
    """Return the configuration in a response to ModelConfig as JSON values, as the server's HTTP front shows it."""
    return config_object(read_message(service_pb2.ModelConfigResponse, config).config)


def _tensor(model: str, message: service_pb2.ModelMetadataResponse.TensorMetadata, optional: bool) -> TensorDescription:
    datatype = BY_NAME.get(message.datatype)
    if datatype is None or len(message.shape) > _MAX_RANK:
        raise unsupported(
            f"tensor '{shown(message.name)}' of model '{model}' cannot be written as JSON: its datatype is "
            f"'{message.datatype}' and it has {len(message.shape)} dimensions"
        )
    return TensorDescription(message.name, datatype, tuple(message.shape), optional)
