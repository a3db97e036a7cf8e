"""What the options of a server rule out for the proxy that `slipway serve --proxy` starts beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

_BESIDE: Final = "run 'slipway proxy' beside the server instead"


class ProxiedServer(Protocol):
    """The options of a server that decide whether its proxy can talk to it."""

    @property
    def proxy(self) -> bool:
        """--proxy."""

    @property
    def allow_grpc(self) -> bool:
        """--allow-grpc."""

    @property
    def grpc_use_ssl(self) -> bool:
        """--grpc-use-ssl."""

    @property
    def grpc_use_ssl_mutual(self) -> bool:
        """--grpc-use-ssl-mutual."""

    @property
    def grpc_restricted_protocol(self) -> Sequence[object]:
        """--grpc-restricted-protocol."""


def proxy_problems(options: ProxiedServer) -> Iterator[str]:
    """Yield why the proxy could not talk to the server."""
    if not options.proxy:
        return
    if not options.allow_grpc:
        yield "--proxy needs gRPC: leave out --allow-grpc=false"
    if options.grpc_use_ssl or options.grpc_use_ssl_mutual:
        yield f"--proxy connects to gRPC without TLS: {_BESIDE}, with --server=https://HOST:PORT"
    if options.grpc_restricted_protocol:
        yield f"--proxy does not send the headers of --grpc-restricted-protocol: {_BESIDE}"
