"""Run all rules over a repository or one model: all that `slipway check` does apart from fixing and printing.

The problems of one model never hide those of another. Reads and reports; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from slipway.config.validate import validate
from slipway.errors import not_found
from slipway.lint.ensembles import ensemble_findings
from slipway.lint.finding import Finding, Severity, count
from slipway.lint.graph import graph_findings
from slipway.lint.layout import layout_findings, repository_findings
from slipway.lint.model import Model
from slipway.lint.reading import Read, missing_files, read_model, unreadable_file
from slipway.lint.resources import shared_resources
from slipway.lint.settings import CHECKS, cache_of_the_server, preferred_edits, undeclared_tensors
from slipway.machine import Machine
from slipway.problems import Rule
from slipway.repository.scan import is_single_model, scan_repositories, stray_reason

_NO_BACKEND = frozenset({Rule.PLATFORM_BACKEND, Rule.BACKEND_UNKNOWN})
_OF_A_BACKEND = frozenset({Rule.FILE_MISSING, Rule.VERSION_EMPTY})  # only a backend knows which files are needed
_TENSOR_RULES = frozenset(
    {
        Rule.FIELD_MISSING,
        Rule.DIMS_INVALID,
        Rule.RESHAPE_MISMATCH,
        Rule.TENSOR_DECLARED_TWICE,
        Rule.BATCH_TENSORS,
    }
)
_SIZE_RULES = frozenset({Rule.PREFERRED_SIZE_UNSORTED, Rule.PREFERRED_SIZE_ABOVE_MAX, Rule.PREFERRED_SIZE_NOT_POSITIVE})


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and the findings in the order of models and lines."""

    repository: Path
    models: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """The number of errors."""
        return count(self.findings, Severity.ERROR)


def check_repository(repository: Path, machine: Machine) -> Report:
    """Check a repository, or the directory of one model; raise NOT_FOUND if it does not exist."""
    if not repository.is_dir():
        raise not_found(f"'{repository}' is not a directory; specify a model repository or the directory of a model")
    if _is_model(repository):
        return _check_model(repository, machine)
    scan = scan_repositories([repository])
    reads = {name: read_model(path, name, machine) for name, path in scan.models.items()}
    models = {name: read.model for name, read in reads.items()}
    findings = list(repository_findings(repository, scan))
    for read in reads.values():
        findings += _sorted(_model_findings(read, models, machine))
    return Report(repository, tuple(models), tuple(findings))


def _check_model(directory: Path, machine: Machine) -> Report:
    """Check one model; models of ensemble steps, at any depth, are read from the directories next to it."""
    name = directory.resolve().name
    read = read_model(directory, name, machine)
    models = {name: read.model}
    waiting = [read.model]
    while waiting:
        for step in waiting.pop().config.ensemble_scheduling.step:
            neighbour = directory.resolve().parent / step.model_name
            if step.model_name and step.model_name not in models and neighbour.is_dir():
                models[step.model_name] = read_model(neighbour, step.model_name, machine).model
                waiting.append(models[step.model_name])
    return Report(directory, (name,), tuple(_sorted(_model_findings(read, models, machine))))


def _is_model(path: Path) -> bool:
    """Return whether `path` is the directory of one model: it has a config, or versions and no models."""
    return is_single_model(path) or (not stray_reason(path.resolve()) and not scan_repositories([path]).models)


def _model_findings(read: Read, models: dict[str, Model], machine: Machine) -> Iterator[Finding]:
    yield from read.findings
    model = read.model
    if not read.is_readable:
        return
    edits = preferred_edits(model)  # one edit for everything that is wrong with the list
    try:
        for finding in _rule_findings(read, models, machine):
            yield replace(finding, edits=edits) if finding.rule in _SIZE_RULES else finding
    except OSError as error:
        yield unreadable_file(model.name, model.directory, error)


def _rule_findings(read: Read, models: dict[str, Model], machine: Machine) -> Iterator[Finding]:
    model = read.model
    if any(finding.rule in _NO_BACKEND for finding in read.findings):
        unknown = any(finding.rule is Rule.BACKEND_UNKNOWN for finding in read.findings)
        yield from (each for each in layout_findings(model) if not (unknown and each.rule in _OF_A_BACKEND))
        return
    yield from layout_findings(model)
    problems = validate(model.config, model.directory)
    yield from map(model.finding_of, problems)
    if model.is_ensemble:
        yield from ensemble_findings(model, models)
        yield from cache_of_the_server(model, machine)
    else:
        if any(
            problem.rule is Rule.UNKNOWN_VALUE for problem in problems
        ):  # the rules look up the names of enum values
            return
        # After a finding, completion may be why tensors are missing.
        checks = [each for each in CHECKS if each is not undeclared_tensors or not read.findings]
        found = [finding for check in checks for finding in check(model, machine)]
        yield from found
        yield from shared_resources(model, models)
        if any(problem.rule in _TENSOR_RULES for problem in problems):  # backends need well-declared tensors
            return
        if not missing_files(model) and not read.findings:
            said = {(each.line, each.column) for each in found if each.rule is Rule.GPU_ON_CPU_HOST}
            for finding in graph_findings(model):
                if finding.rule is not Rule.WITHOUT_EFFECT or (finding.line, finding.column) not in said:
                    yield finding


def _sorted(findings: Iterator[Finding]) -> list[Finding]:
    """Return the findings by place, each once: an ensemble's own problems are found with and without its models."""
    return sorted(dict.fromkeys(findings), key=lambda each: (str(each.file), each.line, each.column, each.rule))
