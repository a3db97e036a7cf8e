"""The HTTP listeners that the options ask for, each with its routes: KServe, metrics, SageMaker, Vertex AI.

Knows the options and the routes; the caller starts the listeners in order, and stops them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from slipway.api_keys import KEY_HEADERS, ApiKeys
from slipway.certificates import CertificateFiles, Certificates
from slipway.config.options import ServerOptions
from slipway.config.restrictions import by_group
from slipway.core.budget import Budget
from slipway.engine.api import Dataplane
from slipway.rest.access import access_to
from slipway.rest.access_log import log_accesses
from slipway.rest.app import HEALTH_PATHS, build_app
from slipway.rest.connection import Handler, HttpLimits
from slipway.rest.context import RestOptions
from slipway.rest.key_guard import plain_envelope_of, require_key
from slipway.rest.listener import HttpListener
from slipway.rest.metrics import MetricsOptions, build_metrics_app, build_metrics_page
from slipway.rest.openai.routes import envelope_of
from slipway.rest.page.build import build_page
from slipway.rest.page.page import Page
from slipway.rest.sagemaker import PING_PATH, build_sagemaker_app, sagemaker_settings
from slipway.rest.sagemaker_models import ModelHost, MultiModel
from slipway.rest.vertex import build_vertex_app, vertex_settings

_SAGEMAKER_HOSTS: Final = ".aws.local"  # the platform calls a container model.aws.local


class RestFront(NamedTuple):
    """A listener, and its name and address in the log."""

    name: str
    address: str
    listener: HttpListener


def rest_fronts(
    dataplane: Dataplane,
    host: ModelHost,
    options: ServerOptions,
    budget: Budget,
    keys: ApiKeys | None,
    environment: Mapping[str, str] = os.environ,
    *,
    grpc_port: int | None = None,
) -> Iterator[RestFront]:
    """Yield the listeners; raise `SlipwayError` for settings that do not fit the loaded models. `host` loads the models
    of multi-model endpoints; without one of `keys`, only health can be read, the files of the page, and metrics unless
    they require one too. `grpc_port` is where gRPC listens, None if it does not.
    """
    limit = options.http_max_input_size
    limits = HttpLimits(body=limit)
    listen = partial(HttpListener, budget=budget)
    timed = options.tracing.possible
    logged = log_accesses if options.log_access else _unlogged
    settings = _settings(options, options.http_address)
    metrics = MetricsOptions(**options.metrics_config, cpu=options.allow_cpu_metrics)
    if options.allow_http:
        spelling = HttpLimits(body=limit, keeps_spelling=options.http_header_forward_pattern is not None)
        forward = options.http_header_forward_pattern
        if forward is not None and keys is not None:
            forward = forward.without(KEY_HEADERS)
        own = build_page(options, build_metrics_page(dataplane, metrics), grpc_port) if options.ui else Page()
        app = build_app(dataplane, settings(forward=forward, openai=options.openai, page=own))
        opened = HEALTH_PATHS | own.files.keys()
        handler = require_key(app, keys, opened, envelope_of if options.openai else plain_envelope_of)
        listener = listen(
            logged(handler),
            host=options.http_address,
            port=options.http_port,
            limits=spelling,
            reuse_port=options.reuse_http_port,
            certificates=_certificates(options),
            timed=timed,
        )
        yield RestFront("HTTPService", options.http_address, listener)
    if options.allow_sagemaker:
        address = options.sagemaker_address
        models = MultiModel(host, options.sagemaker_model_directory)
        access = access_to(address, (*options.http_allowed_hosts, _SAGEMAKER_HOSTS))
        chosen = _settings(options, address)(access=access, explains=False)  # nothing else shows a model's statistics
        app = build_sagemaker_app(dataplane, sagemaker_settings(environment), models.route, chosen)
        handler = require_key(app, keys, {PING_PATH})
        listener = listen(logged(handler), host=address, port=options.sagemaker_port, limits=limits, timed=timed)
        yield RestFront("Sagemaker HTTPService", address, listener)
    if options.allow_vertex_ai:
        address = options.vertex_ai_address
        vertex = vertex_settings(dataplane, options.vertex_ai_default_model, environment)
        page = build_metrics_page(dataplane, metrics)
        app = build_vertex_app(dataplane, vertex, page, _settings(options, address)())
        handler = require_key(app, keys, {vertex.health.encode()})
        listener = listen(logged(handler), host=address, port=options.vertex_ai_port, limits=limits, timed=timed)
        yield RestFront("Vertex AI HTTPService", address, listener)
    if options.allow_metrics:
        address = options.metrics_address or options.http_address
        app = build_metrics_app(dataplane, metrics, access_to(address, options.http_allowed_hosts))
        handler = require_key(app, keys if options.metrics_require_api_key else None)
        yield RestFront("Metrics Service", address, listen(handler, host=address, port=options.metrics_port))


def _unlogged(handler: Handler) -> Handler:
    """Return the handler of a front without an access log."""
    return handler


def _settings(options: ServerOptions, address: str) -> partial[RestOptions]:
    """Return the settings of a front on `address`, which are complete apart from `forward`."""
    return partial(
        RestOptions,
        max_input_size=options.http_max_input_size,
        access=access_to(address, options.http_allowed_hosts),
        restrictions=by_group(options.http_restricted_api),
    )


def _certificates(options: ServerOptions) -> Certificates | None:
    if not (options.http_use_ssl or options.http_use_ssl_mutual):
        return None
    root = Path(options.http_root_cert) if options.http_use_ssl_mutual else None
    return Certificates(CertificateFiles(Path(options.http_server_cert), Path(options.http_server_key), root), "HTTP")
