"""Check the directories and files of a repository: which are not models, and what a model's directory lacks.

Looks only at names and label files; the contents of model files are checked in `graph.py`.
"""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterator
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from slipway.lint.finding import Edit, Finding, Severity
from slipway.lint.model import Model
from slipway.lint.reading import missing_files
from slipway.problems import Named, Rule
from slipway.repository.scan import RepositoryScan


def repository_findings(repository: Path, scan: RepositoryScan) -> Iterator[Finding]:
    """Yield the findings about the repository's own directory."""
    for folder, cause in scan.unreadable:
        yield Finding(Severity.ERROR, Rule.NO_MODELS, "", Path(folder), f"the repository cannot be read: {cause}")
    for name, reason in scan.strays:
        yield _stray(repository / name, reason)
    if not scan.models and not scan.unreadable:
        fix = f"put each model in its own directory: {repository}/NAME/config.pbtxt, {repository}/NAME/1/"
        yield Finding(Severity.ERROR, Rule.NO_MODELS, "", repository, "the repository contains no models", fix=fix)


def _stray(path: Path, reason: str) -> Finding:
    if path.name != path.name.strip():
        fix = f"rename it to '{path.name.strip()}'"
        message = f"the directory '{path.name}' is not a model: {reason}"
        return Finding(Severity.ERROR, Rule.DIRECTORY_NAME_BLANK, "", path, message, fix=fix)
    hidden = path.name.startswith(".")
    fix = "remove it, or move it out of the repository"
    if not hidden and any(child.is_file() for child in path.glob("*/config.pbtxt")):
        fix = f"it looks like another repository: slipway check {path}"
    severity = Severity.HINT if hidden else Severity.WARNING
    message = f"the directory '{path.name}' is not a model: {reason}"
    return Finding(severity, Rule.STRAY_DIRECTORY, "", path, message, fix=fix)


def layout_findings(model: Model) -> Iterator[Finding]:
    """Yield the findings about a model's directory."""
    yield from _name(model)
    yield from _versions(model)
    yield from _files(model)
    yield from label_findings(model)


def _name(model: Model) -> Iterator[Finding]:
    given = model.written.name
    if not given or given == model.name:
        return
    value = model.document.find(("name", 0))
    edits = (Edit(value.start, value.end, json.dumps(model.name)),) if value is not None else ()
    message = f"name is '{given}', but the directory is called '{model.name}'"
    fix = f'write name: "{model.name}", or rename the directory'
    yield model.finding(Rule.NAME_NOT_DIRECTORY, message, ("name",), fix=fix, edits=edits)


def _versions(model: Model) -> Iterator[Finding]:
    for folder, reason in model.versions.ignored:
        yield model.finding_of_file(
            Rule.VERSION_IGNORED,
            f"ignored version directory '{folder}', {reason}",
            model.directory / folder,
            severity=Severity.WARNING,
            fix="name versions 1, 2, 3; move everything else out of the model's directory",
        )
    for version in model.served.missing:
        message = f"version_policy names version {version}, which has no directory"
        path = ("version_policy",)
        yield model.finding(Rule.VERSION_MISSING, message, path, severity=Severity.WARNING, fix=f"create {version}/")
    if not model.served.served:
        contents = "; for an ensemble it may be empty" if model.is_ensemble else ", and put the model's file in it"
        fix = f"create {model.directory / '1'}{contents}"
        message = "there is no version directory to serve"
        yield model.finding_of_file(Rule.VERSION_MISSING, message, model.directory, fix=fix)


def _files(model: Model) -> Iterator[Finding]:
    missing = missing_files(model)
    for directory in dict.fromkeys(path.parent for path in missing):
        names = [path.name for path in missing if path.parent == directory]
        if directory.is_dir() and not any(directory.iterdir()):
            message = f"version {directory.name} is empty, but backend '{model.config.backend}' needs {names[0]}"
            yield model.finding_of_file(Rule.VERSION_EMPTY, message, directory, fix=f"put {names[0]} in it")
            continue
        for name in names:
            message = f"'{name}', which backend '{model.config.backend}' needs, is missing"
            fix = "add the file, or name another one in default_model_filename"
            yield model.finding_of_file(Rule.FILE_MISSING, message, directory / name, fix=fix)


def label_findings(model: Model) -> Iterator[Finding]:
    """Yield label files that are missing or do not fit their output."""
    for output in model.config.output:
        name = output.label_filename
        if not name or not _is_inside(model.directory, name):  # the latter is `file-outside`
            continue
        path = ("output", Named(output.name), "label_filename")
        try:
            lines = _line_count(model.directory / name)
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is not valid UTF-8"
            message = f"the label file '{name}' of output '{output.name}' cannot be read: {cause}"
            yield model.finding(Rule.LABEL_FILE_MISSING, message, path, fix="put the file next to config.pbtxt")
            continue
        yield from _label_count(model, output, lines)


def _is_inside(directory: Path, name: str) -> bool:
    try:
        return (directory / name).resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or not a valid name
        return False


def _line_count(file: Path) -> int:
    if file.exists() and not file.is_file():  # a directory, or a pipe that nobody may ever write to
        raise OSError(errno.EINVAL, "it is not a regular file")
    return len(file.read_text(encoding="utf-8").splitlines())


def _label_count(model: Model, output: model_config_pb2.ModelOutput, lines: int) -> Iterator[Finding]:
    if min(output.dims, default=0) < 1 or math.prod(output.dims) == lines:
        return
    message = (
        f"the label file '{output.label_filename}' has {lines} lines, but output '{output.name}' has "
        f"{math.prod(output.dims)} elements"
    )
    path = ("output", Named(output.name), "label_filename")
    fix = "write one line for each element, in order"
    yield model.finding(Rule.LABEL_COUNT, message, path, severity=Severity.WARNING, fix=fix)
