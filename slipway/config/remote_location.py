"""Model repositories that are not directories: the forms of their URLs, read once and checked. Pure.

The forms of `s3://`, `gs://` and `as://` are Triton's (docs/user_guide/model_repository.md). A URL never carries
credentials, because command lines and logs show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from slipway.config.flags import DIRECTORY, Kind

S3: Final = "s3"
GOOGLE: Final = "gs"
AZURE: Final = "as"
WEB: Final = ("https", "http")
SCHEMES: Final = (S3, GOOGLE, AZURE, *WEB)

_AZURE_HOST: Final = ".blob.core.windows.net"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+)"
_ENDPOINT: Final = re.compile(rf"(https?://)?({_HOST}(?::[0-9]{{1,5}})?)(?:/(.*))?")
_PORT: Final = re.compile(rf"{_HOST}:[0-9]{{1,5}}(?:/.*)?")
_CONTAINER: Final = re.compile("[0-9A-Za-z$][0-9A-Za-z._-]{1,221}")
_PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f\\]*")


@dataclass(frozen=True, slots=True)
class RemoteLocation:
    """A model repository in object storage or on a web server.

    `text` is the URL without superfluous slashes, which messages show, credentials are chosen by, and names the local
    copy. `root` is where the models are: `bucket/path`, or the URL for a web server; it does not end with a slash.
    """

    scheme: str
    text: str
    root: str
    endpoint: str = ""  # of an S3 service that is not Amazon's: http://host:port
    account: str = ""  # of Azure's storage

    @property
    def name(self) -> str:
        """The last component, by which a location that is itself a model is called."""
        return self.root.rpartition("/")[2]


def _read_repository(text: str) -> Path | RemoteLocation:
    matched = _SCHEME.fullmatch(text)
    return DIRECTORY.read(text) if matched is None else read_location(text)


REPOSITORY: Final = Kind("DIRECTORY|URL", _read_repository)


def split_repositories(given: Iterable[Path | RemoteLocation]) -> dict[str, tuple[Path | RemoteLocation, ...]]:
    """Return the fields of `ServerOptions` that hold directories and the locations of other repositories."""
    repositories = tuple(given)
    return {
        "model_repository": tuple(each for each in repositories if isinstance(each, Path)),
        "remote_repositories": tuple(each for each in repositories if isinstance(each, RemoteLocation)),
    }


def unprotected(locations: Iterable[RemoteLocation]) -> Iterator[str]:
    """Yield a warning for a location that is read over a network without encryption."""
    for each in locations:
        if each.endpoint.startswith("http://") or each.scheme == "http":
            yield f"{each.text} is read without encryption: whoever controls the network can replace the models"


def read_location(text: str) -> RemoteLocation:
    """Return the location that a URL names; raise `ValueError`, which never repeats a password, if it does not."""
    matched = _SCHEME.fullmatch(text)
    scheme, rest = matched.groups() if matched is not None else ("", text)
    if scheme not in SCHEMES:
        close = get_close_matches(scheme.lower(), SCHEMES, 1)
        hint = f"; did you mean '{close[0]}://'?" if close else ""
        raise ValueError(f"repositories at '{scheme}://' are not supported; expected {_forms()}{hint}")
    if scheme in WEB:
        return _web(scheme, text)
    if not _PLAIN.fullmatch(rest):
        raise ValueError("a repository's URL must not contain control characters or backslashes")
    if "?" in rest or "#" in rest:
        raise ValueError(f"the URL of a {scheme}:// repository has no query and no fragment")
    if "@" in rest.partition("/")[0]:
        raise ValueError("a repository's URL must not contain credentials; specify them in the environment")
    return {S3: _s3, GOOGLE: _google, AZURE: _azure}[scheme](rest)


def _forms() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES) + " or a directory"


def _s3(rest: str) -> RemoteLocation:
    endpoint = prefix = ""
    if rest.startswith(("http://", "https://")) or _PORT.fullmatch(rest):
        matched = _ENDPOINT.fullmatch(rest)
        if matched is None:
            raise ValueError("expected s3://http://HOST:PORT/BUCKET/PATH")
        protocol, host, rest = matched.group(1) or "", matched.group(2), matched.group(3) or ""
        prefix = f"{protocol}{host}/"
        endpoint = f"{protocol or 'http://'}{host}"  # Triton's default for services other than Amazon's
    root = _components(rest)
    return RemoteLocation(S3, f"s3://{prefix}{root}", root, endpoint=endpoint)


def _google(rest: str) -> RemoteLocation:
    root = _components(rest)
    return RemoteLocation(GOOGLE, f"gs://{root}", root)


def _azure(rest: str) -> RemoteLocation:
    host, _, path = rest.partition("/")
    account = host.removesuffix(_AZURE_HOST)
    if not re.fullmatch("[0-9A-Za-z-]{1,63}", account):
        raise ValueError("expected as://ACCOUNT/CONTAINER/PATH")
    root = _components(path)
    return RemoteLocation(AZURE, f"as://{host}/{root}", root, account=account)


def _components(path: str) -> str:
    """Return a path without superfluous slashes; its first component is a bucket or container."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        raise ValueError("No bucket name found in path")
    if not _CONTAINER.fullmatch(parts[0]):
        raise ValueError(f"Invalid bucket name: '{parts[0]}'")
    if not {".", ".."}.isdisjoint(parts):
        raise ValueError("a repository's path must not contain '.' or '..'")
    return "/".join(parts)


def _web(scheme: str, text: str) -> RemoteLocation:
    parts = urlsplit(text)  # raises ValueError for a host that is not one
    if "@" in parts.netloc:
        raise ValueError("a repository's URL must not contain credentials; specify them in ~/.netrc")
    if not _PLAIN.fullmatch(text) or not parts.hostname or (parts.port is not None and parts.port == 0):
        raise ValueError("expected https://HOST[:PORT]/PATH")
    if parts.query or parts.fragment:
        raise ValueError(f"the URL of a {scheme}:// repository has no query and no fragment")
    names = [name for name in parts.path.split("/") if name]
    if not {".", ".."}.isdisjoint(names):
        raise ValueError("a repository's path must not contain '.' or '..'")
    url = "/".join([f"{scheme}://{parts.netloc}", *names])
    return RemoteLocation(scheme, url, url)
