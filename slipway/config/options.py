"""The options of `slipway serve`: tritonserver's flags as one frozen dataclass, and the parser of the command line.

Each field is a flag, whose name, help text and default are defined only here. The default addresses are local, which is
safer than tritonserver's 0.0.0.0. Knows no part of the server.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final

from slipway.config import unserved
from slipway.config.backend_settings import BACKEND_SETTING, by_backend
from slipway.config.cache_settings import CACHE_SETTING, by_cache, cache_problems, cache_warnings
from slipway.config.conversion_flags import ConversionFlags, conversion_problems
from slipway.config.exposure import (
    LOOPBACK,
    METRICS,
    PROXY,
    VERTEX,
    ListeningFront,
    certificate_problems,
    exposure_problems,
    vertex_defaults,
)
from slipway.config.flags import (
    BOOLEAN,
    DIRECTORY,
    TEXT,
    Kind,
    choice,
    flags_of,
    option,
    read_values,
    read_words,
    usage,
    whole,
)
from slipway.config.host_policy import HOST_POLICY, POLICY_HELP, HostPolicy, by_policy
from slipway.config.hosts import HOSTS
from slipway.config.key_options import key_problems, key_warnings
from slipway.config.metrics_settings import LATENCIES, METRICS_SETTING, gathered
from slipway.config.option_sources import COMMAND_LINE, GivenOption, option_sources
from slipway.config.proxy_beside import proxy_problems
from slipway.config.rate_limit import EXECUTION_COUNT, MODE, OFF, RESOURCE, ResourceCount
from slipway.config.remote_location import REPOSITORY, RemoteLocation, split_repositories, unprotected
from slipway.config.shared_memory import shared_memory_warnings
from slipway.config.trace_settings import trace_problems, trace_warnings
from slipway.core.log_settings import FORMATS
from slipway.errors import invalid

_USAGE: Final = """usage: slipway serve [SOURCE ...] [--flag=value | --flag value ...]

