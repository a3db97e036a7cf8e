"""Which versions of a model are served: the version policy of its config. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2


@dataclass(frozen=True, slots=True)
class VersionChoice:
    """The versions to serve, ascending, and the versions in a `specific` policy that do not exist."""

    served: tuple[int, ...]
    missing: tuple[int, ...] = ()


def choose_versions(policy: model_config_pb2.ModelVersionPolicy, available: Iterable[int]) -> VersionChoice:
    """Return the `available` versions that `policy` selects; an empty policy means the latest version."""
    existing = sorted(available)
    if policy.HasField("all"):
        return VersionChoice(tuple(existing))
    if policy.HasField("specific"):
        wanted = sorted(set(policy.specific.versions))
        return VersionChoice(
            tuple(version for version in wanted if version in existing),
            tuple(version for version in wanted if version not in existing),
        )
    latest = policy.latest.num_versions if policy.HasField("latest") else 1
    return VersionChoice(tuple(existing[-latest:] if latest else ()))
