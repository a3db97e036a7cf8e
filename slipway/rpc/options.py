"""The gRPC front's settings, with the names and defaults of tritonserver's flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway.config.header_pattern import HeaderPattern
from slipway.config.restrictions import Restriction

# --grpc-infer-response-compression-level -> grpc_compression_level
COMPRESSION_LEVELS: Final = {"none": 0, "low": 1, "medium": 2, "high": 3}
NO_AGE_LIMIT: Final = 0
_PINGS_WITHOUT_DATA: Final = 2
_PING_INTERVAL_MS: Final = 300_000
_PING_STRIKES: Final = 2
_BESIDE_TENSORS: Final = 64 << 10  # bytes


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """Settings of one listener; times are in milliseconds, certificates are paths of PEM files."""

    grpc_address: str = "127.0.0.1"
    grpc_port: int = 8001
    reuse_grpc_port: bool = False
    grpc_engine: str = "auto"  # auto, asyncio, grpcio or native
    grpc_use_ssl: bool = False
    grpc_use_ssl_mutual: bool = False
    grpc_server_cert: str = ""
    grpc_server_key: str = ""
    grpc_root_cert: str = ""
    grpc_infer_response_compression_level: str = "none"
    grpc_keepalive_time: int = 7_200_000
    grpc_keepalive_timeout: int = 20_000
    grpc_keepalive_permit_without_calls: bool = False
    grpc_http2_max_pings_without_data: int = _PINGS_WITHOUT_DATA
    grpc_http2_min_recv_ping_interval_without_data: int = _PING_INTERVAL_MS
    grpc_http2_max_ping_strikes: int = _PING_STRIKES
    grpc_max_message_bytes: int = 64 << 20  # of a request, compressed and decompressed
    grpc_max_connection_age: int = NO_AGE_LIMIT
    grpc_max_connection_age_grace: int = NO_AGE_LIMIT
    grpc_restricted_protocol: tuple[Restriction, ...] = ()
    grpc_header_forward_pattern: HeaderPattern | None = None
    log_access: bool = False

    @property
    def target(self) -> str:
        """The address to bind, as gRPC writes it."""
        host = f"[{self.grpc_address}]" if ":" in self.grpc_address else self.grpc_address
        return f"{host}:{self.grpc_port}"

    @property
    def max_message_bytes(self) -> int:
        """The size of the largest message: room for the names and shapes beside a tensor of the limit's size."""
        return min(self.grpc_max_message_bytes + _BESIDE_TENSORS, 2**31 - 1)

    def beyond_asyncio(self) -> str:
        """Return the first requested feature that the asyncio engine does not support, or ""."""
        if self.grpc_infer_response_compression_level != "none":
            return "response compression"
        if self.grpc_max_connection_age != NO_AGE_LIMIT:
            return "a maximum connection age"
        if self.grpc_http2_max_pings_without_data != _PINGS_WITHOUT_DATA:
            return "limits on pings"
        return ""

    def beyond_native(self) -> str:
        """Return the first requested feature that pygrpc-native does not support, or ""."""
        if self.grpc_use_ssl or self.grpc_use_ssl_mutual:
            return "TLS"
        if self.grpc_infer_response_compression_level != "none":
            return "response compression"
        if self.grpc_max_connection_age != NO_AGE_LIMIT:
            return "a maximum connection age"
        if self._limits_pings:
            return "limits on pings"
        if self.grpc_restricted_protocol:  # the native engine would have to look at the metadata of every call
            return "restricted protocols"
        if self.grpc_header_forward_pattern is not None:
            return "header forwarding"
        return ""

    @property
    def _limits_pings(self) -> bool:
        """Whether pings are limited other than by default. Without strikes (0) a client's pings are not limited, which
        is also what pygrpc-native does."""
        strikes, interval = self.grpc_http2_max_ping_strikes, self.grpc_http2_min_recv_ping_interval_without_data
        counts = strikes and (strikes, interval) != (_PING_STRIKES, _PING_INTERVAL_MS)
        return bool(counts) or self.grpc_http2_max_pings_without_data != _PINGS_WITHOUT_DATA
