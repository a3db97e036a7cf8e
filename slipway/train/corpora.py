"""The text files of a problem: found where tensor2tensor keeps them, or downloaded and unpacked there.

An archive is stored in the temporary directory under the last part of its URL, its members below that directory. Only
the two members that a corpus names are unpacked, to places that the table of problems determines; what an archive says
about other files is never used. Knows no text.
"""

from __future__ import annotations

import logging
import lzma
import tarfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, BinaryIO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.errors import invalid, not_found, unavailable
from slipway.train.problems import Corpus, TranslationProblem

_LOG: Final = logging.getLogger("slipway.train")
TextFiles = tuple[Path, Path]
Progress = Callable[[str, int, int], None]  # what is loaded, bytes so far, bytes in all (0: not known)
_BLOCK: Final = 1 << 20
_TIMEOUT: Final = 60.0  # seconds without any byte
MAX_ARCHIVE: Final = 8 << 30  # bytes; the largest of WMT has less than 1 GiB
MAX_MEMBER: Final = 32 << 30
_SCHEMES: Final = ("http", "https")


def find_corpora(
    problem: TranslationProblem, corpora: tuple[Corpus, ...], tmp_dir: Path, progress: Progress | None = None
) -> list[TextFiles]:
    """Return the source and target file of each corpus; download and unpack what is missing and has a URL.

    Raise NOT_FOUND naming every file that is missing and has none, UNAVAILABLE if a download fails.
    """
    base = problem.directory or tmp_dir
    pairs = [(base / corpus.source, base / corpus.target) for corpus in corpora]
    missing = [
        str(path)
        for corpus, pair in zip(corpora, pairs, strict=True)
        if not corpus.url
        for path in pair
        if not path.is_file()
    ]
    if missing:
        raise not_found(f"problem '{problem.name}' needs text files that do not exist: {', '.join(missing)}")
    for corpus, pair in zip(corpora, pairs, strict=True):
        if not all(path.is_file() for path in pair):
            _fetch(corpus, tmp_dir, progress)
    return pairs


def download(url: str, path: Path, progress: Progress | None = None, *, limit: int = MAX_ARCHIVE) -> None:
    """Write what a URL (http or https) delivers to `path`, whole or not at all.

    Raise UNAVAILABLE if the server does not deliver, ends early, or delivers more than `limit` bytes.
    """
    if urlsplit(url).scheme not in _SCHEMES:
        raise invalid(f"'{url}' cannot be downloaded: expected http:// or https://")
    try:
        request = Request(url, headers={"User-Agent": "slipway"})  # noqa: S310  # the scheme was checked
        with build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT) as response:
            expected = int(response.headers.get("Content-Length") or 0)
            if expected > limit:
                raise unavailable(f"'{url}' has {expected} bytes, more than the limit of {limit}")
            with atomic_file(path) as file:
                _copy(url, response, file, expected, limit, progress)
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        if isinstance(error, HTTPError):
            error.close()  # it is also the response
        reason = getattr(error, "reason", None) or error
        raise unavailable(
            f"'{url}' cannot be downloaded: {reason}; without a network, put the archive at '{path}'"
        ) from None


def unpack(archive: Path, members: tuple[str, ...], directory: Path, *, limit: int = MAX_MEMBER) -> None:
    """Write the `members` of a tar archive below `directory`, each whole or not at all.

    Raise INVALID_ARG naming the members that are missing, not plain files or larger than `limit`, or if the archive is
    damaged.
    """
    wanted = set(members)
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name in wanted:
                    wanted.discard(name)
                    _unpack_member(archive, tar, member, directory / name, limit)
                if not wanted:
                    return
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        cause = str(error).partition("\n")[0].rstrip(":")
        raise invalid(f"archive '{archive}' is damaged: {cause}; remove it, and it will be downloaded again") from None
    raise invalid(f"archive '{archive}' does not contain {', '.join(sorted(wanted))}")


def make_directory(path: Path) -> None:
    """Create a directory with its parents; raise UNAVAILABLE if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unavailable(f"directory '{path}' cannot be created: {error.strerror}") from None


def _fetch(corpus: Corpus, tmp_dir: Path, progress: Progress | None) -> None:
    make_directory(tmp_dir)
    archive = tmp_dir / Path(urlsplit(corpus.url).path).name
    if not archive.is_file():
        _LOG.info("downloading %s to '%s'", corpus.url, archive)
        download(corpus.url, archive, progress)
    _LOG.info("unpacking '%s'", archive)
    unpack(archive, (corpus.source, corpus.target), tmp_dir)


def _copy(url: str, response: IO[bytes], file: BinaryIO, expected: int, limit: int, progress: Progress | None) -> None:
    done = 0
    while block := _received(url, response, done):
        done += len(block)
        if done > limit:
            raise unavailable(f"'{url}' delivers more than the limit of {limit} bytes")
        file.write(block)
        if progress is not None:
            progress(url, done, expected)
    if expected and done != expected:
        raise unavailable(f"'{url}' ended after {done} of {expected} bytes")


def _received(url: str, response: IO[bytes], done: int) -> bytes:
    """Return the next block; a lost connection is not an error of the file that is being written."""
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException) as error:
        raise unavailable(f"'{url}' cannot be downloaded: after {done} bytes: {error}") from None


def _unpack_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, limit: int) -> None:
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise invalid(f"'{member.name}' in archive '{archive}' is not a plain file")
    if member.size > limit:
        raise invalid(f"'{member.name}' in archive '{archive}' has {member.size} bytes, more than the limit of {limit}")
    make_directory(path.parent)
    with source, atomic_file(path) as file:
        while block := _member_block(source):
            file.write(block)


def _member_block(source: IO[bytes]) -> bytes:
    """Return the next block; damage to the archive is not an error of the file that is being written."""
    try:
        return source.read(_BLOCK)
    except OSError as error:  # gzip's and bz2's own errors, too
        raise tarfile.ReadError(str(error)) from error


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects to http and https only; urllib also follows ftp."""

    def redirect_request(  # the library's own signature
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Return the request that follows a redirect; raise URLError for another scheme."""
        if urlsplit(newurl).scheme not in _SCHEMES:
            fp.close()
            raise URLError(f"it redirects to '{newurl}'")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
