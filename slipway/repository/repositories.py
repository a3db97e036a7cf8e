"""All model repositories of a server as one: directories, and the local copies of remote ones.

A directory is read when it is asked for. A remote repository is listed by `scan`, and a model of it is copied when it
is looked up; in between, what it has is what the last listing said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from slipway.config.remote_location import RemoteLocation
from slipway.errors import SlipwayError
from slipway.repository.fingerprint import Fingerprint, fingerprint
from slipway.repository.remote.local_copy import cache_directory, take_copy
from slipway.repository.remote.mirror import Mirror
from slipway.repository.remote.storage import Storage
from slipway.repository.scan import RepositoryScan, find_model, scan_repositories

_LOG: Final = logging.getLogger("slipway.repository")


class Repositories:
    """The models of all repositories, by name. With `fresh`, a look-up lists the model again. The methods block."""

    def __init__(
        self, directories: Sequence[Path], locations: Sequence[RemoteLocation] = (), *, fresh: bool = False
    ) -> None:
        self.mirrors: list[Mirror] = []
        self._directories = tuple(directories)
        self._locations = tuple(dict.fromkeys(locations))
        self._fresh = fresh
        self._incomplete: set[str] = set()  # models whose copy failed
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

    def scan(self) -> RepositoryScan:
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

    def known(self) -> RepositoryScan:
        """Return the models as they are now in directories and were at the last listing of remote repositories."""
        return self._known([])

    def _known(self, unreadable: list[tuple[str, str]]) -> RepositoryScan:
        scan = scan_repositories(self._directories)
        if not self.mirrors:
            return scan
        models = dict(scan.models)
        duplicates = set(scan.duplicates)
        strays = list(scan.strays)
        for mirror in self.mirrors:
            strays.extend(mirror.listing.strays)
            for name in mirror.listing.models:
                if name in models:
                    duplicates.add(name)
                else:
                    models[name] = mirror.directory(name)
        return RepositoryScan(
            dict(sorted(models.items())), frozenset(duplicates), tuple(strays), (*scan.unreadable, *unreadable)
        )

    def fingerprints(self, models: Mapping[str, Path]) -> dict[str, Fingerprint]:
        """Return the state of each model (name, directory) of a scan, to compare with later ones."""
        listed = {
            mirror.directory(name): model for mirror in self.mirrors for name, model in mirror.listing.models.items()
        }
        return {
            name: listed[path].fingerprint if path in listed else fingerprint(path) for name, path in models.items()
        }

    def find(self, name: str) -> list[Path]:
        """Return the directories of a model, one per repository that has it, with all of its files; raise UNAVAILABLE
        if a copy cannot be completed."""
        found = find_model(self._directories, name)
        for mirror in self.mirrors:
            try:
                found.extend(self._copied(mirror, name, elsewhere=bool(found)))
            except SlipwayError:
                if name in mirror.listing.models:
                    self._incomplete.add(name)
                raise
        self._incomplete.discard(name)
        return found

    def _copied(self, mirror: Mirror, name: str, *, elsewhere: bool) -> list[Path]:
        if self._fresh:
            try:
                mirror.refresh_model(name)
            except SlipwayError:
                if not elsewhere:  # a service that is away does not keep back the models of other repositories
                    raise
        return [mirror.copy_model(name)] if name in mirror.listing.models else []

    def completed(self, names: Iterable[str]) -> list[str]:
        """Try again to copy those of the models whose copy failed; return those whose copy is complete now."""
        complete = []
        for name in sorted(self._incomplete.intersection(names)):
            try:
                self.find(name)
            except SlipwayError:  # the reason was logged when it failed first
                continue
            complete.append(name)
        return complete
