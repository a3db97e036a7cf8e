"""The difference between two scans of the repositories. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slipway.repository.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class RepositoryDiff:
    """Names of models, sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def diff(before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]) -> RepositoryDiff:
    """Return the models that were added, removed or changed."""
    return RepositoryDiff(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
    )
