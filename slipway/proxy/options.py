"""The options of `slipway proxy`: flags as one frozen dataclass, and the key that the proxy shows to the server.

uvicorn's own command imports the application without arguments; there, the same flags come from a variable.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

from slipway.api_keys import key_digest, read_key_file
from slipway.config.exposure import PROXY, ListeningFront
from slipway.config.flags import (
    BOOLEAN,
    POSITIVE_FLOAT,
    TEXT,
    Kind,
    flags_of,
    option,
    read_values,
    read_words,
    usage,
    whole,
)
from slipway.config.hosts import HOSTS
from slipway.errors import invalid

OPTIONS_VARIABLE: Final = "SLIPWAY_PROXY_OPTIONS"
KEY_VARIABLE: Final = "SLIPWAY_API_KEY"
_USAGE: Final = f"""usage: slipway proxy [--flag=value | --flag value ...]

Serve a REST API in front of an inference server: POST /models/NAME takes and
returns plain JSON, /docs shows the fields of every model. A BOOL is true, on or
1, or false, off or 0; a boolean flag without a value is true, and --no-FLAG is
--FLAG=false.

Without --api-key-file, the variable {KEY_VARIABLE} holds the key for the
server, or {KEY_VARIABLE}_FILE names its file."""
_ENCRYPTED: Final = "https://"
_SERVER: Final = re.compile(r"(?:https?://)?(?P<address>(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})/?")


def _read_server(text: str) -> str:
    match = _SERVER.fullmatch(text)
    if match is None:
        raise ValueError(f"expected HOST:PORT of the server's gRPC port, with https:// if it is encrypted. Got {text}")
    return (_ENCRYPTED if text.startswith(_ENCRYPTED) else "") + match["address"]


_FILE: Final = Kind("FILE", str)
_upstream = partial(option, "Server behind the proxy")
_tls = partial(option, "TLS to the server")
_own = partial(option, "Proxy")
_logging = partial(option, "Logging")


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Every setting of a proxy; the field `x_y` is the flag `--x-y`."""

    server: str = _upstream(
        "localhost:8001", Kind("HOST:PORT", _read_server), "gRPC address of the server; https:// encrypts"
    )
    timeout_secs: float = _upstream(
        60.0, POSITIVE_FLOAT, "seconds to wait for a response, or for the next one of a stream"
    )
    retries: int = _upstream(2, whole(0, 10), "times to repeat a call that the server was not available for")
    poll_secs: float = _upstream(5.0, POSITIVE_FLOAT, "seconds between two looks at the models of the server")
    api_key_file: str = _upstream("", _FILE, "file whose first line is the key that the proxy shows to the server")
    forward_authorization: bool = _upstream(
        False, BOOLEAN, "show the server the Authorization or x-api-key header of clients instead of the proxy's key"
    )

    ca_certificate: str = _tls("", _FILE, "PEM file of the authorities to trust")
    client_certificate: str = _tls("", _FILE, "PEM file of the proxy's certificate")
    client_key: str = _tls("", _FILE, "PEM file of its private key")

    address: str = _own("127.0.0.1", TEXT, "address to listen on; 0.0.0.0 is every interface", aliases=("host",))
    port: int = _own(8005, whole(0, 65535), "port to listen on; 0 lets the system choose")
    workers: int = _own(1, whole(1, 256), "number of processes")
    max_body_bytes: int = _own(64 << 20, whole(1, 2**31 - 1), "maximum size of a request body")
    http_allowed_hosts: tuple[str, ...] = _own(
        (), HOSTS, "names by which clients reach the proxy, besides localhost, this machine's name and addresses",
        gather=lambda lists: tuple(chain.from_iterable(lists)),
    )  # fmt: skip

    log_access: bool = _logging(False, BOOLEAN, "log each request")
    log_config: str = _logging("", _FILE, "logging configuration of uvicorn, in YAML, JSON or INI; logs each request")

    key: str = field(default="", repr=False)
    key_file: str = ""  # that has it, if a file does: `api_key_file`, or that of the variable

    @property
    def target(self) -> str:
        """HOST:PORT of the server."""
        return self.server.removeprefix(_ENCRYPTED)

    @property
    def is_encrypted(self) -> bool:
        """Whether connections to the server use TLS."""
        return self.server.startswith(_ENCRYPTED)

    @property
    def warning(self) -> str:
        """What to know before the proxy starts, "" if there is nothing."""
        if self.forward_authorization or not ListeningFront(PROXY, self.address, self.port).is_open:
            return ""
        return (
            f"everybody who reaches {self.address}:{self.port} can use the models of {self.target}; "
            "--forward-authorization asks each client for a key of the server"
        )


def parse_options(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> ProxyOptions:
    """Return the options of a command line; on --help, print the help text and exit with 0. Raise INVALID_ARG with all
    errors."""
    flags = tuple(flags_of(ProxyOptions))
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(usage(_USAGE, flags, ProxyOptions()) + "\n")
        raise SystemExit(0)
    kinds = {name: flag.kind for flag in flags for name in (flag.name, *flag.aliases)}
    reading = read_words(arguments, kinds)
    problems = reading.problems + [f"Unexpected argument: {word}" for word in reading.positional]
    options = ProxyOptions(**read_values(reading.given, flags, problems))
    problems += _file_problems(options)
    if problems:
        raise invalid("; ".join(problems))
    key_file, key = _key(options, environment)
    return replace(options, key=key, key_file=key_file)


def options_of_line(line: str, environment: Mapping[str, str] = os.environ) -> ProxyOptions:
    """Return the options in the value of `SLIPWAY_PROXY_OPTIONS`, which is written as on a command line."""
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise invalid(f"{OPTIONS_VARIABLE}: {error}") from None
    return parse_options(arguments, environment)


def _file_problems(options: ProxyOptions) -> list[str]:
    problems = [
        f"--{name.replace('_', '-')}: '{path}' is not a file"
        for name in ("api_key_file", "ca_certificate", "client_certificate", "client_key", "log_config")
        if (path := getattr(options, name)) and not Path(path).is_file()
    ]
    if bool(options.client_certificate) != bool(options.client_key):
        problems.append("--client-certificate and --client-key belong together")
    if not options.is_encrypted and (options.ca_certificate or options.client_certificate):
        problems.append("certificates have no effect without https:// in --server")
    return problems


def _key(options: ProxyOptions, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the file that has the key, and the key: the first one, where a server may have several. They are "" if
    there is none."""
    source, file = "--api-key-file", options.api_key_file
    if not file and KEY_VARIABLE not in environment:
        source, file = f"{KEY_VARIABLE}_FILE", environment.get(f"{KEY_VARIABLE}_FILE", "")
    try:
        if file:
            return file, read_key_file(Path(file))[0]
        source, key = KEY_VARIABLE, next(iter(environment.get(KEY_VARIABLE, "").split()), "")
        if key:
            key_digest(key)  # checks it
    except ValueError as error:
        raise invalid(f"{source}: {error}") from None
    return "", key
