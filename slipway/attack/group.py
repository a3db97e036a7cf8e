"""A group of attacks as a value, what its function is given to work with, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar

from slipway.attack.bounds import Allowance, Bounds
from slipway.attack.http_client import HttpClient
from slipway.attack.loopback import LoopbackAddress
from slipway.attack.models import KnownModel, KnownModels
from slipway.attack.neighbour import Neighbourhood
from slipway.attack.transport import Dialler

_Tried = TypeVar("_Tried")
_AT_ONCE: Final = 8


class Need(Enum):
    """What a group needs of the server; the value is the reason for which it is skipped otherwise."""

    NUMBERS = "no model with a small numeric input was found"
    STRINGS = "no model with a small BYTES input was found"
    GRPC = "no gRPC address was given (--grpc)"


class NotApplicableError(Exception):
    """A group does not apply to this server; the message is the reason."""


class HeldState(Enum):
    """What became of a group."""

    HELD = "held"
    NOT_HELD = "NOT HELD"
    SKIPPED = "skipped"


@dataclass(slots=True)
class AttackRun:
    """What a group works with, and what it finds: `failures` has a line per case that did not hold."""

    bounds: Bounds
    allowance: Allowance
    http: HttpClient
    models: KnownModels
    grpc: LoopbackAddress | None = None
    planned: int = 0
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def dialler(self) -> Dialler:
        """Opens connections to the HTTP port."""
        return self.http.dialler

    @property
    def rpc(self) -> Dialler:
        """Opens connections to the gRPC port."""
        if self.grpc is None:
            raise NotApplicableError(Need.GRPC.value)
        return Dialler(self.grpc, self.allowance)

    @property
    def numbers(self) -> KnownModel:
        """The model with a numeric input."""
        if self.models.numbers is None:
            raise NotApplicableError(Need.NUMBERS.value)
        return self.models.numbers

    @property
    def text(self) -> KnownModel:
        """The model with a BYTES input."""
        if self.models.text is None:
            raise NotApplicableError(Need.STRINGS.value)
        return self.models.text

    def lacks(self, need: Need) -> bool:
        """Return whether the server lacks something."""
        found = {Need.NUMBERS: self.models.numbers, Need.STRINGS: self.models.text, Need.GRPC: self.grpc}
        return found[need] is None

    async def each(
        self, cases: Iterable[tuple[str, _Tried]], attempt: Callable[[_Tried], Awaitable[str]], at_once: int = _AT_ONCE
    ) -> None:
        """Try every case, by name, some at once; `attempt` returns what went wrong, "" if nothing did."""
        listed = list(cases)
        self.planned += len(listed)
        waiting = iter(enumerate(listed))
        found: dict[int, str] = {}

        async def work() -> None:
            for number, (name, case) in waiting:
                try:
                    wrong = await attempt(case)
                except OSError as error:
                    wrong = f"no connection: {error.strerror or error}"
                self.tried += 1
                if wrong:
                    found[number] = f"{name}: {wrong}"

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(at_once, len(listed))):
                    tasks.create_task(work())
        finally:
            self.failures += [found[number] for number in sorted(found)]

    async def others_are_served(self, times: int = 20) -> None:
        """Send good requests, one after another, and note those that fail as a case."""
        self.planned += times
        for _ in range(times):
            wrong = await self.models.good.what_is_wrong(self.http)
            self.tried += 1
            if wrong:
                self.failures.append(f"a good request of another client meanwhile: {wrong}")
                break


@dataclass(frozen=True, slots=True)
class AttackGroup:
    """One row of the table of attacks; `reason` names a specification or what goes wrong otherwise."""

    number: int
    name: str
    tries: str
    reason: str
    judged: str
    run: Callable[[AttackRun], Awaitable[None]]
    needs: Sequence[Need] = ()
    kept_mib: int = 512  # memory that the server may still have afterwards, more than before
    peak_mib: int = 2048  # memory that the server may use meanwhile, more than before


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What became of a group; `lines` are its failures, or the reason for skipping it."""

    group: AttackGroup
    state: HeldState
    lines: tuple[str, ...] = ()
    tried: int = 0
    planned: int = 0
    seconds: float = 0.0
    sent: int = 0  # bytes
    neighbours: Neighbourhood | None = None
