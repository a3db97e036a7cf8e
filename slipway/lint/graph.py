"""Check a config against the model file itself, with the backend's own checks: those of a load, except serving.

Weights are read only as far as the backend's library needs for names, types and shapes; nothing is computed, and the
code of Python models does not run.
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
    """A backend that checks a model as its load does, without serving it."""

    def check(self, context: ModelContext) -> Sequence[Problem]:
        """Return the settings that have no effect; raise `SlipwayError` for what a load refuses."""


def graph_findings(model: Model) -> Iterator[Finding]:
    """Yield what the backend refuses or ignores in the newest served version."""
    directory = model.version_directory
    if directory is None:
        return
    try:
        backend = find_backend(model.config.backend)
        if isinstance(backend, ChecksModels) and model.config.input and model.config.output:
            for problem in backend.check(_context(model, directory)):
                yield model.finding_of(problem, severity=Severity.WARNING)
    except SlipwayError as error:
        if error.code is not Code.UNAVAILABLE:  # otherwise the library is not installed, which has its own finding
            yield from refusal_findings(model, error)


def _context(model: Model, directory: Path) -> ModelContext:
    """Return the context of a load, without the server around it, which checks do not use."""
    config = type(model.config)()
    config.CopyFrom(model.config)
    for output in config.output:
        output.ClearField("label_filename")  # a missing file has its own finding
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
