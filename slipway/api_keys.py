"""The API keys that open a server: given as settings, or as lines of a file that may be replaced while the server runs.
Does not know who listens.

Only SHA-256 digests are kept, so nothing can print a key, and a comparison takes the same time however much of a key is
right. Sources: RFC 6750 (`Authorization: Bearer`); `x-api-key` is what clients and gateways send besides.
"""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from time import monotonic
from typing import Final

AUTHORIZATION: Final = "authorization"
API_KEY_HEADER: Final = "x-api-key"
KEY_HEADERS: Final = frozenset({AUTHORIZATION, API_KEY_HEADER})
NO_KEY: Final = "this server requires an API key: send 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
WRONG_KEY: Final = "the API key is not valid"

_SCHEME: Final = b"bearer"
_KEY: Final = re.compile("[!-~]+")  # what both a header and gRPC's metadata can carry
_MAX_KEY: Final = 1024  # characters
_MAX_KEYS: Final = 1000  # each request is compared with all of them, 0.2 us each
_MAX_FILE: Final = 1 << 20  # bytes
_LOOK_S: Final = 1.0  # between two looks at the file

_LOG: Final = logging.getLogger("slipway.server")


@dataclass(frozen=True, slots=True)
class KeyDigest:
    """The SHA-256 digest of a key."""

    value: bytes = field(repr=False)


def key_digest(key: str) -> KeyDigest:
    """Return the digest of a key; raise `ValueError`, which does not contain it, if it cannot be one."""
    if not key:
        raise ValueError("the key is empty")
    if len(key) > _MAX_KEY:
        raise ValueError(f"the key has more than {_MAX_KEY} characters")
    if _KEY.fullmatch(key) is None:
        raise ValueError("the key contains a character that is not printable ASCII, or a space")
    return KeyDigest(sha256(key.encode()).digest())


def read_key_file(path: Path) -> list[str]:
    """Return the keys in a file, at least one; raise `ValueError`, which contains none of them.

    A key is the first word of a line. What follows it has to begin with `#`, as does a line without a key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"'{path}' cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in the path
        raise ValueError("the name of the file contains a NUL character") from None
    if len(data) > _MAX_FILE:
        raise ValueError(f"'{path}' is larger than {_MAX_FILE} bytes")
    keys: dict[str, None] = {}
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), 1):
        key, *comment = line.split(maxsplit=1) or [""]
        if not key or key.startswith("#"):
            continue
        if comment and not comment[0].startswith("#"):
            raise ValueError(f"'{path}', line {number}: expected one key, and a comment only after '#'")
        try:
            key_digest(key)
        except ValueError as error:
            raise ValueError(f"'{path}', line {number}: {error}") from None
        keys[key] = None
    if not keys:
        raise ValueError(f"'{path}' does not contain a key; expected one per line")
    if len(keys) > _MAX_KEYS:
        raise ValueError(f"'{path}' contains {len(keys)} keys; at most {_MAX_KEYS} are supported")
    return list(keys)


def is_readable_by_others(path: Path) -> bool:
    """Return whether users other than the owner and the group of a file may read it."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False


class ApiKeys:
    """The keys that are given, and those of a file, which is read again within a second of a change."""

    def __init__(
        self, given: Iterable[KeyDigest] = (), file: Path | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._given = [digest.value for digest in given]
        self._file = file
        self._clock = clock
        self._seen: tuple[int, ...] = ()
        self._next_look = 0.0
        self._digests: list[bytes] = self._given

    def load(self) -> None:
        """Read the file for the first time; raise `ValueError` if it cannot be used."""
        if self._file is not None:
            self._seen = _look(self._file)
            self._next_look = self._clock() + _LOOK_S
            self._digests = [*self._given, *_digests(self._file)]

    def refusal(self, authorization: bytes, api_key: bytes) -> str:
        """Return why a request whose headers have these values is refused; "" if one of them is a key."""
        scheme, _, token = authorization.partition(b" ")
        presented = [token.strip(b" ")] if scheme.lower() == _SCHEME else []
        if api_key:
            presented.append(api_key)
        if not any(presented):
            return NO_KEY
        return "" if any(map(self._has, presented)) else WRONG_KEY

    def _has(self, key: bytes) -> bool:
        """Compare with every key: the time does not depend on which one it is, or nearly is."""
        if len(key) > _MAX_KEY:
            return False
        if self._file is not None and self._clock() >= self._next_look:
            self._refresh(self._file)
        digest = sha256(key).digest()
        found = False
        for known in self._digests:
            found |= compare_digest(known, digest)
        return found

    def _refresh(self, file: Path) -> None:
        """Read the file if it has changed. If it cannot be used, log that once and go on with the previous keys."""
        self._next_look = self._clock() + _LOOK_S
        look = _look(file)
        if look == self._seen:
            return
        self._seen = look
        try:
            read = _digests(file)
        except ValueError as error:
            _LOG.error("the API keys are those from before the last change of their file: %s", error)
            return
        self._digests = [*self._given, *read]
        _LOG.info("using the %d API keys that '%s' contains now", len(read), file)
        if is_readable_by_others(file):
            _LOG.warning("%s", others_can_read(file))


def others_can_read(path: Path) -> str:
    """Return the warning about a file with keys that every user of the machine may read."""
    return f"'{path}' contains API keys and can be read by every user of this machine: chmod o-r '{path}'"


def _digests(path: Path) -> list[bytes]:
    return [key_digest(key).value for key in read_key_file(path)]


def _look(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does, or a link to it."""
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
