"""What passes between a client's parts: a call to send, its answer, and the typed answers of servers. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec

from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Raw
from slipway.errors import shown, unavailable

T = TypeVar("T")
Struct = TypeVar("Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One call: `target` is a path (HTTP) or a method (gRPC), `parts` its body. One that has to be sent `once` may have
    had an effect although no answer came."""

    target: str
    parts: Sequence[Raw] = ()
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    once: bool = False

    @property
    def body(self) -> bytes:
        """The body as one piece."""
        return bytes(self.parts[0]) if len(self.parts) == 1 else b"".join(self.parts)

    @property
    def size(self) -> int:
        """The bytes of the body."""
        return sum(map(len, self.parts))


@dataclass(frozen=True, slots=True)
class Incoming:
    """An answer, or one event of a stream. gRPC's have no status: a failed call is an error."""

    body: bytes
    status: int = 200
    headers: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """A call, and how to read its answer, which raises the server's error as `SlipwayError`. If it `has_final`, a
    stream without a final response was cut off."""

    outgoing: Outgoing
    read: Callable[[Incoming], T]
    has_final: bool = False


class TensorInfo(msgspec.Struct, frozen=True):
    """One input or output of a model; `shape` starts with -1 if the model has a batch axis."""

    name: str
    datatype: str
    shape: Annotated[tuple[int, ...], msgspec.Meta(max_length=32)] = ()


class ModelInfo(msgspec.Struct, frozen=True):
    """What a server reports about a model."""

    name: str
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()


class ServerInfo(msgspec.Struct, frozen=True):
    """What a server reports about itself."""

    name: str = ""
    version: str = ""
    extensions: tuple[str, ...] = ()


class IndexRow(msgspec.Struct, frozen=True):
    """One version of a model in the repository index; `state` is READY, UNAVAILABLE, LOADING, UNLOADING, or "" for a
    model that was never loaded."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


def typed(value: Any, kind: type[Struct], what: str) -> Struct:
    """Return a server's answer as a value of `kind`; raise UNAVAILABLE if it is not of the protocol."""
    try:
        return msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise unavailable(f"{what} is not of the protocol: {shown(error)}") from None


@dataclass(frozen=True, slots=True)
class ServerQuestion:
    """One call about a server or a model; `name` is a row of each codec's table."""

    name: str
    model: str = ""
    version: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Codec(Protocol):
    """The bytes of one protocol."""

    def infer(self, request: InferRequest) -> Asked[InferResponse]:
        """Return the call for an inference with one response."""

    def stream(self, request: InferRequest, model: ModelInfo) -> Asked[InferResponse]:
        """Return the call for an inference with any number of responses, and how to read each."""

    def ask(self, question: ServerQuestion) -> Asked[Any]:
        """Return the call for a question; its answer is as plain as JSON."""
