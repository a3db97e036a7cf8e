"""From the sources of a command line to model repositories: recognise each, convert what is not one, check the names.

What was converted before costs a look into the cache; the converter is not imported then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

import msgspec

from slipway.cli.interruption import terminated_by_sigterm
from slipway.cli.sources.cache import ConvertedCache, EntryRecord, HeldEntry, cache_root
from slipway.cli.sources.converting import LocatedSource, convert_located, find_converted
from slipway.cli.sources.kinds import Source, SourceKind, check_name, nearest_path, recognise
from slipway.cli.sources.links import LinkedModels
from slipway.cli.sources.request import ConversionRequest
from slipway.config.conversion_flags import EXACT, ConversionFlags
from slipway.config.options import ServerOptions
from slipway.config.remote_location import REPOSITORY
from slipway.errors import SlipwayError, invalid
from slipway.repository.scan import scan_repositories

_LOG: Final = logging.getLogger("slipway.cli")


@dataclass(frozen=True, slots=True)
class FasterForm:
    """A form of a served model that is to be converted while its exact form serves, and the links to swap it in by."""

    source: Source
    located: LocatedSource
    request: ConversionRequest
    exact: HeldEntry
    links: LinkedModels


@dataclass(frozen=True, slots=True)
class PreparedSources:
    """The options with a model repository for every source; what was converted for them, by model name; the forms that
    follow while the server runs."""

    options: ServerOptions
    converted: dict[str, EntryRecord] = field(default_factory=dict)
    faster: tuple[FasterForm, ...] = ()


@contextmanager
def prepared_sources(options: ServerOptions, before_converting: Callable[[], None]) -> Iterator[PreparedSources]:
    """Yield what the server needs to serve the sources; nothing of it is removed from the cache inside the block.

    `before_converting` is called if there is something to convert; it may raise, as for a port in use. Raise
    INVALID_ARG for something that is not a source and for names that two models have, and the error of a conversion.
    """
    local = [text for text in options.sources if isinstance(REPOSITORY.read(text), Path)]
    sources = named([recognise(text, may_grow=options.model_control_mode != "none") for text in local], options.name)
    if all(source.kind is SourceKind.REPOSITORY for source in sources):
        _warn(options, sources)
        yield PreparedSources(options)
        return
    others = options.model_repository[len(sources) :]
    repositories = [source.path for source in sources if source.kind is SourceKind.REPOSITORY]
    check = check_names if not options.model_namespacing else _check_nothing
    check([(source.name, source.text) for source in sources if source.name], [*repositories, *others])
    with ExitStack() as stack:
        with terminated_by_sigterm():
            try:
                served = _Preparation(options, stack).run(sources, before_converting)
            except KeyboardInterrupt as interrupt:
                raise type(interrupt)("nothing of this conversion was kept; the same command starts again") from None
        converted = {record.request.name: record for _, record, _ in served if record is not None}
        parts = [(name, record.source) for record in converted.values() for name in record.models]
        check(parts, [*repositories, *others])
        yield PreparedSources(
            replace(options, model_repository=(*(path for path, _, _ in served), *others)),
            converted,
            tuple(form for _, _, form in served if form is not None),
        )


Served = tuple[Path, EntryRecord | None, FasterForm | None]


class _Preparation:
    """Converts the sources of one command line; `stack` releases what it takes."""

    def __init__(self, options: ServerOptions, stack: ExitStack) -> None:
        self._options = options
        self._stack = stack
        self._cache = ConvertedCache(cache_root())

    def run(self, sources: Sequence[Source], before_converting: Callable[[], None]) -> list[Served]:
        """Return a repository for each source."""
        self._cache.open()
        found = [None if source.kind is SourceKind.REPOSITORY else self._find(source) for source in sources]
        if any(isinstance(each, LocatedSource) for each in found):
            before_converting()
        return [self._serve(source, each) for source, each in zip(sources, found, strict=True)]

    def _find(self, source: Source) -> HeldEntry | LocatedSource:
        try:
            found = find_converted(source, ConversionRequest.of(source, self._options), self._cache)
        except SlipwayError as error:
            if source.kind is SourceKind.HUB and (near := nearest_path(source.text)):
                error.add_note(f"there is no '{source.text}' here{near}")
            raise
        return self._kept(found) if isinstance(found, HeldEntry) else found

    def _serve(self, source: Source, found: HeldEntry | LocatedSource | None) -> Served:
        if found is None:
            return source.path, None, None
        request = ConversionRequest.of(source, self._options)
        if isinstance(found, HeldEntry):
            _LOG.info("'%s' was converted before: %s", source.text, found.directory)
            return found.models, found.record, None
        if not self._options.fast:
            held = self._kept(convert_located(source, found, request, self._cache))
            return held.models, held.record, None
        exact_request = msgspec.structs.replace(request, precision=EXACT)
        exact = self._kept(convert_located(source, found, exact_request, self._cache))
        links = LinkedModels()
        self._stack.callback(links.remove)
        links.point(exact.models, exact.record.models if exact.record else ())
        return links.repository, exact.record, FasterForm(source, found, request, exact, links)

    def _kept(self, held: HeldEntry) -> HeldEntry:
        self._stack.callback(held.release)
        return held


def named(sources: Sequence[Source], names: Sequence[str]) -> list[Source]:
    """Return the sources, of which those that are converted have the given names in their order, then their own.

    Raise INVALID_ARG for a name that is one too many, or that a model cannot have.
    """
    convertible = [source for source in sources if source.kind is not SourceKind.REPOSITORY]
    if len(names) > len(convertible):
        raise invalid(f"--name is given {len(names)} times, but {len(convertible)} of the sources are converted")
    for name in names:
        check_name(name)
    given = iter(names)
    return [
        source if source.kind is SourceKind.REPOSITORY else replace(source, name=next(given, source.name))
        for source in sources
    ]


def check_names(converted: Iterable[tuple[str, str]], repositories: Iterable[Path]) -> None:
    """Raise INVALID_ARG if two models have one name; `converted` are pairs of name and source."""
    owners: dict[str, str] = {}
    for repository in repositories:
        owners |= dict.fromkeys(scan_repositories([repository]).models, str(repository))
    for name, source in converted:
        if name in owners:
            raise invalid(
                f"'{owners[name]}' and '{source}' both have a model '{name}'; --name, once for each converted source "
                "in their order, gives them other names"
            )
        owners[name] = source


def _check_nothing(_converted: Iterable[tuple[str, str]], _repositories: Iterable[Path]) -> None:
    """Accept any names: with namespaces, several repositories may have models of one name."""


def _warn(options: ServerOptions, sources: Iterable[Source]) -> None:
    """Log what has no effect, and the path nearest to one that does not exist."""
    plain = ConversionFlags()
    for flag in (each.name for each in fields(ConversionFlags) if each.name in ConversionFlags.__annotations__):
        if getattr(options, flag) != getattr(plain, flag):
            _LOG.warning("--%s has no effect: none of the sources is converted", flag)
    for source in sources:
        if not source.path.exists() and (near := nearest_path(source.text)):
            _LOG.warning("'%s' does not exist%s", source.text, near)
