"""A config held against the model file itself, by the backend's own checks: those of a load, up to serving.

The weights are read as far as the backend's library must to tell names, types and shapes; nothing is computed, and
code of a Python model's does not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from slipway.backends.api import Host, ModelContext
from slipway.backends.registry import find_backend
from slipway.config.signature import build_signature
from slipway.cores import cpu_limit
from slipway.errors import Code, SlipwayError
from slipway.instances.plan import threads_per_instance
from slipway.lint.finding import Finding, Severity
from slipway.lint.model import Model
from slipway.lint.reading import refusal_findings
from slipway.problems import Problem


@runtime_checkable
class ChecksModels(Protocol):
    """A backend that looks at a model as its load does, without serving it."""

    def check(self, context: ModelContext) -> Sequence[Problem]:
        """Return the words of the configuration that have no effect; raise `SlipwayError` for what a load refuses."""


def graph_findings(model: Model) -> Iterator[Finding]:
    """Yield what the backend refuses or ignores of the newest served version."""
    directory = model.version_directory
    if directory is None:
        return
    try:
        backend = find_backend(model.config.backend)
        if isinstance(backend, ChecksModels) and model.config.input and model.config.output:
            for problem in backend.check(_context(model, directory)):
                yield model.finding_of(problem, severity=Severity.WARNING)
    except SlipwayError as error:
        if error.code is not Code.UNAVAILABLE:  # else the library is not installed: a finding of its own
            yield from refusal_findings(model, error)


def _context(model: Model, directory: Path) -> ModelContext:
    """Return what a load would be given, but for the server around it, which a check does not ask."""
    config = type(model.config)()
    config.CopyFrom(model.config)
    for output in config.output:
        output.ClearField("label_filename")  # a missing one is a finding of its own
    return ModelContext(
        name=model.name,
        version=int(directory.name),
        model_directory=model.directory,
        version_directory=directory,
        config=config,
        signature=build_signature(config, model.directory),
        backend_config={},
        threads=threads_per_instance(config, cpu_limit()),
        host=cast("Host", None),
    )
