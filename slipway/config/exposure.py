"""The flags that say who reaches the server, where and with which header: restricted APIs, forwarded headers, TLS for
HTTP, SageMaker and Vertex AI. They are part of `ServerOptions`.

Knows the flags and what contradicts what; the fronts carry it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from slipway.config.flags import BOOLEAN, DIRECTORY, TEXT, Kind, option, whole
from slipway.config.header_pattern import PATTERN, HeaderPattern
from slipway.config.key_options import KeyOptions
from slipway.config.restrictions import Restriction, restriction_kind, restriction_problems

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  where the platforms expect their ports, in a container of their own
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
SAGEMAKER_MODELS: Final = Path("/opt/ml/models")
METRICS: Final = "metrics"
# Front -> the flags that protect it.
PROXY: Final = "proxy"
VERTEX: Final = "Vertex AI"
_PROTECTIONS: Final = {
    "HTTP": ("--http-restricted-api", "--http-use-ssl-mutual"),
    "GRPC": ("--grpc-restricted-protocol", "--grpc-use-ssl-mutual"),
    "SageMaker": ("--http-restricted-api", ""),
    VERTEX: ("--http-restricted-api", ""),
    PROXY: ("a reverse proxy", ""),
}
AIP_VARIABLES: Final = {  # field -> the variable of Vertex AI that sets it
    "allow_vertex_ai": "AIP_MODE",
    "allow_http": "AIP_MODE",
    "allow_grpc": "AIP_MODE",
    "vertex_ai_port": "AIP_HTTP_PORT",
    "model_repository": "AIP_STORAGE_URI",
}
_ONLY_INFERENCE: Final = (PROXY, VERTEX)  # the fronts on which nothing can be loaded, unloaded or set
_PORT: Final = whole(0, 65535)


class PortRange(NamedTuple):
    """The ports from `low` to `high`."""

    low: int
    high: int

    def holds(self, port: int) -> bool:
        """Return whether `port` is one of them."""
        return self.low <= port <= self.high


class ListeningFront(NamedTuple):
    """A front that listens, as messages name it: whether it restricts APIs, encrypts, asks for certificates or keys."""

    name: str
    address: str
    port: int
    has_key: bool = False
    is_encrypted: bool = False
    is_mutual: bool = False
    has_api_key: bool = False

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it."""
        return self.address not in LOOPBACK and not self.address.startswith("127.")


def _read_range(text: str) -> PortRange:
    low, dash, high = text.partition("-")
    if not dash:
        raise ValueError(
            "Cannot parse pair option due to incorrect number of inputs. --<pair option> argument requires format "
            f"<first>-<second>. Found: {text}"
        )
    return PortRange(_PORT.read(low), _PORT.read(high))


_RANGE: Final = Kind("FIRST-LAST", _read_range)
_HTTP_RESTRICTION: Final = restriction_kind("http-restricted-api", "api")
_GRPC_RESTRICTION: Final = restriction_kind("grpc-restricted-protocol", "protocol")

_http = partial(option, "HTTP")
_grpc = partial(option, "gRPC")
_proxy = partial(option, "Proxy")
_sagemaker = partial(option, "SageMaker")
_vertex = partial(option, VERTEX)
_FORWARDED: Final = "forward headers whose name matches this regular expression of RE2 as parameters of infer requests"
_RESTRICTED: Final = (
    "refuse requests to these groups of APIs without this header; @file:PATH or @env:NAME instead of =VALUE take the "
    "value from a file or a variable; groups: health, metadata, inference, shared-memory, model-config, "
    "model-repository, statistics, trace, logging"
)


