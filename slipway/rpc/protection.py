"""What the metadata of a call decides: whether it may be made at all, and which parameters its requests get.

Source: Triton `src/grpc/grpc_server.cc` (which RPC belongs to which group), `src/grpc/infer_handler.h`. Does not know
the engines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from slipway.api_keys import API_KEY_HEADER, AUTHORIZATION, ApiKeys
from slipway.config.header_pattern import HeaderPattern
from slipway.config.restrictions import EXPLAINING_GROUPS, Restriction, refusal_text
from slipway.core.explanation import EXPLAIN_HEADER, is_wanted
from slipway.core.request import InferRequest
from slipway.errors import Code, unavailable
from slipway.rpc.status import GRPC_STATUS, UNAUTHENTICATED

HEADER_PREFIX: Final = "triton-grpc-protocol-"
# RPC -> the group by which it may be restricted; health checks of gRPC itself count as those of the server.
RPC_GROUPS: Final = {
    "Check": "health",
    "ServerLive": "health",
    "ServerReady": "health",
    "ModelReady": "health",
    "ServerMetadata": "metadata",
    "ModelMetadata": "metadata",
    "ModelConfig": "model-config",
    "ModelStatistics": "statistics",
    "ModelInfer": "inference",
    "ModelStreamInfer": "inference",
    "RepositoryIndex": "model-repository",
    "RepositoryModelLoad": "model-repository",
    "RepositoryModelUnload": "model-repository",
    "SystemSharedMemoryStatus": "shared-memory",
    "SystemSharedMemoryRegister": "shared-memory",
    "SystemSharedMemoryUnregister": "shared-memory",
    "CudaSharedMemoryStatus": "shared-memory",
    "CudaSharedMemoryRegister": "shared-memory",
    "CudaSharedMemoryUnregister": "shared-memory",
    "TraceSetting": "trace",
    "LogSettings": "logging",
}

OPEN_RPCS: Final = frozenset({"Check", "ServerLive", "ServerReady"})  # the server's own health needs no API key

Metadata = Iterable[Sequence[Any]]  # keys with their values, str or bytes


class CallRefusal(NamedTuple):
    """The status, by its number, and the text with which a call is refused."""

    status: int
    text: str


class CallGuard:
    """Decides by the metadata of a call whether it is refused: for lack of an API key, then of a group's header."""

    def __init__(self, keys: ApiKeys | None, restrictions: Mapping[str, Restriction]) -> None:
        self._keys = keys
        self._restrictions = restrictions

    def guards(self, path: str) -> bool:
        """Return whether calls of this RPC may be refused."""
        return self._keys_of(path) is not None or restriction_of(path, self._restrictions) is not None

    def refusal(self, path: str, metadata: Metadata) -> CallRefusal | None:
        """Return why a call of this RPC is refused; None if it is not."""
        keys = self._keys_of(path)
        reason = "" if keys is None else _key_refusal(keys, metadata)
        if reason:
            return CallRefusal(UNAUTHENTICATED, reason)
        restriction = restriction_of(path, self._restrictions)
        if restriction is None or is_admitted(restriction, metadata):
            return None
        return CallRefusal(GRPC_STATUS[Code.UNAVAILABLE], refusal_text(restriction, "protocol"))

    def _keys_of(self, path: str) -> ApiKeys | None:
        return None if path.rpartition("/")[2] in OPEN_RPCS else self._keys


def _key_refusal(keys: ApiKeys, metadata: Metadata) -> str:
    found: dict[str, list[bytes]] = {AUTHORIZATION: [], API_KEY_HEADER: []}
    for name, value in metadata:
        if name in found:
            found[name].append(value.encode(errors="surrogateescape") if isinstance(value, str) else value)
    return keys.refusal(*(b", ".join(values) for values in found.values()))  # a key does not contain a space


def check_explanation(restrictions: Mapping[str, Restriction], metadata: Metadata) -> None:
    """Raise UNAVAILABLE, as the RPCs themselves do, if a request may not be explained: that shows what the RPCs for the
    configuration and the statistics show."""
    for group in EXPLAINING_GROUPS:
        restriction = restrictions.get(group)
        if restriction is not None and not is_admitted(restriction, metadata):
            raise unavailable(refusal_text(restriction, "protocol"))


def asks_for_explanations(metadata: Metadata) -> bool:
    """Return whether the metadata of a stream asks to explain its requests; raise INVALID_ARG if it does not say."""
    given = [value for key, value in metadata if key == EXPLAIN_HEADER]
    return True in [is_wanted(value if isinstance(value, str) else value.decode("latin-1")) for value in given]


def restriction_of(path: str, restrictions: Mapping[str, Restriction]) -> Restriction | None:
    """Return the restriction, by group, of the RPC with this path."""
    return restrictions.get(RPC_GROUPS[path.rpartition("/")[2]])


def is_admitted(restriction: Restriction, metadata: Metadata) -> bool:
    """Return whether the metadata of a call has the key, once."""
    name = restriction.header.lower()
    given = [value for key, value in metadata if key == name]
    if len(given) != 1:
        return False
    return restriction.admits(given[0].encode() if isinstance(given[0], str) else given[0])


@dataclass(frozen=True, slots=True)
class ForwardedHeaders:
    """The metadata of a call, and which of it becomes parameters of the call's requests."""

    pattern: HeaderPattern
    headers: tuple[tuple[str, str], ...]

    @staticmethod
    def of(pattern: HeaderPattern, metadata: Metadata) -> ForwardedHeaders:
        """Return the metadata of a call, apart from binary values."""
        return ForwardedHeaders(pattern, tuple((name, value) for name, value in metadata if isinstance(value, str)))

    def add_to(self, request: InferRequest) -> None:
        """Add the parameters; raise INVALID_ARG for a reserved name."""
        for name, value in self.headers:
            self.pattern.add(name, value, request.parameters)
