"""The last lines that `slipway serve` prints when everything is up: addresses, a command per model, what conversions
cost in accuracy."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final, Protocol

from tritonclient.grpc import model_config_pb2

from slipway.cli.sources.cache import EntryRecord
from slipway.cli.sources.curl import HttpTarget, curl_command
from slipway.config.conversion_flags import EXACT
from slipway.config.options import ServerOptions
from slipway.engine.api import IndexEntry
from slipway.errors import SlipwayError
from slipway.repository.scan import find_model
from slipway.server import GRPC_SERVICE, PROXY
from slipway.verify.sample import VARIABLE, ensemble_sample, sample_of

MOST_MODELS: Final = 8
_FOLLOWS: Final = "a faster form is being converted; the log says when it has replaced this one"
_MOST_ELEMENTS: Final = 1 << 22  # of a sample, which is made on the event loop
_LONGEST: Final = 16 << 10  # characters of a command, which shells limit
_HTTP: Final = "HTTPService"
_PAGE: Final = "Page"  # where HTTP is
_METRICS: Final = "Metrics Service"
_KEY_VARIABLE: Final = "SLIPWAY_API_KEY"
_FIRST_KEY: Final = "sed -n 's/^[[:space:]]*//;/^[^#]/{s/[[:space:]].*//;p;q;}'"  # as `api_keys.read_key_file` reads
_INFERENCE: Final = "inference"  # the group of restricted APIs
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  an address to listen on -> one to connect to
# The lines with addresses: title, front, form of the address.
_ADDRESSES: Final = (
    ("HTTP", _HTTP, "{scheme}://{place}"),
    ("page", _PAGE, "{scheme}://{place}/"),
    ("gRPC", GRPC_SERVICE, "{place}"),
    ("metrics", _METRICS, "http://{place}/metrics"),
    ("proxy", PROXY, "http://{place}/docs"),
)


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """Where a front listens; the port is the one that the system chose, if it did."""

    host: str
    port: int


def bound_addresses(options: ServerOptions, ports: Mapping[str, int]) -> dict[str, BoundAddress]:
    """Return the addresses of the fronts by their name in the log, of which `ports` has those that listen, and the
    page's."""
    hosts = {
        _HTTP: options.http_address,
        GRPC_SERVICE: options.grpc_address,
        _METRICS: options.metrics_address or options.http_address,
        PROXY: options.proxy_address,
    }
    bound = {front: BoundAddress(host, ports[front]) for front, host in hosts.items() if front in ports}
    return bound | {_PAGE: bound[_HTTP]} if options.ui and _HTTP in bound else bound


class ServedModels(Protocol):
    """The engine as this module sees it."""

    def live(self) -> bool:
        """Return whether there are repositories to serve."""

    def repository_index(self, ready_only: bool) -> Sequence[IndexEntry]:
        """Return the models with their states."""

    def model_config(self, name: str, version: str) -> model_config_pb2.ModelConfig:
        """Return a model's configuration."""


def announcement(
    engine: ServedModels,
    options: ServerOptions,
    addresses: Mapping[str, BoundAddress],
    converted: Mapping[str, EntryRecord],
    *,
    followed: Collection[str] = (),
) -> str:
    """Return the lines, which begin with an empty one; a faster form follows for the models in `followed`."""
    lines = ["", *_address_lines(options, addresses)]
    target = _target(options, addresses)
    names = list(_asked(engine, converted)) if engine.live() else []
    for name in names[:MOST_MODELS]:
        record = converted.get(name)
        lines += ["", _line(name) if record is None else f"{_line(name)} ({record.chosen})"]
        lines += [f"  {line}" for line in _model_lines(name, engine, options, target)]
        lines += [f"  {line}" for line in _cost(record)]
        lines += [f"  {_FOLLOWS}"] if name in followed else []
    if names[MOST_MODELS:]:
        more = ", ".join(map(_line, names[MOST_MODELS:][:MOST_MODELS]))
        lines += ["", f"and {len(names) - MOST_MODELS} more models: {more}"]
    return "\n".join(lines)


def _line(name: str) -> str:
    """Return a model's name, which is that of a directory, without what would move the cursor or begin a line."""
    return name if name.isprintable() else repr(name)[1:-1]


def _address_lines(options: ServerOptions, addresses: Mapping[str, BoundAddress]) -> Iterator[str]:
    """Yield one line per address: HTTP, the page, gRPC, metrics."""
    scheme = "https" if _is_encrypted(options) else "http"
    for title, front, form in _ADDRESSES:
        if front in addresses:
            yield f"{title:<8} {form.format(scheme=scheme, place=reachable(addresses[front]))}"


