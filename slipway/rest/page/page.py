"""What the page of one server consists of. Knows neither the routes nor the dataplane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from slipway.rest.exchange import Exchange
from slipway.rest.page.files import PageFile


class GrpcPlace(NamedTuple):
    """Where gRPC listens, for the requests that the page shows."""

    port: int
    is_encrypted: bool


@dataclass(frozen=True, slots=True)
class Page:
    """The files by path, none for a server without the page, and what the page has to know about the server.

    `metrics` answers with the text of the metrics port; without it, `why_no_metrics` says why there are no charts.
    `grpc` is None if gRPC is not served. `control` is the model control mode.
    """

    files: Mapping[bytes, PageFile] = field(default_factory=dict)
    metrics: Callable[[Exchange], None] | None = None
    why_no_metrics: str = ""
    grpc: GrpcPlace | None = None
    control: str = "none"