@dataclass(frozen=True, slots=True)
class ExposureOptions(KeyOptions):
    """The flags, with the names and defaults of tritonserver's where it has them."""

    http_restricted_api: tuple[Restriction, ...] = _http((), _HTTP_RESTRICTION, _RESTRICTED, gather=tuple)
    http_header_forward_pattern: HeaderPattern | None = _http(None, PATTERN, _FORWARDED)  # noqa: RUF009  a dataclass field
    http_use_ssl: bool = _http(False, BOOLEAN, "encrypt connections (TLS); not those for metrics")
    http_use_ssl_mutual: bool = _http(False, BOOLEAN, "encrypt connections and require a client certificate")
    http_server_cert: str = _http("", TEXT, "PEM file with the server's certificate")
    http_server_key: str = _http("", TEXT, "PEM file with the server's key")
    http_root_cert: str = _http("", TEXT, "PEM file with the root certificate of client certificates")

    grpc_restricted_protocol: tuple[Restriction, ...] = _grpc(
        (), _GRPC_RESTRICTION, f"{_RESTRICTED}; the metadata key is triton-grpc-protocol-HEADER", gather=tuple
    )
    grpc_header_forward_pattern: HeaderPattern | None = _grpc(None, PATTERN, _FORWARDED)  # noqa: RUF009  a dataclass field

    proxy: bool = _proxy(False, BOOLEAN, "serve a REST API with typed routes beside the server, as slipway proxy does")
    proxy_address: str = _proxy(LOOPBACK[0], TEXT, "address to listen on; 0.0.0.0 is every interface")
    proxy_port: int = _proxy(8005, _PORT, "port to listen on; 0 lets the system choose")

    allow_sagemaker: bool = _sagemaker(False, BOOLEAN, "serve the routes of Amazon SageMaker")
    sagemaker_address: str = _sagemaker(EVERYWHERE, TEXT, "address to listen on")
    sagemaker_port: int = _sagemaker(8080, _PORT, "port to listen on; 0 lets the system choose")
    sagemaker_safe_port_range: PortRange | None = _sagemaker(  # noqa: RUF009  as above
        None, _RANGE, "ports that the other fronts may use"
    )
    sagemaker_model_directory: Path = _sagemaker(  # noqa: RUF009  as above
        SAGEMAKER_MODELS, DIRECTORY, "directory that models of a multi-model endpoint are loaded from"
    )

    allow_vertex_ai: bool = _vertex(
        False,
        BOOLEAN,
        "serve the routes of Vertex AI; true by default if AIP_MODE is PREDICTION (then without HTTP and gRPC)",
    )
    vertex_ai_address: str = _vertex(EVERYWHERE, TEXT, "address to listen on")
    vertex_ai_port: int = _vertex(8080, _PORT, "port to listen on; AIP_HTTP_PORT if that is set")
    vertex_ai_default_model: str = _vertex("", TEXT, "model of requests without a redirection (default: the only one)")


def vertex_defaults(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of flags that are not given on Vertex AI; raise `ValueError` if AIP_HTTP_PORT is not a port."""
    defaults: dict[str, Any] = {}
    if environment.get("AIP_MODE") == "PREDICTION":
        defaults |= {"allow_vertex_ai": True, "allow_http": False, "allow_grpc": False}
    if environment.get("AIP_HTTP_PORT"):
        try:
            defaults["vertex_ai_port"] = _PORT.read(environment["AIP_HTTP_PORT"])
        except ValueError as error:
            raise ValueError(f"AIP_HTTP_PORT: {error}") from None
    return defaults


def exposure_problems(options: ExposureOptions, fronts: Iterable[ListeningFront]) -> Iterator[str]:
    """Yield what contradicts; `fronts` are those that listen."""
    yield from restriction_problems(options.http_restricted_api, "api")
    yield from restriction_problems(options.grpc_restricted_protocol, "protocol")
    safe = options.sagemaker_safe_port_range
    for front in fronts:
        if safe is not None and options.allow_sagemaker and front.name != "SageMaker" and not safe.holds(front.port):
            yield (
                f"The server cannot listen to {front.name} requests at port {front.port}, allowed port range is "
                f"[{safe.low}, {safe.high}]"
            )


def certificate_problems(options: ExposureOptions) -> Iterator[str]:
    """Yield the PEM files that TLS needs but that are not specified or do not exist."""
    for front in ("http", "grpc"):
        chosen = [name for name in ("use_ssl_mutual", "use_ssl") if getattr(options, f"{front}_{name}")]
        if not (chosen and getattr(options, f"allow_{front}")):
            continue
        needed = ["server_cert", "server_key", *(["root_cert"] if "use_ssl_mutual" in chosen else [])]
        for field in needed:
            flag, file = f"--{front}_{field}".replace("_", "-"), getattr(options, f"{front}_{field}")
            if not file:
                yield f"--{front}_{chosen[0]} needs ".replace("_", "-") + f"{flag} with a PEM file"
            elif not Path(file).is_file():
                yield f"{flag}: '{file}' is not a file"


def exposure_warnings(fronts: Iterable[ListeningFront]) -> Iterator[str]:
    """Yield a warning for each front that other machines reach although nothing protects it, or whose key can be read
    on the way to it. Metrics change nothing, and do not count."""
    for front in fronts:
        if not front.is_open or front.name == METRICS or front.is_mutual:
            continue
        where = f"{front.name} on {front.address}:{front.port}"
        key, certificate = _PROTECTIONS[front.name]
        if not (front.has_key or front.has_api_key):
            advice = f"{key} asks for a key" + (f", {certificate} for a client certificate" if certificate else "")
            advice += ", --api-key-file for a key on every route"
            extent = "" if front.name in _ONLY_INFERENCE else ", loads and settings included"
            yield f"{where} IS OPEN TO OTHER MACHINES WITHOUT ANY PROTECTION{extent}: {advice}"
        elif not front.is_encrypted:
            what = f"the key of {key}" if front.has_key else "the API key"
            yield f"{where} is not encrypted: {what} can be read on the way to it"
