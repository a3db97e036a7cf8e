"""Schedules a model whose instances share resources with those of other models.

Runs on the event-loop thread. `rate_limiter.py` decides which instances may execute. Here a scheduler stages instances
while it has waiting requests, forms a batch when one of them is granted its resources, and gives these back when the
execution ends. A batch that still waits for more requests holds nothing. Models without resources have an
`InstanceScheduler`, which knows none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import InstanceSpec
from slipway.backends.instance_api import Instance
from slipway.config.rate_limit import Claim, ResourceCount, claim_of, is_limited
from slipway.core.explanation import Wait
from slipway.core.pending import Pending
from slipway.scheduling.completion import Completion
from slipway.scheduling.driver import InstanceScheduler
from slipway.scheduling.pool import InstancePool, InstanceSlot
from slipway.scheduling.rate_limiter import Permit, PermitState, RateLimiter
from slipway.scheduling.resources import Resources

_LOG: Final = logging.getLogger("slipway.scheduling")


class RateLimits:
    """The rate limiter of a server, and whom to call when an instance may execute."""

    def __init__(self, granted: Iterable[ResourceCount] = ()) -> None:
        self.limiter = RateLimiter(Resources(granted))
        self._callbacks: dict[Permit, Callable[[], None]] = {}
        self._settling = False

    def admit(self, config: model_config_pb2.ModelConfig, specs: Sequence[InstanceSpec]) -> Admission | None:
        """Admit a model's instances; return None if it needs nothing. Raise INVALID_ARG if an instance needs more of a
        resource than there is."""
        if not is_limited(config):
            return None
        claims = [claim_of(config.instance_group[spec.group], spec.device_id) for spec in specs]
        admission = Admission(self, self.limiter.add(claims))
        _LOG.debug("rate limiter: %s", self)
        self.settle()  # there may be more of a resource now
        return admission

    def dismiss(self, permits: Iterable[Permit]) -> None:
        """Forget instances, whatever they hold; harmless if they are forgotten already."""
        for permit in permits:
            self._callbacks.pop(permit, None)
        self.limiter.remove(permits)
        self.settle()

    def connect(self, permit: Permit, granted: Callable[[], None]) -> None:
        """Call `granted` whenever the instance is granted its resources."""
        self._callbacks[permit] = granted

    def settle(self) -> None:
        """Start every instance that may start. Loops instead of recursing: an instance may finish at once."""
        if self._settling:
            return
        self._settling = True
        try:
            while (permit := self.limiter.poll()) is not None:
                self._callbacks[permit]()
        finally:
            self._settling = False

    def __str__(self) -> str:
        totals = sorted(self.limiter.resources.totals.items(), key=lambda total: total[0].rank)
        return ", ".join(f"{key} x {count}" for key, count in totals)


@dataclass(frozen=True, slots=True)
class Admission:
    """The permits of a model version's instances, in their order."""

    limits: RateLimits
    permits: Sequence[Permit]

    def end(self) -> None:
        """Give them up."""
        self.limits.dismiss(self.permits)


class LimitedPool(InstancePool):
    """The slots of a model version with an admission; `free` holds those that have been granted their resources."""

    def __init__(self, instances: Sequence[Instance], completion: Completion, freed: Callable[[], None]) -> None:
        super().__init__((), completion, freed, pipelined=False)
        self._instances = instances
        self._limiter: RateLimiter
        self._permits: dict[InstanceSlot, Permit] = {}
        self._groups: dict[Claim, list[Permit]] = {}

    def connect(self, admission: Admission, granted: Callable[[InstanceSlot], None]) -> None:
        """Call `granted` with each slot that has been granted its resources."""
        self._limiter = admission.limits.limiter
        for instance, permit in zip(self._instances, admission.permits, strict=True):
            slot = InstanceSlot(self, instance)
            self._permits[slot] = permit
            self._groups.setdefault(permit.claim, []).append(permit)
            admission.limits.connect(permit, partial(granted, slot))

    @property
    def shortage(self) -> Wait:
        """What a request waits for: the resources of an instance, or an instance."""
        return Wait.RESOURCES if self.busy < len(self._instances) else Wait.INSTANCE

    def put_back(self, slot: InstanceSlot, duration_ns: int) -> None:  # noqa: ARG002  as InstancePool
        """Give the resources of an execution back."""
        self.busy -= 1
        self._limiter.release(self._permits[slot])

    def stage(self, wanted: int) -> None:
        """Let up to `wanted` instances of each kind wait for their resources, those that have run least first."""
        for permits in self._groups.values():
            staged = sum(permit.state is PermitState.STAGED for permit in permits)
            for permit in sorted(permits, key=lambda each: each.finish):
                if staged < wanted and permit.state is PermitState.IDLE:
                    self._limiter.stage(permit)
                    staged += 1
                elif staged > wanted and permit.state is PermitState.STAGED:
                    self._limiter.withdraw(permit)
                    staged -= 1

    def give_back(self) -> None:
        """Give back what was granted and is not needed."""
        for slot in self.free:
            self._limiter.release(self._permits[slot], executed=False)
        self.free.clear()


class LimitedScheduler(InstanceScheduler):
    """An `InstanceScheduler` whose instances execute only while they have their resources.

    Between events `free` is empty, so every request is queued first.
    """

    def __init__(self, *arguments: Any, instances: Sequence[Instance], admission: Admission, **settings: Any) -> None:
        settings.pop("pipelined", None)  # each execution needs the resources of its own
        super().__init__(*arguments, instances=(), **settings)
        self._admission = admission
        self._limits = admission.limits
        self._pool: LimitedPool = LimitedPool(instances, self._completion, self._freed)
        self._pool.connect(admission, self._granted)

    async def drain(self) -> None:
        """Refuse new requests, wait until every accepted one is answered, and give up the permits."""
        await super().drain()
        self._admission.end()

    def _queued(self) -> None:
        self._pump()  # which asks for an instance

    def _pump(self) -> None:
        """Expire requests, and ask for resources for those that wait."""
        self._advance()
        self._limits.settle()

    def _granted(self, slot: InstanceSlot) -> None:
        self._pool.free.append(slot)
        if not self._pumping:  # else the pump finds it
            self._advance()

    def _advance(self) -> None:
        """Start what may start, and stage as many instances as there are requests left that are due."""
        super()._pump()
        pool = self._pool
        if pool.free:  # nothing is due
            pool.give_back()
            pool.stage(0)
        else:
            pool.stage(len(self._line))

    def _freed(self) -> None:
        super()._freed()
        self._limits.settle()  # what this execution held may be what another model waits for

    def _cancelled(self, pending: Pending) -> None:
        super()._cancelled(pending)
        self._pool.stage(len(self._line))
        self._limits.settle()
