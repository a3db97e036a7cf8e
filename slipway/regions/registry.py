"""The regions that clients have registered, by name: register, unregister, look up.

All methods except `find` belong to the event-loop thread. Texts and codes are tritonserver's
(`src/shared_memory_manager.cc`, 2.73). Strangers fill the registry, so it is bounded: each region costs a descriptor.
"""

from __future__ import annotations

import mmap
import os
import resource
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from slipway.core.budget import TOO_MUCH_HELD, Budget
from slipway.errors import Code, SlipwayError, internal, invalid, not_found, shown, unavailable, unsupported
from slipway.regions.keys import cannot_open, file_name
from slipway.regions.region import Region, RegionPlace

DIRECTORY: Final = Path("/dev/shm")  # noqa: S108  where Linux keeps POSIX shared memory
DISABLED: Final = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
_MAX_REGIONS: Final = 1024
_SHARE: Final = 4  # of the process's descriptors, a quarter at most
_MAX_SIZE: Final = 2**64 - 1  # SIZE_MAX
_MISALIGNED: Final = "unable to process address spaceInvalid argument"  # Triton's text for what it cannot map


def default_limit() -> int:
    """Return how many regions there may be: connections need descriptors too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_REGIONS if soft == resource.RLIM_INFINITY else min(_MAX_REGIONS, soft // _SHARE)


class Regions:
    """Every registered region. Without `allowed` there are none, and none can be registered.

    `budget` counts the bytes of inputs that were copied out of regions; None counts nothing.
    """

    def __init__(self, *, allowed: bool = False, directory: Path = DIRECTORY, limit: int = 0) -> None:
        self.allowed = allowed
        self.budget: Budget | None = None
        self._directory = directory
        self._limit = limit or default_limit()
        self._regions: dict[str, Region] = {}

    def check_system(self) -> None:
        """Raise UNSUPPORTED if clients may use shared memory, but this system does not have any that is a file."""
        if self.allowed and not self._directory.is_dir():
            raise unsupported(f"--allow-client-shm needs shared memory in {self._directory}, which does not exist here")

    def require(self) -> None:
        """Raise UNSUPPORTED unless clients may use shared memory."""
        if not self.allowed:
            raise unsupported(DISABLED)

    def require_name(self, name: str, kind: str) -> None:
        """Raise `SlipwayError` unless clients may register regions, and this one has a name."""
        self.require()
        if not name:
            raise invalid(f"'region name' is necessary to register {kind} shared memory region")

    # What clients manage

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Register `byte_size` bytes from byte `offset` of the shared memory `key` under `name`."""
        self.require_name(name, "system")
        file = file_name(name, key)
        if name in self._regions:
            raise SlipwayError(Code.ALREADY_EXISTS, f"shared memory region '{name}' already in manager")
        if len(self._regions) >= self._limit:
            raise unavailable(f"{self._limit} shared memory regions are registered, which is the limit: unregister one")
        descriptor = _open(self._directory / file, key)
        try:
            _check_size(name, descriptor, offset, byte_size)
        except SlipwayError:
            os.close(descriptor)
            raise
        self._regions[name] = Region(name, key, offset, byte_size, descriptor)

    def register_cuda(self, name: str) -> None:
        """Refuse a region in a GPU's memory."""
        self.require_name(name, "cuda")
        raise invalid(f"failed to register CUDA shared memory region: '{shown(name)}', GPUs not supported")

    def unregister(self, name: str) -> None:
        """Unregister a region, or all of them for the name "": now, or after the requests that use it. A region that
        does not exist is not an error."""
        self.require()
        for each in [name] if name else list(self._regions):
            region = self._regions.get(each)
            if region is not None:
                region.is_leaving = True
                self._remove_if_unused(region)

    def unregister_cuda(self) -> None:
        """Unregister regions in a GPU's memory: there are none."""
        self.require()

    def status(self, name: str) -> Sequence[Region]:
        """Return one region, or all of them for the name ""; raise NOT_FOUND."""
        if not name:
            return [region for _, region in sorted(self._regions.items())]
        if name not in self._regions:
            raise not_found(f"Unable to find system shared memory region: '{shown(name)}'")
        return [self._regions[name]]

    def check_cuda_status(self, name: str) -> None:
        """Raise NOT_FOUND for the name of a region: none is in a GPU's memory."""
        if name in self._regions:
            raise not_found(f"The region named '{name}' is registered as system shared memory, not CUDA shared memory")
        if name:
            raise not_found(f"Unable to find cuda shared memory region: '{shown(name)}'")

    # What requests use

    def find(self, name: str, offset: int, size: int) -> RegionPlace:
        """Return a place in a region; raise `SlipwayError` if there is no such place. For any thread."""
        self.require()
        region = self._regions.get(name)
        if region is None:
            raise not_found(f"Unable to find shared memory region: '{shown(name)}'")
        if offset >= region.byte_size:
            raise invalid(f"Invalid offset for shared memory region: '{name}'")
        if size > _MAX_SIZE - offset:
            raise invalid(
                f"Integer overflow detected: byte_size ({size}) + offset ({offset}) exceeds maximum value "
                f"({_MAX_SIZE}) for region '{name}'"
            )
        if offset + size > region.byte_size:
            raise invalid(f"Invalid offset + byte size for shared memory region: '{name}'")
        return RegionPlace(region, offset, size)

    def begin(self, places: Iterable[RegionPlace], copied: int) -> None:
        """Note that a request uses `places`, and copies `copied` bytes out of them; raise UNAVAILABLE if that is more
        than memory allows."""
        if self.budget is not None and not self.budget.take(copied):
            raise unavailable(TOO_MUCH_HELD)
        for place in places:
            place.region.uses += 1

    def end(self, places: Iterable[RegionPlace], copied: int) -> None:
        """Note the end of a request that has begun."""
        if self.budget is not None:
            self.budget.give_back(copied)
        for place in places:
            place.region.uses -= 1
            self._remove_if_unused(place.region)

    def _remove_if_unused(self, region: Region) -> None:
        if region.is_leaving and not region.uses and self._regions.get(region.name) is region:
            del self._regions[region.name]


def _open(path: Path, key: str) -> int:
    """Return a descriptor of the shared memory in the file `path`; the error says nothing about the file."""
    try:
        # What is not a plain file of its own name is not shared memory; a pipe must not block the server.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise cannot_open(key) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise internal(f"Invalid shared memory region: '{shown(key)}'")
    return descriptor


def _check_size(name: str, descriptor: int, offset: int, byte_size: int) -> None:
    if offset + byte_size > os.fstat(descriptor).st_size:
        raise invalid(f"failed to register shared memory region '{name}': invalid args")
    if not byte_size or offset % mmap.PAGESIZE:
        raise invalid(f"failed to register shared memory region '{name}': {_MISALIGNED}")
