"""The seam between a run and a transport: one connection to a server, which carries one request at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slipway.client.endpoint import Endpoint
from slipway.lines.text_model import TextModel


@dataclass(frozen=True, slots=True)
class Described:
    """What a server reports about a model; `config` is empty if it does not report one."""

    metadata: Mapping[str, Any]
    config: Mapping[str, Any]


class ModelConnection(Protocol):
    """One connection. Errors are `SlipwayError`: UNAVAILABLE if the server or the model cannot answer now, NOT_FOUND
    if it does not have the model, any other code if it refuses these lines."""

    async def describe(self, model: str, version: str) -> Described:
        """Return the model's metadata and configuration."""

    async def is_ready(self, model: str, version: str) -> bool:
        """Return whether the model can be asked."""

    async def infer(self, model: TextModel, lines: Sequence[bytes]) -> list[list[bytes]]:
        """Return the values of the text output for each line."""

    async def models(self) -> list[str]:
        """Return the names of the models of the server, as far as it reports them."""

    async def close(self) -> None:
        """Close the connection."""


Connect = Callable[[Endpoint], ModelConnection]
