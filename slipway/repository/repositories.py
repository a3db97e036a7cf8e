"""All model repositories of a server as one: directories, and the local copies of remote ones.

A directory is read when it is asked for. A remote repository is listed by `scan`, and a model of it is copied when it
is looked up; in between, what it has is what the last listing said. With namespaces, each repository is one, written as
the command line has it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from slipway.config.remote_location import RemoteLocation
from slipway.core.model_id import ModelId
from slipway.errors import SlipwayError
from slipway.repository.fingerprint import Fingerprint, fingerprint
from slipway.repository.remote.local_copy import cache_directory, take_copy
from slipway.repository.remote.mirror import Mirror
from slipway.repository.remote.storage import Storage
from slipway.repository.scan import RepositoryScan, find_model, scan_repositories

_LOG: Final = logging.getLogger("slipway.repository")


@dataclass(frozen=True, slots=True)
class FoundModels:
    """The models of all repositories, in order; `duplicates` are in several repositories; `strays` are (folder, why it
    is not a model); `unreadable` are (repository, reason)."""

    models: dict[ModelId, Path]
    duplicates: frozenset[ModelId]
    strays: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]


class Repositories:
    """The models of all repositories. With `fresh`, a look-up lists the model again; with `namespaced`, models in
    different repositories may have the same name. The methods block."""

    def __init__(
        self,
        directories: Sequence[Path],
        locations: Sequence[RemoteLocation] = (),
        *,
        fresh: bool = False,
        namespaced: bool = False,
    ) -> None:
        self.mirrors: list[Mirror] = []
        self._directories = tuple(dict.fromkeys(directories)) if namespaced else tuple(directories)
        self._locations = tuple(dict.fromkeys(locations))
        self._fresh = fresh
        self._namespaced = namespaced
        self._incomplete: set[ModelId] = set()  # models whose copy failed
        self.failures: list[str] = []  # why remote repositories could not be listed by the last scan

    def open(self) -> None:
        """Take a local copy for each remote repository; raise UNAVAILABLE if there cannot be one."""
        for location in self._locations:
            copy = take_copy(location, cache_directory(location.scheme))
            self.mirrors.append(Mirror(location, Storage(location), copy))
            _LOG.info("%s is copied to %s", location.text, copy.models)

    def cancel(self) -> None:
        """End the transfers under way."""
        for mirror in self.mirrors:
            mirror.cancel()

    def close(self) -> None:
        """Close the connections, and let other servers use the copies."""
        for mirror in self.mirrors:
            mirror.close()

    def scan(self) -> FoundModels:
        """Return the models of all repositories as they are now."""
        unreadable = []
        for mirror in self.mirrors:
            try:
                mirror.refresh()
            except SlipwayError as error:
                unreadable.append((mirror.location.text, error.message))
        self.failures = [why for _, why in unreadable]
        return self._known(unreadable)

    @property
    def unlisted(self) -> bool:
        """Whether a remote repository has never been listed."""
        return any(not mirror.listed for mirror in self.mirrors)

    def known(self) -> FoundModels:
        """Return the models as they are now in directories and were at the last listing of remote repositories."""
        return self._known([])

    def _known(self, unreadable: list[tuple[str, str]]) -> FoundModels:
        models: dict[ModelId, Path] = {}
        duplicates: set[ModelId] = set()
        strays: list[tuple[str, str]] = []
        unread: list[tuple[str, str]] = []
        for repository, scan in self._scans():
            strays += scan.strays
            unread += scan.unreadable
            for name, path in scan.models.items():
                model = self._id(repository, name)
                if model in models:
                    duplicates.add(model)
                else:
                    models[model] = path
        return FoundModels(dict(sorted(models.items())), frozenset(duplicates), tuple(strays), (*unread, *unreadable))

    def _scans(self) -> Iterator[tuple[str, RepositoryScan]]:
        """Yield what is in each repository."""
        for directory in self._directories:
            yield str(directory), scan_repositories([directory])
        for mirror in self.mirrors:
            copies = {name: mirror.directory(name) for name in mirror.listing.models}
            yield mirror.location.text, RepositoryScan(copies, strays=tuple(mirror.listing.strays))

    def _id(self, repository: str, name: str) -> ModelId:
        return ModelId(repository if self._namespaced else "", name)

    def fingerprints(self, models: Mapping[ModelId, Path]) -> dict[ModelId, Fingerprint]:
        """Return the state of each model (id, directory) of a scan, to compare with later ones."""
        listed = {
            mirror.directory(name): model for mirror in self.mirrors for name, model in mirror.listing.models.items()
        }
        return {
            model: listed[path].fingerprint if path in listed else fingerprint(path) for model, path in models.items()
        }

    def named(self, name: str) -> list[ModelId]:
        """Return the models of a name, one per repository that has it. Without namespaces, that is always the one of
        that name, whether there is one or not."""
        if not self._namespaced:
            return [ModelId("", name)]
        found = [self._id(str(directory), name) for directory in self._directories if find_model([directory], name)]
        for mirror in self.mirrors:
            try:
                present = self._lists(mirror, name)
            except SlipwayError:  # if it may be the only one, reading it says why there is none
                present = not found or name in mirror.listing.models
            if present:
                found.append(self._id(mirror.location.text, name))
        return found

    def find(self, model: ModelId) -> list[Path]:
        """Return the directories of a model, one per repository that has it, with all of its files; raise UNAVAILABLE
        if a copy cannot be completed."""
        found = find_model(filter(partial(self._may_have, model), self._directories), model.name)
        for mirror in self.mirrors:
            if not self._may_have(model, mirror.location.text):
                continue
            try:
                found.extend(self._copied(mirror, model.name, elsewhere=bool(found)))
            except SlipwayError:
                if model.name in mirror.listing.models:
                    self._incomplete.add(model)
                raise
        self._incomplete.discard(model)
        return found

    def _may_have(self, model: ModelId, repository: Path | str) -> bool:
        return not self._namespaced or model.namespace == str(repository)

    def _lists(self, mirror: Mirror, name: str) -> bool:
        if self._fresh:
            mirror.refresh_model(name)
        return name in mirror.listing.models

    def _copied(self, mirror: Mirror, name: str, *, elsewhere: bool) -> list[Path]:
        try:
            present = self._lists(mirror, name)
        except SlipwayError:
            if not elsewhere:  # a service that is away does not keep back the models of other repositories
                raise
            present = name in mirror.listing.models
        return [mirror.copy_model(name)] if present else []

    def completed(self, models: Iterable[ModelId]) -> list[ModelId]:
        """Try again to copy those of the models whose copy failed; return those whose copy is complete now."""
        complete = []
        for model in sorted(self._incomplete.intersection(models)):
            try:
                self.find(model)
            except SlipwayError:  # the reason was logged when it failed first
                continue
            complete.append(model)
        return complete
