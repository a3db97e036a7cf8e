"""The translation problems that can be trained: tensor2tensor's, and one's own pairs of text files.

A problem says where its text comes from, and names its vocabulary and its shards. `NAME_rev` is the same data in the
other direction. Own problems are tables in `problems.toml` in the directory of `--t2t_usr_dir`. Knows no formats.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from slipway.errors import SlipwayError, invalid, not_found, shown, unsupported

OWN_PROBLEMS: Final = "problems.toml"
REVERSED: Final = "_rev"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,99}")
_MAX_SIZE: Final = 1 << 24
MAX_SHARDS: Final = 1000  # they are written at the same time, and each is an open file
_MAX_FILE_SIZE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Corpus:
    """Two files of text whose lines are translations of each other, relative to a directory or members of an archive.

    `url` is the archive's place; "" if the files have to be there.
    """

    source: str
    target: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class TranslationProblem:
    """One problem. `name` is the base name, which its files have in both directions; `directory` holds own text."""

    name: str
    approximate_size: int  # of the vocabulary
    train: tuple[Corpus, ...]
    dev: tuple[Corpus, ...]
    train_shards: int = 100
    dev_shards: int = 1
    reverse: bool = False
    vocabulary: str = ""  # a file name that replaces tensor2tensor's own
    directory: Path | None = None

    @property
    def full_name(self) -> str:
        """The name with its direction."""
        return self.name + REVERSED if self.reverse else self.name

    @property
    def vocabulary_file(self) -> str:
        """The name of the vocabulary's file."""
        return self.vocabulary or f"vocab.{self.name}.{self.approximate_size}.subwords"


_WMT: Final = "http://data.statmt.org"
_WMT13: Final = "http://www.statmt.org/wmt13"
_NEWS: Final = "training-parallel-nc-v13"
_ENDE_TRAIN: Final = (
    Corpus(
        f"{_NEWS}/news-commentary-v13.de-en.en",
        f"{_NEWS}/news-commentary-v13.de-en.de",
        f"{_WMT}/wmt18/translation-task/{_NEWS}.tgz",
    ),
    Corpus("commoncrawl.de-en.en", "commoncrawl.de-en.de", f"{_WMT13}/training-parallel-commoncrawl.tgz"),
    Corpus(
        "training/europarl-v7.de-en.en", "training/europarl-v7.de-en.de", f"{_WMT13}/training-parallel-europarl-v7.tgz"
    ),
)
_ENDE_DEV: Final = (Corpus("dev/newstest2013.en", "dev/newstest2013.de", f"{_WMT}/wmt17/translation-task/dev.tgz"),)
_PROBLEMS: Final = {
    problem.name: problem
    for problem in (
        TranslationProblem("translate_ende_wmt32k", 1 << 15, _ENDE_TRAIN, _ENDE_DEV),
        TranslationProblem("translate_ende_wmt8k", 1 << 13, _ENDE_TRAIN, _ENDE_DEV),
    )
}
_PACKED: Final = "it packs several sentences into one example"
_CLEANED: Final = "it filters its corpora by rules of its own"
_PARACRAWL: Final = "its corpus is ParaCrawl in a format that is not read"
_UNSUPPORTED: Final = {
    "translate_ende_wmt32k_packed": _PACKED,
    "translate_ende_wmt8k_packed": _PACKED,
    "translate_ende_wmt_multi64k_packed1k": _PACKED,
    "translate_ende_wmt_characters": "its vocabulary is bytes instead of subwords",
    "translate_ende_wmt_multi64k": "its vocabulary comes from several languages",
    "translate_ende_wmt_bpe32k": "its text is cut by another program",
    "translate_ende_wmt_clean32k": _CLEANED,
    "translate_ende_wmt_pc_clean32k": _CLEANED,
    "translate_ende_pc_clean32k": _CLEANED,
    "translate_ende_pc32k": _PARACRAWL,
    "translate_ende2018_wmt32k": _PARACRAWL,
}


def problem_names(usr_dir: Path | None = None) -> list[str]:
    """Return the names of all problems and those of `problems.toml` in `usr_dir`, without `_rev`."""
    return [*_PROBLEMS, *(() if usr_dir is None else read_problems(usr_dir))]