Serve models over HTTP and gRPC. A SOURCE is a Triton model repository, or a
Hugging Face directory, the id of a model on the hub, or an .onnx, .pt or .pt2
file, which is converted first, as by slipway convert, and kept for the next
start. The flags are tritonserver's. A BOOL is true, on or 1, or false, off or
0; a boolean flag without a value is true, and --no-FLAG is --FLAG=false. What
the command line lacks is taken from variables, SLIPWAY_HTTP_PORT for
--http-port, and then from the file of --config."""
_LOCAL: Final = "127.0.0.1"
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  compared with, never bound

# Kinds of values that are specific to the server


def _joined(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(lists))


def _read_config_name(text: str) -> str:
    if not text:
        raise ValueError("Error: empty argument for --model-config-name")
    if text != Path(text).name or " " in text:
        raise ValueError(f"expected a file name without '.pbtxt', directory or spaces. Got {text}")
    return text


_PORT: Final = whole(0, 65535)
_COUNT: Final = whole(0, 2**31 - 1)
_COUNT64: Final = whole(0, 2**63 - 1)
_AT_LEAST_ONE: Final = whole(1, 2**31 - 1)

# Sections of the help text

_server = partial(option, "Server")
_logging = partial(option, "Logging")
_models = partial(option, "Model repository")
_http = partial(option, "HTTP")
_grpc = partial(option, "gRPC")
_measures = partial(option, "Metrics")
_backend = partial(option, "Backends")
_cache = partial(option, "Response cache")


@dataclass(frozen=True, slots=True)
class ServerOptions(ConversionFlags):
    """Every setting of a server; the field `x_y` is the flag `--x-y`. `warnings` are logged at start-up."""

    id: str = _server("triton", TEXT, "server name in the metadata")
    exit_timeout_secs: int = _server(30, _COUNT, "seconds to wait for requests in flight at shutdown")
    drain_delay_secs: int = _server(0, _COUNT, "seconds to serve on, reported as not ready, before shutdown")

    max_buffered_bytes: int = _server(
        0, _COUNT64, "bytes of request bodies to hold, all connections together; 0 is a quarter of the memory"
    )

    allow_client_shm: bool = _server(
        False, BOOLEAN, "let clients pass tensors in POSIX shared memory of this machine that the server may open"
    )

    log_verbose: int = _logging(
        0, _COUNT, "verbose messages: 0 for none, 1 for all and each request when it has ended, 2 also when it arrives"
    )
    log_info: bool = _logging(True, BOOLEAN, "log information")
    log_warning: bool = _logging(True, BOOLEAN, "log warnings")
    log_error: bool = _logging(True, BOOLEAN, "log errors")
    log_format: str = _logging("default", choice(*FORMATS), "format of log lines; json is one object per line")
    log_file: str = _logging("", TEXT, "file to log to (default: standard error)")
    log_access: bool = _logging(False, BOOLEAN, "log each HTTP request and gRPC call")

    model_repository: tuple[Path, ...] = _models(
        (), REPOSITORY,
        "directory with one subdirectory per model; a SOURCE that is never converted; s3://, gs://, as:// and https:// "
        "repositories are copied to a cache",
        aliases=("model-store",), gather=tuple,
    )  # fmt: skip
    exit_on_error: bool = _models(True, BOOLEAN, "exit if a model fails to load at start-up")
    disable_auto_complete_config: bool = _models(
        False, BOOLEAN, "do not derive what config.pbtxt omits", deprecated=("strict-model-config",)
    )
    strict_readiness: bool = _models(True, BOOLEAN, "report ready only when every model is ready")
    model_control_mode: str = _models(
        "none", choice("none", "poll", "explicit", any_case=True),
        "load all models once (none), follow changes to the repository (poll), or load on request (explicit)",
    )  # fmt: skip
    repository_poll_secs: int = _models(15, _AT_LEAST_ONE, "seconds between scans of the repository in poll mode")
    load_model: tuple[str, ...] = _models(
        (), TEXT, "model to load at start-up in explicit mode; a lone * means every model", gather=tuple
    )
    allow_model_upload: bool = _models(
        False, BOOLEAN, "let clients send a model's files, code included, with a load request in explicit mode"
    )
    model_config_name: str = _models(
        "", Kind("NAME", _read_config_name), "read configs/NAME.pbtxt of a model instead of config.pbtxt, if it exists"
    )
    model_namespacing: bool = _models(
        False, BOOLEAN, "let several repositories have models of the same name; each repository is a namespace"
    )
    model_load_thread_count: int = _models(4, _AT_LEAST_ONE, "number of models to load at the same time")
    model_load_retry_count: int = _models(0, _COUNT, "number of times to retry a failed load")

    host_policy: Mapping[str, HostPolicy] = _models({}, HOST_POLICY, POLICY_HELP, gather=by_policy)

    rate_limit: str = _models(
        OFF, MODE, "let instances execute when the resources of their rate_limiter are free (execution_count)"
    )
    rate_limit_resource: tuple[ResourceCount, ...] = _models(
        (), RESOURCE,
        "how many of a resource there are, on DEVICE or on each; without the flag, as many as any instance needs; with "
        "it, none of those that it does not name",
        gather=tuple,
    )  # fmt: skip

    allow_http: bool = _http(True, BOOLEAN, "serve HTTP")
    http_address: str = _http(_LOCAL, TEXT, "address to listen on; 0.0.0.0 is every interface")
    http_port: int = _http(8000, _PORT, "port to listen on; 0 lets the system choose")
    openai: bool = _http(True, BOOLEAN, "serve OpenAI's API too, and those of rerankers and text-embeddings-inference")
    ui: bool = _http(True, BOOLEAN, "serve a page at / on which people try the models")
    reuse_http_port: bool = _http(False, BOOLEAN, "share the port with other servers that set this flag")
    http_max_input_size: int = _http(64 << 20, whole(-(2**63)), "maximum size of a decompressed request body, in bytes")
    http_allowed_hosts: tuple[str, ...] = _http(
        (), HOSTS,
        "names by which clients and web pages reach the server, besides localhost, this machine's name and addresses; "
        ".NAME is a whole domain, * any name",
        gather=_joined,
    )  # fmt: skip

    allow_grpc: bool = _grpc(True, BOOLEAN, "serve gRPC")
    grpc_address: str = _grpc(_LOCAL, TEXT, "address to listen on; 0.0.0.0 is every interface")
    grpc_port: int = _grpc(8001, _PORT, "port to listen on; 0 lets the system choose")
    reuse_grpc_port: bool = _grpc(False, BOOLEAN, "share the port with other servers that set this flag")
    grpc_engine: str = _grpc(
        "auto", choice("auto", "asyncio", "grpcio", "native"),
        "what speaks gRPC; auto picks asyncio unless other flags need grpcio; native is pygrpc-native, which cannot "
        "limit what a message is decompressed to",
    )  # fmt: skip
    grpc_max_message_bytes: int = _grpc(
        64 << 20, _AT_LEAST_ONE, "maximum size of a request message in bytes, also of what it is decompressed to"
    )
    grpc_use_ssl: bool = _grpc(False, BOOLEAN, "encrypt connections (TLS)")
    grpc_use_ssl_mutual: bool = _grpc(False, BOOLEAN, "encrypt connections and require a client certificate")
    grpc_server_cert: str = _grpc("", TEXT, "PEM file with the server's certificate")
    grpc_server_key: str = _grpc("", TEXT, "PEM file with the server's key")
    grpc_root_cert: str = _grpc("", TEXT, "PEM file with the root certificate of client certificates")
    grpc_infer_response_compression_level: str = _grpc(
        "none", choice("none", "low", "medium", "high", any_case=True),
        "compression level of responses",
    )  # fmt: skip
    grpc_keepalive_time: int = _grpc(7_200_000, _COUNT, "milliseconds of inactivity before a keepalive ping")
    grpc_keepalive_timeout: int = _grpc(20_000, _COUNT, "milliseconds to wait for the reply to a ping")
    grpc_keepalive_permit_without_calls: bool = _grpc(False, BOOLEAN, "ping connections even without calls")
    grpc_http2_max_pings_without_data: int = _grpc(
        2, _COUNT, "maximum consecutive pings without data; 0 means no limit"
    )
    grpc_http2_min_recv_ping_interval_without_data: int = _grpc(
        300_000, _COUNT, "minimum milliseconds between a client's pings without data"
    )
    grpc_http2_max_ping_strikes: int = _grpc(2, _COUNT, "excess pings before a connection is closed; 0 means no limit")
    grpc_max_connection_age: int = _grpc(0, _COUNT, "maximum age of a connection, in milliseconds; 0 means no limit")
    grpc_max_connection_age_grace: int = _grpc(0, _COUNT, "milliseconds that calls may continue past that age")

    allow_metrics: bool = _measures(True, BOOLEAN, "serve Prometheus metrics")
    allow_cpu_metrics: bool = _measures(True, BOOLEAN, "report CPU and memory usage")
    metrics_address: str = _measures("", TEXT, "address to listen on (default: the HTTP address)")
    metrics_port: int = _measures(8002, _PORT, "port to listen on; 0 lets the system choose")
    metrics_config: Mapping[str, Any] = _measures(
        dict(LATENCIES), METRICS_SETTING, "latency metrics to report, and the quantiles of summaries with their errors",
        gather=gathered,
    )  # fmt: skip

    backend_directory: tuple[Path, ...] = _backend(
        (Path("/opt/tritonserver/backends"),), DIRECTORY, "directory of Python-based backends", gather=tuple
    )
    backend_config: Mapping[str, Mapping[str, str]] = _backend(
        {}, BACKEND_SETTING, "setting of one backend, or of all backends", gather=by_backend
    )

    cache_config: Mapping[str, Mapping[str, str]] = _cache(
        {}, CACHE_SETTING,
        "keep the responses of models that enable response_cache: local,size=BYTES in memory, or redis,host=HOST and "
        "redis,port=PORT, with the other settings of Triton's Redis cache",
        gather=by_cache,
    )  # fmt: skip
    response_cache_byte_size: int | None = _cache(
        None, whole(), "deprecated: the same as --cache-config=local,size=N; 0 means no cache"
    )

    remote_repositories: tuple[RemoteLocation, ...] = ()  # those of `model_repository` that are not directories
    # SOURCE of the command line, of which those that are paths are the first of `model_repository`.
    sources: tuple[str, ...] = field(default=(), compare=False)
    warnings: tuple[str, ...] = ()
    given: Mapping[str, GivenOption] = field(default_factory=dict, compare=False, repr=False)  # by field


def parse_options(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> ServerOptions:
    """Return the options of a command line, of the environment (SLIPWAY_* and, on Vertex AI, AIP_*) and of the file of
    --config; on --help, print the help text and exit with 0.

    Raise INVALID_ARG with all errors.
    """
    flags = tuple(flags_of(ServerOptions))
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(usage(_USAGE, flags, ServerOptions()) + _unserved_usage())
        raise SystemExit(0)
    names = {name: flag.kind for flag in flags for name in (flag.name, *flag.aliases, *flag.deprecated)}
    kinds = names | unserved.KINDS
    reading = read_words(arguments, kinds)
    words = [("model-repository", word) for word in reading.positional] + reading.given
    sources = option_sources(words, environment, flags, kinds)
    problems = [*reading.problems, *sources.problems]
    values: dict[str, Any] = {}
    for level in sources.levels:
        values |= read_values(level.given, flags, problems, level.shown)
        problems += unserved.misread(level.given, level.shown)
    try:
        values = vertex_defaults(environment) | values
    except ValueError as error:
        problems.append(str(error))
    storage = environment.get("AIP_STORAGE_URI")
    if storage and "model_repository" not in values:
        values |= read_values([("model-repository", storage)], flags, problems)
    values |= split_repositories(values.get("model_repository", ()))
    old = sources.names()
    warnings = [
        f"--{name} is deprecated; use --{flag.name}" for flag in flags for name in flag.deprecated if name in old
    ]
    options = ServerOptions(
        **values,
        sources=tuple(reading.positional),
        warnings=(*warnings, *unserved.warn(old)),
        given=sources.options(flags),
    )
    problems += _contradictions(options) if not problems else []
    further = (
        *sources.warnings,
        *key_warnings(
            options,
            on_command_line=sources.gives("api-key", (COMMAND_LINE,)),
            in_config=sources.gives("api-key", ("file",)),
        ),
        *cache_warnings(options.response_cache_byte_size),
        *_unreachable(options),
        *_unlimited(options),
        *_shared(options),
        *unprotected(options.remote_repositories),
        *(trace_warnings(options.trace_config, options.old_tracing) if not problems else ()),
    )
    options = replace(options, warnings=(*options.warnings, *further))
    if problems:
        raise invalid("; ".join(problems))
    return options


def _unserved_usage() -> str:
    words = " ".join(f"--{name}" for name in unserved.WITHOUT_EFFECT)
    text = textwrap.indent(textwrap.fill(words, 78, break_on_hyphens=False), "  ")
    return f"\n\nAccepted without effect:\n{text}\n"


def _contradictions(options: ServerOptions) -> Iterator[str]:
    if not (options.model_repository or options.remote_repositories or options.show_options):
        yield "--model-repository must be specified"
    if options.load_model and options.model_control_mode != "explicit":
        yield "Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
    if "*" in options.load_model and len(options.load_model) > 1:
        yield "Wildcard model name '*' must be the ONLY startup model if specified at all."
    if options.http_max_input_size <= 0:
        yield "--http-max-input-size must be greater than 0."
    yield from certificate_problems(options)
    yield from conversion_problems(options)
    yield from cache_problems(options.cache_config, options.response_cache_byte_size)
    yield from exposure_problems(options, fronts(options))
    yield from key_problems(options)
    yield from proxy_problems(options)
    yield from trace_problems(options.trace_config, options.old_tracing)
    for one, other in combinations(fronts(options), 2):
        yield from _collision(one, other)


def _unlimited(options: ServerOptions) -> Iterator[str]:
    if options.rate_limit_resource and options.rate_limit == OFF:
        yield f"--rate-limit-resource has no effect without --rate-limit={EXECUTION_COUNT}"


def _shared(options: ServerOptions) -> Iterator[str]:
    fronts = [("http", options.http_address, options.allow_http), ("grpc", options.grpc_address, options.allow_grpc)]
    open_to_others = {name: address for name, address, on in fronts if on and address not in LOOPBACK}
    return shared_memory_warnings(allowed=options.allow_client_shm, open_to_others=open_to_others)


def _unreachable(options: ServerOptions) -> Iterator[str]:
    """Yield a warning for a front that listens only on loopback while another does not, which is easily overlooked."""
    fronts = [("HTTP", options.http_address, options.allow_http), ("gRPC", options.grpc_address, options.allow_grpc)]
    open_to_others = [name for name, address, allowed in fronts if allowed and address not in LOOPBACK]
    for name, address, allowed in fronts:
        if allowed and open_to_others and address in LOOPBACK:
            other = open_to_others[0]
            address_flag = f"--{name.lower()}-address={getattr(options, other.lower() + '_address')}"
            yield f"{name} listens only on {address}, unlike {other}; {address_flag} opens it to other machines"


def fronts(options: ServerOptions) -> Iterator[ListeningFront]:
    """Yield the fronts that the options start."""
    front = partial(ListeningFront, has_api_key=options.needs_api_key)
    has_key = bool(options.http_restricted_api)
    if options.allow_http:
        mutual = options.http_use_ssl_mutual
        yield front("HTTP", options.http_address, options.http_port, has_key, options.http_use_ssl or mutual, mutual)
    if options.allow_grpc:
        has, mutual = bool(options.grpc_restricted_protocol), options.grpc_use_ssl_mutual
        yield front("GRPC", options.grpc_address, options.grpc_port, has, options.grpc_use_ssl or mutual, mutual)
    if options.allow_metrics:
        yield front(METRICS, options.metrics_address or options.http_address, options.metrics_port)
    if options.allow_sagemaker:
        yield front("SageMaker", options.sagemaker_address, options.sagemaker_port, has_key)
    if options.allow_vertex_ai:
        yield front(VERTEX, options.vertex_ai_address, options.vertex_ai_port, has_key)
    if options.proxy:
        yield front(PROXY, options.proxy_address, options.proxy_port)


def _collision(one: ListeningFront, other: ListeningFront) -> Iterator[str]:
    shared = one.address == other.address or one.address in _EVERYWHERE or other.address in _EVERYWHERE
    if one.port and one.port == other.port and shared:
        yield (
            f"The server cannot listen to {one.name} requests and {other.name} requests at the same address and port "
            f"{one.address}:{one.port}"
        )
