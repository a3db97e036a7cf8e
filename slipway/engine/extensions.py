"""The extensions of the protocol that `/v2` announces: Triton's list in Triton's order, each only while it is on.

One row per extension, with the condition under which this server has it. A feature that a flag switches on is
announced when its flag is set, so most features announce themselves. Source: Triton core `server.cc`, which announces
every extension that it was compiled with. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slipway.config.fields import field_row
from slipway.config.options import ServerOptions
from slipway.config.support import Support


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension, and whether a server with given options has it."""

    name: str
    is_on: Callable[[ServerOptions], bool]


def _always(_: ServerOptions) -> bool:
    return True


def _never(_: ServerOptions) -> bool:
    return False


def _with(flag: str) -> Callable[[ServerOptions], bool]:
    """Return the condition that the boolean `flag` is set."""

    def is_on(options: ServerOptions) -> bool:
        return bool(getattr(options, flag.replace("-", "_")))

    return is_on


EXTENSIONS: Final = (
    Extension("classification", _always),
    Extension("sequence", lambda _: field_row("sequence_batching").support is Support.WORKS),
    Extension("model_repository", _always),
    Extension("model_repository(unload_dependents)", _always),
    Extension("schedule_policy", _always),
    Extension("model_configuration", _always),
    Extension("system_shared_memory", _with("allow-client-shm")),
    Extension("cuda_shared_memory", _never),  # GPU memory is not managed here
    Extension("binary_tensor_data", _always),
    Extension("parameters", _always),
    Extension("statistics", _always),
    Extension("trace", lambda options: options.tracing.possible),
    Extension("logging", _always),
)


def announced(options: ServerOptions) -> tuple[str, ...]:
    """Return the names of the extensions that a server with `options` has."""
    return tuple(extension.name for extension in EXTENSIONS if extension.is_on(options))
