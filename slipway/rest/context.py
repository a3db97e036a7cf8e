"""The arguments of every route handler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from slipway.engine.api import Dataplane
from slipway.rest.access import Access
from slipway.rest.exchange import Exchange


@dataclass(frozen=True, slots=True)
class RestOptions:
    """Settings of the HTTP front."""

    max_input_size: int = 64 << 20  # maximum size of a decompressed body, in bytes
    access: Access = field(default_factory=Access)  # the names that the server answers to


@dataclass(frozen=True, slots=True)
class Context:
    """The dataplane and the front's settings."""

    dataplane: Dataplane
    options: RestOptions = field(default_factory=RestOptions)


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """The model and version in a path; the version is "" if the path has none. A region's name is in `model`."""

    model: str = ""
    version: str = ""


Route = Callable[[Context, Exchange, ModelTarget], None]
