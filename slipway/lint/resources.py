"""Check the resources of the rate limiter, in one config and between the models of a repository. Pure.

A warning, not an error: a server without `--rate-limit` serves the models all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slipway.config.rate_limit import is_global, mixed_scopes, rate_limiter_problems
from slipway.lint.finding import Finding, Severity
from slipway.lint.model import Model
from slipway.machine import Machine


def own_resources(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield the resources of a model that cannot be used as they are listed."""
    for problem in rate_limiter_problems(model.config):
        yield model.finding_of(problem, severity=Severity.WARNING)


def shared_resources(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Yield the resources that are global here and of a device in a model before this one, or the other way round."""
    before: dict[str, bool] = {}
    for name in sorted(name for name in models if name < model.name):
        for group in models[name].config.instance_group:
            for resource in group.rate_limiter.resources:
                before.setdefault(resource.name, is_global(resource))
    for index, group in enumerate(model.config.instance_group):
        for at, resource in enumerate(group.rate_limiter.resources):
            if before.get(resource.name, is_global(resource)) != is_global(resource):
                path = ("instance_group", index, "rate_limiter", "resources", at)
                yield model.finding_of(mixed_scopes(resource.name, path), severity=Severity.WARNING)