def find_problem(name: str, usr_dir: Path | None = None) -> TranslationProblem:
    """Return the problem called `name`, which may end in `_rev`; own problems come from `problems.toml` in `usr_dir`.

    Raise INVALID_ARG with the nearest names if there is none, UNSUPPORTED with the reason for other problems of
    tensor2tensor.
    """
    known = _PROBLEMS if usr_dir is None else {**_PROBLEMS, **read_problems(usr_dir)}
    base = name.removesuffix(REVERSED)
    if base in known:
        return replace(known[base], reverse=name != base)
    if base in _UNSUPPORTED:
        raise unsupported(f"problem '{base}' is not supported: {_UNSUPPORTED[base]}; supported: {', '.join(known)}")
    raise invalid(f"problem '{shown(name)}' is unknown{_nearest(base, known)}")


def read_problems(usr_dir: Path) -> dict[str, TranslationProblem]:
    """Return the problems of `problems.toml` in a directory; raise INVALID_ARG naming everything wrong in it."""
    path = usr_dir / OWN_PROBLEMS
    try:
        with path.open("rb") as file:
            tables = tomllib.loads(file.read(_MAX_FILE_SIZE).decode())
    except FileNotFoundError:
        raise not_found(
            f"'{path}' does not exist: own problems are tables in it, such as "
            '[translate_mine] source = "train.en" target = "train.de"; Python modules are not imported'
        ) from None
    except (OSError, ValueError) as error:
        raise invalid(f"'{path}' cannot be read: {error}") from None
    problems: list[str] = []
    found: dict[str, TranslationProblem] = {}
    for name, table in tables.items():
        try:
            found[name] = _own(name, table, usr_dir)
        except SlipwayError as error:
            problems.append(f"[{shown(name)}] {error.message}")
    if problems:
        raise invalid(f"'{path}': " + "; ".join(problems))
    return found


_FILES: Final = ("source", "target", "dev_source", "dev_target")
_NUMBERS: Final = {
    "vocabulary_size": (1 << 13, _MAX_SIZE),
    "shards": (100, MAX_SHARDS),
    "dev_shards": (1, MAX_SHARDS),
}
_KEYS: Final = (*_FILES, *_NUMBERS, "vocabulary")


def _own(name: str, table: Any, directory: Path) -> TranslationProblem:
    if not isinstance(table, dict):
        raise invalid("is not a table")
    if not _NAME.fullmatch(name) or name.endswith(REVERSED):
        raise invalid("is not a name for a problem: use a-z, 0-9 and _, without '_rev' at the end")
    if name in _PROBLEMS or name in _UNSUPPORTED:
        raise invalid("is the name of one of tensor2tensor's problems")
    unknown = [f"'{shown(key)}' is unknown{_nearest(key, _KEYS)}" for key in table if key not in _KEYS]
    if unknown:
        raise invalid("; ".join(unknown))
    files = [_paths(table, key) for key in _FILES]
    for one, other, (first, second) in zip(_FILES[::2], _FILES[1::2], (files[:2], files[2:]), strict=True):
        if len(first) != len(second):
            raise invalid(f"{one} has {len(first)} files, but {other} has {len(second)}")
    size, shards, dev_shards = (_number(table, key, *limits) for key, limits in _NUMBERS.items())
    vocabulary = table.get("vocabulary", "")
    if not isinstance(vocabulary, str) or Path(vocabulary).name != vocabulary:
        raise invalid("vocabulary has to be the name of a file in the data directory")
    train, dev = (tuple(Corpus(*pair) for pair in zip(*pairs, strict=True)) for pairs in (files[:2], files[2:]))
    return TranslationProblem(name, size, train, dev, shards, dev_shards, vocabulary=vocabulary, directory=directory)


def _paths(table: Mapping[str, Any], key: str) -> list[str]:
    value = table.get(key)
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise invalid(f"{key} has to be the path of a text file, or a list of them")
    return paths


def _number(table: Mapping[str, Any], key: str, default: int, most: int) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise invalid(f"{key} is {shown(value)}, expected a whole number from 1 to {most}")
    return value


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(each) for each in near)}?" if near else f"; known: {', '.join(known)}"
