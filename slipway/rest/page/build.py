"""The page that the options ask for."""

from __future__ import annotations

from collections.abc import Callable

from slipway.config.options import ServerOptions
from slipway.rest.exchange import Exchange
from slipway.rest.page.files import read_files
from slipway.rest.page.page import GrpcPlace, Page


def build_page(options: ServerOptions, metrics: Callable[[Exchange], None], grpc_port: int | None) -> Page:
    """Return the page; `metrics` answers as the metrics port does, `grpc_port` is None without gRPC.

    The page has the metrics only if the metrics port is as easy to reach: an address of its own limits who reads them.
    """
    why = ""
    if not options.allow_metrics:
        why = "metrics are turned off (--allow-metrics=false)"
    elif options.metrics_address not in ("", options.http_address):
        why = "metrics have an address of their own (--metrics-address), so they are not shown here"
    is_encrypted = options.grpc_use_ssl or options.grpc_use_ssl_mutual
    return Page(
        files=read_files(),
        metrics=None if why else metrics,
        why_no_metrics=why,
        grpc=None if grpc_port is None else GrpcPlace(grpc_port, is_encrypted),
        control=options.model_control_mode,
    )
