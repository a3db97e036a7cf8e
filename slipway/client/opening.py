"""From what a program says about a server to the parts of its client: the codec, the calls, the transport."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypedDict

from slipway.client.calls import Calls, InferOptions
from slipway.client.endpoint import ClientCertificates, ServerUrl, with_headers
from slipway.client.grpc_codec import GrpcCodec
from slipway.client.http_codec import HttpCodec
from slipway.client.transport import AsyncTransport, Transport
from slipway.core.request import Parameter
from slipway.errors import invalid
from slipway.nearest import nearest_or_all

_NO_LIMIT_S: Final = 86_400.0  # of a connection: each call has its own limit


class ClientKeywords(TypedDict, total=False):
    """The settings of a client; `Client` documents them."""

    headers: Mapping[str, str]
    api_key: str
    timeout: float
    retries: int
    ca_certificate: str | os.PathLike[str] | None
    client_certificate: str | os.PathLike[str] | None
    client_key: str | os.PathLike[str] | None
    verify: bool


class InferKeywords(TypedDict, total=False):
    """What a request may say besides its inputs; `Client.infer` documents the keys."""

    version: str
    outputs: list[str] | tuple[str, ...]
    parameters: Mapping[str, Parameter] | None
    request_id: str
    priority: int
    sequence_id: int | str
    sequence_start: bool
    sequence_end: bool
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A server's address and how to talk to it."""

    url: ServerUrl
    certificates: ClientCertificates
    calls: Calls

    def transport(self) -> Transport:
        """Return what carries calls for threads."""
        if self.url.protocol == "http":
            from slipway.client.http_transport import HttpTransport

            return HttpTransport(self.url.endpoint)
        from slipway.client.grpc_transport import GrpcTransport

        return GrpcTransport(self.url.endpoint, self._credentials())

    def async_transport(self) -> AsyncTransport:
        """Return what carries calls on the running event loop."""
        if self.url.protocol == "http":
            from slipway.client.async_http_transport import AsyncHttpTransport

            return AsyncHttpTransport(replace(self.url.endpoint, timeout=_NO_LIMIT_S))
        from slipway.client.grpc_transport import AsyncGrpcTransport

        return AsyncGrpcTransport(self.url.endpoint, self._credentials())

    def _credentials(self) -> Any:
        return self.certificates.grpc_credentials() if self.url.encrypted else None


def open_server(address: str, given: Mapping[str, Any]) -> Opened:
    """Return the parts of a client; raise INVALID_ARG for an address or a setting that is not valid."""
    _check_keys(given, ClientKeywords.__annotations__, "a client")
    url = ServerUrl.of(address)
    certificates = ClientCertificates(
        given.get("ca_certificate"), given.get("client_certificate"), given.get("client_key"), given.get("verify", True)
    )
    if certificates.are_given and not url.encrypted:
        raise invalid(f"certificates need an encrypted connection: {'https' if url.protocol == 'http' else 'grpcs'}://")
    endpoint = with_headers(url.endpoint, given.get("headers", {}), given.get("api_key", ""))
    if url.encrypted and url.protocol == "http":
        endpoint = replace(endpoint, tls=certificates.context())
    codec = HttpCodec() if url.protocol == "http" else GrpcCodec()
    calls = Calls(codec, endpoint, timeout=given.get("timeout", 60.0), retries=given.get("retries", 3))
    return Opened(replace(url, endpoint=endpoint), certificates, calls)


def infer_options(given: Mapping[str, Any]) -> InferOptions:
    """Return the options of a request; raise INVALID_ARG, with the nearest name, for an unknown one."""
    _check_keys(given, [each.name for each in fields(InferOptions)], "a request")
    return InferOptions(**given)


def _check_keys(given: Mapping[str, Any], known: Any, what: str) -> None:
    for name in given:
        if name not in known:
            raise invalid(f"{what} has no option '{name}'{nearest_or_all(name, known)}")