def reachable(address: BoundAddress) -> str:
    """Return host:port at which this machine reaches a front."""
    host = _ANY.get(address.host, address.host)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def _is_encrypted(options: ServerOptions) -> bool:
    return options.http_use_ssl or options.http_use_ssl_mutual


def _target(options: ServerOptions, addresses: Mapping[str, BoundAddress]) -> HttpTarget | None:
    """Return where curl sends requests, with placeholders for secrets; None without HTTP."""
    address = addresses.get(_HTTP)
    if address is None:
        return None
    scheme = "https" if _is_encrypted(options) else "http"
    return HttpTarget(f"{scheme}://{reachable(address)}", tuple(_curl_options(options)))


def _curl_options(options: ServerOptions) -> Iterator[str]:
    """Yield the options of curl that the server's protection requires, as words of the shell. An API key is read by the
    shell, from where the server has it."""
    if options.api_key_file is not None:
        yield f'-H "Authorization: Bearer $({_FIRST_KEY} {shlex.quote(str(options.api_key_file))})"'
    elif options.needs_api_key:
        given = options.given["api_key"]
        key = f"${_KEY_VARIABLE}" if given.origin == _KEY_VARIABLE else "KEY"
        if given.origin == _KEY_VARIABLE and len(given.texts) > 1:  # one per line
            key = f'$(printf %s "{key}" | {_FIRST_KEY})'
        yield f'-H "Authorization: Bearer {key}"'
    for each in options.http_restricted_api:
        if _INFERENCE in each.groups:
            yield shlex.join(["-H", f"{each.header}: SECRET"])
    if _is_encrypted(options):
        yield shlex.join(["--cacert", options.http_server_cert])
    if options.http_use_ssl_mutual:
        yield "--cert CLIENT.pem --key CLIENT.key"


def _asked(engine: ServedModels, converted: Mapping[str, EntryRecord]) -> Iterator[str]:
    """Yield the models to ask: those that were converted, then the others; not the parts of ensembles."""
    models = dict.fromkeys((entry.namespace, entry.name) for entry in engine.repository_index(ready_only=True))
    counts = Counter(name for _, name in models)
    names = [name for name in counts if counts[name] == 1]  # of several namespaces, the name alone means none
    parts = {
        step.model_name for name in names for step in engine.model_config(name, "").ensemble_scheduling.step
    } - converted.keys()
    yield from (name for name in converted if name in names)
    yield from (name for name in names if name not in parts and name not in converted)


def _model_lines(name: str, engine: ServedModels, options: ServerOptions, target: HttpTarget | None) -> Iterator[str]:
    if target is None:
        yield shlex.join(["slipway", "infer", _line(name), "--help"])
        return
    config = engine.model_config(name, "")
    steps = sorted({step.model_name for step in config.ensemble_scheduling.step})
    try:
        parts = {each: (engine.model_config(each, ""), _directory(each, options)) for each in steps}
    except SlipwayError as error:  # the name of a step may mean several models outside its namespace
        yield f"(no example: {error.message})"
        return
    if max(map(_elements, (config, *(part for part, _ in parts.values())))) > _MOST_ELEMENTS:
        yield "(no example: its inputs are too large)"
        return
    try:
        sample = ensemble_sample(config, parts) if parts else sample_of(config, _directory(name, options))
    except SlipwayError as error:  # a warm-up sample that cannot be read
        yield f"(no example: {error.message})"
        return
    command = curl_command(config, sample, target)
    yield command if len(command) <= _LONGEST else "(no example: its inputs are too many strings)"


def _elements(config: model_config_pb2.ModelConfig) -> int:
    """Return how many elements the inputs of a sample have, those of all its warm-up samples together."""
    tensors = [*config.input, *(each for sample in config.model_warmup for each in sample.inputs.values())]
    return sum(prod(size if size > 0 else VARIABLE for size in each.dims) for each in tensors)


def _directory(name: str, options: ServerOptions) -> Path | None:
    found = find_model(options.model_repository, name)
    return found[0] if found else None


def _cost(record: EntryRecord | None) -> Iterator[str]:
    """Yield what a conversion lost and how to avoid it; nothing if every digit was kept."""
    if record is not None and record.lost:
        yield from record.lost
        yield f"--precision {EXACT} keeps every digit"
