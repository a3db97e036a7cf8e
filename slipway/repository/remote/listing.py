"""What a remote repository contains: its objects, grouped to models. Pure.

The names of objects are foreign input. One that could leave the local copy, or that a file system cannot hold, makes
its model fail to load, and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from slipway.errors import shown
from slipway.repository.fingerprint import Fingerprint
from slipway.repository.scan import CONFIG_FILE, CONFIGS_DIRECTORY, is_version_name

_MOST_BYTES: Final = 255  # of a component: NAME_MAX of the file systems in use
_LONGEST: Final = 1024  # bytes of a path; the limit of S3 and of Google's storage
_DEEPEST: Final = 64
_LARGEST: Final = 2**63 - 1
_SECOND: Final = 1_000_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """A file of a repository, or a directory if its path ends with a slash.

    `path` is relative to the repository, `key` is what the driver calls it. `size` is in bytes, `modified` in seconds
    since the epoch, 0 if unknown. `tag` changes with the content: an ETag or a generation. `md5` and `crc32c` are
    checksums of the content, if the repository lists them. `fault` says why it cannot be copied.
    """

    path: str
    key: str
    size: int
    modified: int = 0
    tag: str = ""
    md5: bytes = b""
    crc32c: bytes = b""
    fault: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it stands for a directory."""
        return self.path.endswith("/")

    @property
    def mtime_ns(self) -> int:
        """The modification time of the local copy. Its nanoseconds are a digest of the tag and the checksums, so two
        contents of the same size and second differ too, and a copy is recognised without a record of it."""
        parts = (self.tag, self.md5.hex(), self.crc32c.hex())
        digest = int.from_bytes(sha256("\0".join(parts).encode(errors="surrogatepass")).digest()[:8], "big")
        return max(0, min(self.modified, _LARGEST // _SECOND - 1)) * _SECOND + digest % _SECOND


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model's files by their paths inside the model, and all of its directories. `fault` says why it cannot be
    copied."""

    files: Mapping[str, RemoteObject]
    directories: frozenset[str]
    fault: str = ""

    @property
    def fingerprint(self) -> Fingerprint:
        """The state of the model, equal for two listings of the same content."""
        stamp = ((path, each.mtime_ns, each.size) for path, each in self.files.items())
        folders = ((f"{path}/", 0, 0) for path in self.directories)
        return Fingerprint(tuple(sorted((*stamp, *folders))), {})


@dataclass(frozen=True, slots=True)
class Listing:
    """The models by name; `strays` are (folder, why it is not a model)."""

    models: Mapping[str, RemoteModel] = field(default_factory=dict)
    strays: tuple[tuple[str, str], ...] = ()


def group(objects: Iterable[RemoteObject], own_name: str) -> Listing:
    """Return the models of a repository. If it is itself a model, with a config.pbtxt at the top, it is the only one,
    and is called `own_name`."""
    by_folder: dict[str, list[tuple[str, RemoteObject]]] = {}
    alone: list[tuple[str, RemoteObject]] = []
    for each in objects:
        folder, slash, rest = each.path.partition("/")
        alone.append((each.path, each))
        if slash:
            by_folder.setdefault(folder, []).append((rest, each))
    if any(path == CONFIG_FILE for path, _ in alone):
        return Listing({own_name: build_model(alone)})
    models: dict[str, RemoteModel] = {}
    strays: list[tuple[str, str]] = []
    for folder, content in sorted(by_folder.items()):
        model = build_model(content)
        reason = _path_fault(folder) or _stray_reason(folder, model)
        if reason:
            strays.append((shown(folder), reason))
        else:
            models[folder] = model
    return Listing(models, tuple(strays))


def build_model(content: Iterable[tuple[str, RemoteObject]]) -> RemoteModel:
    """Return the model of (path inside the model, object)."""
    files: dict[str, RemoteObject] = {}
    directories: set[str] = set()
    faults: list[str] = []
    for path, each in content:
        plain = path.removesuffix("/") if each.is_directory else path
        if not plain and each.is_directory:
            continue
        fault = _path_fault(plain) or each.fault or ("" if each.is_directory else _size_fault(each))
        if fault:
            faults.append(f"the object '{shown(each.path)}' cannot be copied: {fault}")
            continue
        parts = plain.split("/")
        directories.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if each.is_directory:
            directories.add(plain)
        else:
            files[plain] = each
    faults.extend(f"'{shown(path)}' is both a file and a directory" for path in sorted(directories & files.keys()))
    return RemoteModel(files, frozenset(directories), faults[0] if faults else "")


def _path_fault(path: str) -> str:
    """Return why a path cannot be that of a local file, or ""."""
    parts = path.split("/")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "its name is not valid Unicode"
    if "" in parts:
        return "its name has an empty component"
    if not {".", ".."}.isdisjoint(parts):
        return "its name contains '.' or '..'"
    if "\\" in path or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return "its name contains a backslash or a control character"
    if len(encoded) > _LONGEST or len(parts) > _DEEPEST or max(len(part.encode()) for part in parts) > _MOST_BYTES:
        return "its name is too long"
    return ""


def _size_fault(each: RemoteObject) -> str:
    return "" if 0 <= each.size <= _LARGEST else "its size is not known"


def _stray_reason(folder: str, model: RemoteModel) -> str:
    if folder != folder.strip():
        return "its name begins or ends with whitespace"
    top = {path for path in model.directories if "/" not in path}
    if CONFIG_FILE in model.files or CONFIGS_DIRECTORY in top or any(map(is_version_name, top)) or model.fault:
        return ""
    return f"it contains neither {CONFIG_FILE} nor a version directory"
