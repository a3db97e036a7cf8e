"""The source of a model: its directory, its config as written, its versions. Reads files; loads nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.complete import complete_from_files
from slipway.config.options import ServerOptions
from slipway.config.parse import MAX_BYTES, ConfigError, parse_config, parse_config_json
from slipway.core.model_id import ModelId
from slipway.engine import failures
from slipway.engine.failures import LoadFailure
from slipway.errors import SlipwayError, invalid, refused, shown
from slipway.repository.checksums import check_checksums
from slipway.repository.fingerprint import Fingerprint, Stamp, endless_file_problem, fingerprint
from slipway.repository.overrides import check_files, remove_files, write_files
from slipway.repository.repositories import Repositories
from slipway.repository.scan import CONFIG_FILE, CONFIGS_DIRECTORY, VersionScan, scan_versions
from slipway.repository.versions import VersionChoice, choose_versions

_LOG: Final = logging.getLogger("slipway.engine")


class PollError(Exception):
    """A model cannot be read; `failure` says why."""

    def __init__(self, failure: LoadFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A load request's overrides: nothing, a config, a config and the model's files, or a directory to use instead of
    the one in a repository; the model then has the name of the request, whatever its config says."""

    config: str | None = None  # JSON
    files: Mapping[str, bytes] = field(default_factory=dict)
    directory: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelSource:
    """A model as it is on disk. `config` is as its author wrote it, with the backend that the files imply;
    `fingerprint` was taken before any file was read."""

    id: ModelId
    directory: Path
    fingerprint: Fingerprint
    config: model_config_pb2.ModelConfig
    versions: dict[int, Path]  # those that the version policy selects
    override: str | None = None  # the JSON that replaces config.pbtxt
    temporary: bool = False  # the directory was written for this load only

    @property
    def name(self) -> str:
        """The model's name."""
        return self.id.name

    def shares_config(self, other: ModelSource) -> bool:
        """Return whether everything that the versions share is the same in both."""
        return self.fingerprint.shared == other.fingerprint.shared and self.override == other.override

    def same_version(self, other: ModelSource, version: int) -> bool:
        """Return whether a version's own files are the same in both."""
        stamp = self.fingerprint.versions.get(version)
        return stamp is not None and stamp == other.fingerprint.versions.get(version)

    def shares_files(self, other: ModelSource) -> bool:
        """Return whether everything that the versions share, except the config, is in the same files, which stay."""
        if self.temporary or other.temporary or self.directory != other.directory:
            return False
        return _without_configs(self.fingerprint.shared) == _without_configs(other.fingerprint.shared)

    def is_retained_by(self, other: ModelSource) -> bool:
        """Return whether this source's override stays in force because `other`, read from the repository, shows no
        change there."""
        return (
            self.override is not None
            and not self.temporary
            and other.override is None
            and self.fingerprint == other.fingerprint
        )

    def discard(self) -> None:
        """Remove the directory if it was written for this load only."""
        if self.temporary:
            remove_files(self.directory)


def _without_configs(stamp: Stamp) -> Stamp:
    return tuple(row for row in stamp if row[0] != CONFIG_FILE and not row[0].startswith(f"{CONFIGS_DIRECTORY}/"))


def read_source(
    model: ModelId, request: LoadRequest, options: ServerOptions, repositories: Repositories | None = None
) -> ModelSource:
    """Return the model as it is in the repositories (by default those of the options that are directories), or as the
    request overrides it; on failure, log it in Triton's words and raise `PollError`."""
    try:
        return _read(model, request, options, repositories or Repositories(options.model_repository))
    except SlipwayError as error:
        failure = LoadFailure(error.message, polled=True, problems=error.problems)
        unreadable = isinstance(error, ConfigError) and request.config is None
        detail = f"failed to read text proto from {error.message}" if unreadable else error.message
        _LOG.error("Poll failed for model directory '%s': %s", shown(str(model)), detail)
    except PollError as error:
        failure = error.failure
        what = "load" if failure.versionless else "poll"
        _LOG.error("failed to %s model '%s': %s", what, shown(str(model)), failure.detail)
    raise PollError(failure)


def _read(model: ModelId, request: LoadRequest, options: ServerOptions, repositories: Repositories) -> ModelSource:
    check_files(request.files, has_config=request.config is not None)
    override = None if request.config is None else _parse_override(request.config)
    if not request.files:
        directory = request.directory or _find(model, repositories)
        return _look(model, directory, request, override, options)
    directory = write_files(model.name, request.files)
    try:
        return _look(model, directory, request, override, options)
    except BaseException:
        remove_files(directory)
        raise


def _look(
    model: ModelId,
    directory: Path,
    request: LoadRequest,
    override: model_config_pb2.ModelConfig | None,
    options: ServerOptions,
) -> ModelSource:
    name = model.name
    look = fingerprint(directory)
    problem = endless_file_problem(look)
    if problem is not None:
        raise refused(problem)
    config = override if override is not None else _read_config(directory, options)
    if config.name and config.name != name and request.directory is None:
        raise invalid(
            f"unexpected directory name '{name}' for model '{config.name}', directory name must equal model name"
        )
    config.name = name
    check_checksums(config, directory)
    scan = scan_versions(directory)
    choice = choose_versions(config.version_policy, scan.paths)
    complete_from_files(config, directory, scan.paths[choice.served[-1]] if choice.served else None)
    _name_odd_versions(model, scan, choice)
    if not choice.served:
        raise PollError(failures.no_version(name))
    return ModelSource(
        id=model,
        directory=directory,
        fingerprint=look,
        config=config,
        versions={version: scan.paths[version] for version in choice.served},
        override=request.config,
        temporary=bool(request.files),
    )


def _parse_override(text: str) -> model_config_pb2.ModelConfig:
    try:
        return parse_config_json(text)
    except SlipwayError as error:
        raise SlipwayError(error.code, f"Invalid config override: {error.message}", problems=error.problems) from error


def _find(model: ModelId, repositories: Repositories) -> Path:
    found = repositories.find(model)
    if not found:
        raise PollError(failures.NOT_FOUND)
    if len(found) > 1:
        raise PollError(failures.NOT_UNIQUE)
    return found[0]


def _read_config(directory: Path, options: ServerOptions) -> model_config_pb2.ModelConfig:
    path = directory / CONFIG_FILE
    if options.model_config_name:
        custom = directory / CONFIGS_DIRECTORY / f"{options.model_config_name}.pbtxt"
        path = custom if custom.is_file() else path
    if not (path.exists() or options.disable_auto_complete_config):
        return model_config_pb2.ModelConfig()
    label = f"{directory.name}/{path.name}"  # the part of the path that clients may see
    try:
        if path.stat().st_size > MAX_BYTES:
            raise invalid(f"{label} is larger than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise invalid(f"failed to open text file for read {label}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"{label} is not UTF-8: {error.reason} at byte {error.start}") from error
    return parse_config(text, label)


def _name_odd_versions(model: ModelId, scan: VersionScan, choice: VersionChoice) -> None:
    for folder, reason in scan.ignored:
        _LOG.warning("ignore version directory '%s' %s (model '%s')", folder, reason, model)
    for version in choice.missing:
        _LOG.error("version %d is specified for model '%s', but the version directory is not present", version, model)
