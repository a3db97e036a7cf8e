"""What every route handler is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from slipway.engine.api import Dataplane
from slipway.rest.exchange import Exchange


@dataclass(frozen=True, slots=True)
class RestOptions:
    """Settings of the HTTP front."""

    max_input_size: int = 64 << 20  # bytes of a decompressed body


@dataclass(frozen=True, slots=True)
class Context:
    """The dataplane and the settings of the front."""

    dataplane: Dataplane
    options: RestOptions = field(default_factory=RestOptions)


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """The model and version ("" when not given) that a path names."""

    model: str = ""
    version: str = ""


Route = Callable[[Context, Exchange, ModelTarget], None]
