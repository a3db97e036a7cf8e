"""tensor2tensor's subword vocabulary: a file of subtokens, and the encoder that turns text into their ids and back.

The file has one subtoken in single quotes on each line; the number of the line is the id. Encoding is greedy, the
longest subtoken first, and loses nothing: characters that the vocabulary does not have are spelled as code points.
Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.checkpoints.tensor2tensor.escaping import ESCAPE_CHARACTERS, escape, escaper, join, tokenize, unescape
from slipway.errors import SlipwayError, invalid, not_found, shown

PAD_ID: Final = 0
END_ID: Final = 1
RESERVED: Final = ("<pad>", "<EOS>")  # ids 0 and 1
_MAX_FILE_SIZE: Final = 256 << 20  # bytes; the largest public vocabulary has less than one megabyte
_MAX_CACHED_TOKENS: Final = 1 << 17  # with at most 64 characters each, 30 MB
_MAX_CACHED_LENGTH: Final = 64
_QUOTES: Final = ("'", '"')


class SubwordTextEncoder:
    """Text to ids and back. Safe for several threads: its only state is a bounded cache of tokens."""

    __slots__ = ("_cache", "_escape", "_ids", "_longest", "_single", "_subtokens")

    def __init__(self, subtokens: Sequence[str]) -> None:
        """Take all subtokens in the order of their ids, `<pad>` and `<EOS>` first.

        Raise INVALID_ARG for an empty or repeated subtoken, and if the characters that spell escapes are missing.
        """
        _check(subtokens)
        self._subtokens = tuple(subtokens)
        self._ids = {subtoken: index for index, subtoken in enumerate(subtokens) if index > END_ID}
        self._single = frozenset(subtoken for subtoken in self._ids if len(subtoken) == 1)
        missing = ESCAPE_CHARACTERS - self._single
        if missing:
            names = " ".join(sorted(missing))
            raise invalid(
                f"a vocabulary of subwords needs each of these characters as a subtoken, to spell characters that "
                f"it does not have: {names}"
            )
        self._escape = escaper(frozenset().union(*self._ids))
        self._longest = _longest_by_first(self._ids)
        self._cache: dict[str, tuple[int, ...]] = {}

    @classmethod
    def load(cls, path: Path) -> SubwordTextEncoder:
        """Return the encoder of a vocabulary file.

        Raise NOT_FOUND if there is none, and INVALID_ARG with the line's number if it is not a vocabulary.
        """
        try:
            return cls(_read(path))
        except SlipwayError as error:
            raise SlipwayError(error.code, f"vocabulary '{path}': {error.message}") from None

    def save(self, path: Path) -> None:
        """Write the vocabulary file, whole or not at all; raise UNAVAILABLE if that is not possible."""
        with atomic_file(path) as file:
            file.write("".join(f"'{subtoken}'\n" for subtoken in self._subtokens).encode())

    @property
    def vocabulary_size(self) -> int:
        """The number of ids, with those of `<pad>` and `<EOS>`."""
        return len(self._subtokens)

    @property
    def subtokens(self) -> tuple[str, ...]:
        """The subtokens in the order of their ids."""
        return self._subtokens

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without `END_ID`; raise INVALID_ARG if a surrogate makes it invalid Unicode."""
        ids: list[int] = []
        cache = self._cache
        for token in tokenize(text):
            known = cache.get(token)
            ids.extend(self._encode_token(token) if known is None else known)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; the caller cuts at `END_ID`, which is spelled `<EOS>` here.

        Code points that are not characters, which only a model writes, become U+3013. Raise INVALID_ARG for an id
        outside the vocabulary.
        """
        subtokens = self._subtokens
        size = len(subtokens)
        pieces = []
        for index in ids:
            if not 0 <= index < size:
                raise invalid(f"id {index} is outside the vocabulary, which has ids 0 to {size - 1}")
            pieces.append(subtokens[index] if index > END_ID else subtokens[index].removesuffix("_") + "_")
        return join(token for token in map(unescape, "".join(pieces).split("_")) if token)

    def _encode_token(self, token: str) -> tuple[int, ...]:
        try:
            token.encode()
        except UnicodeEncodeError as error:
            code = ord(token[error.start])
            raise invalid(f"text is not valid Unicode: it contains the surrogate U+{code:04X}") from None
        ids = self._match(self._escape(token))
        if ids is None:  # a character is only known inside longer subtokens
            ids = self._match(escape(token, self._single))
        assert ids is not None, token  # noqa: S101  # every escape character is a subtoken
        if len(token) <= _MAX_CACHED_LENGTH:
            if len(self._cache) >= _MAX_CACHED_TOKENS:
                self._cache.clear()
            self._cache[token] = ids
        return ids

    def _match(self, spelled: str) -> tuple[int, ...] | None:
        """Return the ids of the longest subtokens from left to right, or None if none begins at some place."""
        ids = self._ids
        found = []
        start, size = 0, len(spelled)
        while start < size:
            most = self._longest.get(spelled[start], 0)
            for end in range(min(size, start + most), start, -1):
                index = ids.get(spelled[start:end])
                if index is not None:
                    found.append(index)
                    start = end
                    break
            else:
                return None
        return tuple(found)


def _longest_by_first(subtokens: Iterable[str]) -> dict[str, int]:
    longest: dict[str, int] = {}
    for subtoken in subtokens:
        first = subtoken[0]
        longest[first] = max(longest.get(first, 0), len(subtoken))
    return longest


def _check(subtokens: Sequence[str]) -> None:
    for index, name in enumerate(RESERVED):
        found = subtokens[index] if index < len(subtokens) else ""
        if found.removesuffix("_") != name:
            raise invalid(f"line {index + 1} has to be '{name}', not '{shown(found)}'")
    lines: dict[str, int] = {}
    for number, subtoken in enumerate(subtokens, 1):
        if not subtoken:
            raise invalid(f"line {number} is an empty subtoken")
        if "\n" in subtoken:
            raise invalid(f"line {number}: a subtoken cannot contain a line break")
        if subtoken in lines:
            raise invalid(f"line {number} repeats '{shown(subtoken)}' of line {lines[subtoken]}")
        lines[subtoken] = number


def _read(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_SIZE + 1)
    except FileNotFoundError:
        raise not_found("the file does not exist") from None
    except OSError as error:
        raise invalid(f"the file cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE_SIZE:
        raise invalid(f"the file has more than {_MAX_FILE_SIZE} bytes, which is too large for a vocabulary")
    if not data:
        raise invalid("the file is empty")
    lines = data.removesuffix(b"\n").split(b"\n")
    return [_unquoted(line, number) for number, line in enumerate(lines, 1)]


def _unquoted(line: bytes, number: int) -> str:
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise invalid(f"line {number} is not valid UTF-8 (byte {error.start + 1})") from None
    if len(text) < 2 or text[0] not in _QUOTES or text[0] != text[-1]:
        raise invalid(f"line {number} is not in single quotes: {shown(text)!r}")
    return text[1:-1]
