"""The difference between two scans of the repositories. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slipway.core.model_id import ModelId
from slipway.repository.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class RepositoryDiff:
    """Models, sorted."""

    added: tuple[ModelId, ...] = ()
    removed: tuple[ModelId, ...] = ()
    changed: tuple[ModelId, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def diff(before: Mapping[ModelId, Fingerprint], after: Mapping[ModelId, Fingerprint]) -> RepositoryDiff:
    """Return the models that were added, removed or changed."""
    return RepositoryDiff(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(model for model in before.keys() & after.keys() if before[model] != after[model])),
    )
