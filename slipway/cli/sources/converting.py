"""Convert a source into the cache, unless it is there: the work of `slipway convert`, in the same confined child.

Imported for every source that is converted; what it converts with is imported only when something is converted.
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from slipway.cli.sources.cache import DIGESTS, ConvertedCache, EntryRecord, HeldEntry, file_sizes
from slipway.cli.sources.content import FileDigests, content_digest
from slipway.cli.sources.kinds import Source, SourceKind
from slipway.cli.sources.request import ConversionRequest
from slipway.errors import SlipwayError, invalid

_LOG: Final = logging.getLogger("slipway.cli")
_WORK: Final = "slipway.cli.jobs.convert"
_REPORTS: Final = "*/report.json"


@dataclass(frozen=True, slots=True)
class LocatedSource:
    """Where a source is on this machine, what it is called, and the digest of its content."""

    path: Path
    origin: str  # of a source that was fetched, for the report
    content: str


def find_converted(source: Source, request: ConversionRequest, cache: ConvertedCache) -> HeldEntry | LocatedSource:
    """Return the entry of a source that was converted before, else where the source is.

    A model on a hub is looked up without asking the hub: the revision that was converted once is served until its entry
    is removed.
    """
    if source.kind is not SourceKind.HUB:
        located = LocatedSource(source.path, "", _digest(source, cache))
        return _complete(source, located.content, request, cache) or located
    record = cache.find(request)
    held = None if record is None else _complete(source, record.content, request, cache)
    if held is not None:
        return held
    located = _fetch(source)
    return _complete(source, located.content, request, cache) or located


def _complete(source: Source, content: str, request: ConversionRequest, cache: ConvertedCache) -> HeldEntry | None:
    """Return the entry if it is complete; an empty one is left to whoever converts."""
    held = _hold(source, content, request, cache)
    if held.record is not None:
        return held
    held.discard()
    return None


def _hold(source: Source, content: str, request: ConversionRequest, cache: ConvertedCache) -> HeldEntry:
    def wait() -> None:
        _LOG.info("'%s' is being converted by another process; waiting for it", source.text)

    return cache.hold(request.entry_name(content), wait)


def convert_located(
    source: Source, located: LocatedSource, request: ConversionRequest, cache: ConvertedCache
) -> HeldEntry:
    """Return the entry of a located source, converted now unless another process was faster.

    Raise the error of the conversion, or INVALID_ARG if the source changed meanwhile. Nothing is kept then.
    """
    held = _hold(source, located.content, request, cache)
    if held.record is not None:
        return held
    try:
        _convert(source, located, request, held.models)
        _check_unchanged(source, located, cache)
        held.finish(_record(source, located, request, held.models))
    except BaseException as error:
        held.discard()
        if isinstance(error, SlipwayError):
            error.add_note(f"slipway convert {shlex.quote(source.text)} has more options: slipway convert --help")
        raise
    cache.trim()
    return held


def _convert(source: Source, located: LocatedSource, request: ConversionRequest, models: Path) -> None:
    from slipway.cli.confined.limits import Limits
    from slipway.cli.confined.messages import Job
    from slipway.cli.conversion_run import ConversionRun, run_conversion
    from slipway.cli.convert_flags import parse

    words = request.words(source.text, str(models))
    path = located.path if located.origin else source.path
    job = Job(_WORK, words, source=str(path) if located.origin else "", origin=located.origin)
    limits = Limits.of(parse(words, warn=False))
    started = time.monotonic()
    run_conversion(job, ConversionRun(str(path), models, limits), _steps(source))
    _LOG.info("converted '%s' in %.1f s", source.text, time.monotonic() - started)


def _steps(source: Source) -> Callable[[Any], None] | None:
    """Return what shows a step: None for the line of a terminal, which is redrawn, else a line of the log each."""
    return None if sys.stderr.isatty() else lambda step: _LOG.info("'%s': %s", source.text, step)


def _fetch(source: Source) -> LocatedSource:
    from slipway.convert.hub import locate

    path, origin = locate(source.text, lambda text: _LOG.info("%s", text))
    return LocatedSource(path, origin, path.name)  # the name of a snapshot is its revision


def _digest(source: Source, cache: ConvertedCache) -> str:
    return content_digest(source.path, FileDigests(cache.root / DIGESTS))


def _check_unchanged(source: Source, located: LocatedSource, cache: ConvertedCache) -> None:
    """Raise INVALID_ARG if a local source is not what it was before its conversion."""
    if source.kind is not SourceKind.HUB and _digest(source, cache) != located.content:
        raise invalid(f"'{source.text}' changed while it was converted; start again")


def _record(source: Source, located: LocatedSource, request: ConversionRequest, models: Path) -> EntryRecord:
    report = _report(models)
    return EntryRecord(
        source=source.text,
        content=located.content,
        request=request,
        models=tuple(sorted(path.name for path in models.iterdir())),
        files=file_sizes(models),
        chosen=report.chosen,
        lost=report.lost,
    )


class _ReportPart(msgspec.Struct, frozen=True):
    """The part of report.json that is shown when the model is served."""

    chosen: str = ""
    lost: tuple[str, ...] = ()


def _report(models: Path) -> _ReportPart:
    found = sorted(models.glob(_REPORTS))
    return msgspec.json.decode(found[0].read_bytes(), type=_ReportPart) if found else _ReportPart()
