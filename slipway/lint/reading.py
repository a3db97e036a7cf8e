"""Read a model directory into a `Model`: parse its config, complete it from its files and its backend, normalise it.

Failures become findings, and the rest of the model is still checked. If the config of a Python model omits inputs or
outputs, its `auto_complete_config` is run in a child process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext
from slipway.backends.registry import find_backend
from slipway.config.complete import FORMATS, complete_from_files
from slipway.config.normalise import normalise
from slipway.config.parse import MAX_BYTES
from slipway.errors import Code, SlipwayError
from slipway.lint.document import Document
from slipway.lint.finding import Finding, Severity
from slipway.lint.model import Model
from slipway.lint.syntax import read_text
from slipway.machine import Machine
from slipway.problems import Problem, Rule
from slipway.repository.fingerprint import endless_file_problem, fingerprint
from slipway.repository.scan import CONFIG_FILE, scan_versions
from slipway.repository.versions import choose_versions

DEFAULT_MAX_BATCH_SIZE: Final = 4  # the server's default
_OF_THE_FILE: Final = frozenset({Rule.COMPLETION_FAILED, Rule.GRAPH_UNREADABLE, Rule.FILE_MISSING})


@dataclass(frozen=True, slots=True)
class Read:
    """A model and the findings of reading it; the model's `config` is empty if its text cannot be read."""

    model: Model
    findings: tuple[Finding, ...] = ()
    is_readable: bool = True


def read_model(directory: Path, name: str, machine: Machine) -> Read:
    """Return the model of a directory; problems of the model become findings, not exceptions."""
    file = directory / CONFIG_FILE
    problem = endless_file_problem(fingerprint(directory))
    if problem is not None:  # nothing may open it
        finding = Finding(Severity.ERROR, problem.rule, name, directory, problem.text, fix=problem.fix)
        return Read(Model(name, directory, file, is_whole=False), (finding,), is_readable=False)
    try:
        return _read(directory, name, machine, _text(file))
    except ValueError as error:
        fix = "save it as UTF-8 text, or create it with `slipway config create`"
        message = f"the file cannot be read: {error}"
        finding = Finding(Severity.ERROR, Rule.CONFIG_UNREADABLE, name, file, message, fix=fix)
    except OSError as error:
        finding = unreadable_file(name, file, error)
    return Read(Model(name, directory, file, is_whole=False), (finding,), is_readable=False)


def unreadable_file(model: str, nearest: Path, error: OSError) -> Finding:
    """Return the finding for an unreadable file or directory, `nearest` if the error names none."""
    file = Path(error.filename) if isinstance(error.filename, str) else nearest
    fix = "give the user who runs the server permission to read it (chmod, chown)"
    cause = error.strerror or error
    return Finding(Severity.ERROR, Rule.FILE_UNREADABLE, model, file, f"'{file.name}' cannot be read: {cause}", fix=fix)


def _read(directory: Path, name: str, machine: Machine, text: str) -> Read:
    file = directory / CONFIG_FILE
    reading = read_text(text, name, file)
    if reading.config is None:
        model = Model(name, directory, file, reading.document, is_whole=False)
        return Read(model, reading.findings, is_readable=False)
    return _complete(_written(name, directory, reading.document, reading.config), machine)


def _text(file: Path) -> str:
    if not file.is_file():
        return ""
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return file.read_text(encoding="utf-8")


def _written(name: str, directory: Path, document: Document, written: model_config_pb2.ModelConfig) -> Model:
    versions = scan_versions(directory)
    served = choose_versions(written.version_policy, versions.paths)
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(written)
    config.name = name  # a wrong name has its own finding; the rest is about the model of this directory
    file = directory / CONFIG_FILE
    return Model(name, directory, file, document, written, config, versions, served)


def _complete(model: Model, machine: Machine) -> Read:
    """Complete the model's config in place; a failure becomes a finding."""
    findings = _complete_fields(model, machine)
    normalise(model.config)
    is_whole = not findings and bool(model.config.input or model.config.output)
    whole = Model(
        model.name,
        model.directory,
        model.file,
        model.document,
        model.written,
        model.config,
        model.versions,
        model.served,
        is_whole,
    )
    return Read(whole, tuple(findings))


def _complete_fields(model: Model, machine: Machine) -> list[Finding]:
    config = model.config
    try:
        complete_from_files(config, model.directory, model.version_directory)
    except SlipwayError as error:
        return list(refusal_findings(model, error))
    if model.is_ensemble:
        return []
    if config.backend == "tensorrt" and not machine.gpus:
        return []  # settings.py reports it
    try:
        backend = find_backend(config.backend)
    except SlipwayError as error:
        severity = Severity.WARNING if error.code is Code.UNAVAILABLE else Severity.ERROR
        return [model.finding_of(problem, severity=severity) for problem in error.problems]
    if missing_files(model):
        return []  # layout.py reports it
    settings = CompletionContext(model.directory, model.version_directory, DEFAULT_MAX_BATCH_SIZE)
    if config.backend == "python" and config.input and config.output:
        return []  # the linter runs no more of a user's code than necessary
    try:
        backend.complete(config, settings)
    except SlipwayError as error:
        return list(refusal_findings(model, error))
    return []


def refusal_findings(model: Model, error: SlipwayError) -> Iterator[Finding]:
    """Yield the findings of what completion or a backend refuses, at the field or at the model file."""
    file = (model.version_directory or model.directory) / model.config.default_model_filename
    for problem in error.problems or [_unknown_problem(model, error)]:
        if problem.rule in _OF_THE_FILE:
            yield model.finding_of_file(problem.rule, _first_line(problem), file, fix=problem.fix)
        else:
            yield model.finding_of(problem)


def _unknown_problem(model: Model, error: SlipwayError) -> Problem:
    """Return a problem for an error that carries none, such as an error of a library: it is about the file that the
    backend opens, or about the config if there is no backend."""
    if model.config.backend == "python":
        fix = "correct auto_complete_config, or declare inputs and outputs in config.pbtxt"
        return Problem(Rule.COMPLETION_FAILED, error.message, fix=fix)
    if model.config.backend and error.code is Code.INTERNAL:
        return Problem(Rule.GRAPH_UNREADABLE, error.message, fix="export or copy the model again")
    return Problem(
        Rule.CONFIG_INVALID, error.message, fix="correct what the message names; the server reports the same"
    )


def _first_line(problem: Problem) -> str:
    """Return the text of a problem, without the traceback of an exception in the model's own code."""
    return problem.text.partition("\n")[0] if problem.rule is Rule.COMPLETION_FAILED else problem.text


def missing_files(model: Model) -> list[Path]:
    """Return the files that the backend opens but the served versions lack."""
    if model.is_ensemble or model.config.runtime.endswith(".py"):  # a script finds its own files
        return []
    standard = [row.file_name for row in FORMATS if row.backend == model.config.backend][:1]
    given = model.config.default_model_filename
    if not standard or ".." in Path(given).parts:  # the backend opens no file, or this is `file-outside`
        return []
    names = [given] if given else standard
    names += [f"{name.removesuffix('.xml')}.bin" for name in names if name.endswith(".xml")]
    directories = [model.versions.paths[version] for version in model.served.served]
    return [directory / name for directory in directories for name in names if not _is_there(directory / name)]


def _is_there(path: Path) -> bool:
    """Return whether a file or directory exists; pipes and devices, which may never end, do not count."""
    return path.is_file() or path.is_dir()
