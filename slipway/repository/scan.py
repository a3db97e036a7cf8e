"""The contents of the model repositories: model directories and their version directories.

Reads no config and writes no log. Directories that it skips are part of the result, so that the caller can report
them. Rules: Triton docs/user_guide/model_repository.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

CONFIG_FILE = "config.pbtxt"
CONFIGS_DIRECTORY = "configs"
# Valid directories of a model that are not versions.
SIDE_DIRECTORIES = frozenset({"warmup", "initial_state", CONFIGS_DIRECTORY})


@dataclass(frozen=True, slots=True)
class RepositoryScan:
    """Models by name; `duplicates` are in several repositories; `strays` are (folder, why it is not a model);
    `unreadable` are (repository, reason)."""

    models: dict[str, Path] = field(default_factory=dict)
    duplicates: frozenset[str] = frozenset()
    strays: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class VersionScan:
    """Version directories by number; `ignored` are (folder, why it is not a version)."""

    paths: dict[int, Path]
    ignored: tuple[tuple[str, str], ...] = ()


def is_single_model(path: Path) -> bool:
    """Return whether a repository path is itself a model directory."""
    return (path / CONFIG_FILE).is_file()


def scan_repositories(repositories: Iterable[Path]) -> RepositoryScan:
    """Return the models of all repositories."""
    models: dict[str, Path] = {}
    duplicates: set[str] = set()
    strays: list[tuple[str, str]] = []
    unreadable: list[tuple[str, str]] = []
    for repository in repositories:
        try:
            directories = _model_directories(repository)
        except OSError as error:
            unreadable.append((str(repository), error.strerror or str(error)))
            continue
        for path in directories:
            reason = stray_reason(path)
            if reason:
                strays.append((path.name, reason))
            elif path.name in models:
                duplicates.add(path.name)
            else:
                models[path.name] = path
    return RepositoryScan(dict(sorted(models.items())), frozenset(duplicates), tuple(strays), tuple(unreadable))


def _model_directories(repository: Path) -> list[Path]:
    if is_single_model(repository):
        return [repository.resolve()]
    return sorted(path for path in repository.iterdir() if path.is_dir())


def stray_reason(path: Path) -> str:
    """Return why a folder in a repository is not a model, or "" if it may be a model."""
    if path.name != path.name.strip():
        return "its name begins or ends with whitespace"
    if any("\ud800" <= character <= "\udfff" for character in path.name):  # bytes that Python could not decode
        return "its name is not valid Unicode"
    if is_single_model(path) or (path / CONFIGS_DIRECTORY).is_dir() or scan_versions(path).paths:
        return ""
    return f"it contains neither {CONFIG_FILE} nor a version directory"


def find_model(repositories: Iterable[Path], name: str) -> list[Path]:
    """Return the model directories called `name`, one per repository that has it, without scanning the repositories."""
    found = []
    for repository in repositories:
        if is_single_model(repository):
            path = repository.resolve()
            if path.name == name:
                found.append(path)
        elif _is_directory(repository / name):
            found.append(repository / name)
    return found


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name longer than the file system allows
        return False


def is_version_name(folder: str) -> bool:
    """Return whether a folder of a model is called as a version is."""
    return not _version_fault(folder)


def _version_fault(folder: str) -> str:
    if not (folder.isascii() and folder.isdigit()):
        return "which fails to convert to integral number"
    if len(folder) > 1 and folder[0] == "0":
        return "which contains leading zeros in its directory name"
    return ""


def scan_versions(model_directory: Path) -> VersionScan:
    """Return the version directories of a model; an empty result if the model directory has vanished."""
    paths: dict[int, Path] = {}
    ignored: list[tuple[str, str]] = []
    try:
        folders = sorted(path for path in model_directory.iterdir() if path.is_dir())
    except OSError:
        return VersionScan({})
    for path in folders:
        name = path.name
        if name in SIDE_DIRECTORIES or name.startswith((".", "__")):
            continue
        fault = _version_fault(name)
        if fault:
            ignored.append((name, fault))
        else:
            paths[int(name)] = path
    return VersionScan(dict(sorted(paths.items())), tuple(ignored))
