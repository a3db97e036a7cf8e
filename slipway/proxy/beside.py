"""The flags of the proxy that runs beside a server, from the server's own options."""

from __future__ import annotations

from typing import Final

from slipway.config.options import ServerOptions

_LARGEST: Final = 2**31 - 1
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, never bound


def proxy_flags(options: ServerOptions, grpc_port: int) -> list[str]:
    """Return the flags of `slipway proxy` for a server whose gRPC port is bound."""
    host = _WILDCARDS.get(options.grpc_address, options.grpc_address)
    server = f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}"
    flags = [
        f"--server={server}",
        f"--address={options.proxy_address}",
        f"--max-body-bytes={min(options.http_max_input_size, _LARGEST)}",
        f"--log-access={str(options.log_access).lower()}",
    ]
    if options.needs_api_key:  # the proxy must not open what the server keeps closed
        flags.append("--forward-authorization=true")
    if options.api_key_file is not None:  # with which the proxy itself looks at the models
        flags.append(f"--api-key-file={options.api_key_file}")
    if options.http_allowed_hosts:
        flags.append(f"--http-allowed-hosts={','.join(options.http_allowed_hosts)}")
    return flags
