"""What the metadata of a call decides: whether it may be made at all, and which parameters its requests get.

Source: Triton `src/grpc/grpc_server.cc` (which RPC belongs to which group), `src/grpc/infer_handler.h`. Does not know
the engines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from slipway.config.header_pattern import HeaderPattern
from slipway.config.restrictions import Restriction
from slipway.core.request import InferRequest

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

Metadata = Iterable[tuple[str, str | bytes]]


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
