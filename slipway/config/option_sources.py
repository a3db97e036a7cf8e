"""Where the options of `slipway serve` come from: the command line, the environment and the file of `--config`, in this
order of precedence. An option is taken from one of them as a whole, also a repeatable one. Knows no option's meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slipway.config.flags import Flag, Kind, field_name, flag_name
from slipway.config.key_options import CONFIG, SHOW_OPTIONS
from slipway.config.options_file import read_options_file
from slipway.config.variables import read_variables, variable_of

COMMAND_LINE: Final = "command line"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class OptionSource:
    """What one source gives: flags with their text, and how messages name each of them."""

    given: list[tuple[str, str]]
    kind: str = COMMAND_LINE
    places: Mapping[str, str] = field(default_factory=dict)  # of a file

    def shown(self, name: str) -> str:
        """Return what a message calls the option that the source gives."""
        if self.kind == COMMAND_LINE:
            return flag_name(name)
        return f"{name} in {self.places[name]}" if self.places else variable_of(name)

    def place(self, name: str) -> str:
        """Return where the option stands."""
        return self.places.get(name, self.kind if self.kind == COMMAND_LINE else variable_of(name))


@dataclass(frozen=True, slots=True)
class GivenOption:
    """The texts of an option without their secrets, and where it stands."""

    texts: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources, each without what an earlier one gives, and what is wrong or to be warned of."""

    levels: Sequence[OptionSource]
    problems: Sequence[str]
    warnings: Sequence[str]

    def names(self) -> list[str]:
        """Return the names of flags as they are given, also old ones."""
        return list(dict.fromkeys(name for level in self.levels for name, _ in level.given))

    def gives(self, name: str, kinds: Iterable[str]) -> bool:
        """Return whether a source of one of these kinds gives the flag."""
        return any(level.kind in kinds and name in dict(level.given) for level in self.levels)

    def options(self, flags: Iterable[Flag]) -> dict[str, GivenOption]:
        """Return what is given of `flags`, by the names of their fields."""
        names = _canonical(flags)
        by_name = {flag.name: flag for flag in names.values()}
        found: dict[str, GivenOption] = {}
        for level in self.levels:
            for name, text in level.given:
                if name not in names:
                    continue
                flag = by_name[names[name].name]
                shown = flag.kind.mask(text) if flag.kind.mask is not None else text
                before = found[field_name(flag)].texts if flag.gather and field_name(flag) in found else ()
                found[field_name(flag)] = GivenOption((*before, shown), level.place(name))
        return found


def option_sources(
    words: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    flags: Sequence[Flag],
    kinds: Mapping[str, Kind],
) -> Sources:
    """Return what the command line (`words`), the environment and the file that they name give of the flags in `kinds`,
    which include other names of `flags`."""
    names = _canonical(flags)
    repeatable = {name for name, flag in names.items() if flag.gather}
    variables = read_variables(environment, kinds, repeatable)
    levels = [OptionSource(list(words)), OptionSource(variables.given, "variable")]
    problems = list(variables.problems)
    files = [text for level in reversed(levels) for name, text in level.given if name == CONFIG and text]
    if files:
        reading = read_options_file(Path(files[-1]), kinds, repeatable, (CONFIG, SHOW_OPTIONS))
        problems += reading.problems
        levels.append(OptionSource(reading.given, "file", reading.places))
    return Sources(list(_distinct(levels, names)), problems, variables.warnings)


def _canonical(flags: Iterable[Flag]) -> dict[str, Flag]:
    """Return the flag of each name."""
    return {name: flag for flag in flags for name in (flag.name, *flag.aliases, *flag.deprecated)}


def _distinct(levels: Iterable[OptionSource], names: Mapping[str, Flag]) -> Iterator[OptionSource]:
    """Yield the sources without what an earlier one gives."""
    taken: set[str] = set()
    for level in levels:
        own = [(names[name].name if name in names else name, name, text) for name, text in level.given]
        kept = [(name, text) for flag, name, text in own if flag not in taken]
        taken.update(flag for flag, _, _ in own)
        yield OptionSource(kept, level.kind, level.places)
