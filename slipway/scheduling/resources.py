"""How many of each resource there are, given what the command line grants and what the loaded instances need.

Pure. Without a flag, there are as many as the instance that needs the most of them; with one, every resource needs a
flag. Source: Triton rate_limiter.md; texts of tritonserver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from slipway.config.rate_limit import Claim, ResourceCount, ResourceKey, mixed_scopes
from slipway.errors import refused
from slipway.problems import Problem, Rule


class Resources:
    """The resources of all instances that are loaded; `totals` holds how many there are of each."""

    def __init__(self, granted: Iterable[ResourceCount] = ()) -> None:
        self._granted: dict[ResourceKey, int] = {}
        for each in granted:
            key = ResourceKey(each.name, each.device)
            self._granted[key] = min(each.count, self._granted.get(key, each.count))
        self._claims: Counter[Claim] = Counter()
        self.totals: Mapping[ResourceKey, int] = {}

    def add(self, claims: Sequence[Claim]) -> None:
        """Count a model's instances in. Raise INVALID_ARG, and change nothing, if one of them could never run, or if a
        resource would be both global and of a device."""
        totals = dict(self.totals)
        for claim in claims:
            for key, count in sorted(claim.needs, key=lambda need: need[0].rank):
                totals[key] = self._total(key, max(count, totals.get(key, 0)), needed=count)
        for name in sorted({key.name for claim in claims for key, _ in claim.needs}):
            if len({key.device is None for key in totals if key.name == name}) > 1:
                raise refused(mixed_scopes(name, ("instance_group",)))
        self._claims.update(claims)
        self.totals = totals

    def remove(self, claims: Iterable[Claim]) -> None:
        """Count a model's instances out."""
        self._claims.subtract(claims)
        self._claims += Counter()  # drops those that are gone
        totals: dict[ResourceKey, int] = {}
        for claim in self._claims:
            for key, count in claim.needs:
                totals[key] = self._total(key, max(count, totals.get(key, 0)), needed=count)
        self.totals = totals

    def _total(self, key: ResourceKey, largest: int, *, needed: int) -> int:
        """Return how many there are of a resource of which an instance needs `needed`, and none more than `largest`."""
        if not self._granted:
            return largest
        if key.device is None:
            count = max((count for other, count in self._granted.items() if other.name == key.name), default=0)
        else:
            count = max(self._granted.get(key, 0), self._granted.get(ResourceKey(key.name), 0))
        if count < needed:
            text = (
                f'Resource count for "{key.name}" is limited to {count} which will prevent scheduling of one or more '
                f"model instances, the minimum required count is {needed}"
            )
            fix = f"start the server with --rate-limit-resource={key.name}:{needed}, or lower the count in rate_limiter"
            raise refused(Problem(Rule.RATE_LIMITER, text, ("instance_group",), fix))
        return count
