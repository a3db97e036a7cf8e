"""How tensor2tensor cuts text into tokens and spells them: the two invertible steps below the subword vocabulary.

A token is a longest run of letters and digits (Unicode categories L* and N*), or of other characters. One space between
two tokens is left out and put back when the text is joined. Pure functions on strings; knows no vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final

ESCAPE_CHARACTERS: Final = frozenset("\\_u;0123456789")  # what escapes are spelled with; in every alphabet
UNKNOWN: Final = "\N{GETA MARK}"  # stands for an escape that does not name a character
_TOKENS: Final = re.compile(r"[^\W_]+|[\W_]+")  # [^\W_] is exactly L* and N*; a test holds that
_ESCAPES: Final = re.compile(r"\\u|\\\\|\\([0-9]+);")
_FIXED: Final = {"\\u": "_", "\\\\": "\\"}


def tokenize(text: str) -> list[str]:
    """Return the tokens of a text, without the single spaces between two tokens."""
    tokens = _TOKENS.findall(text)
    if len(tokens) < 3:
        return tokens
    return [tokens[0], *(inner for inner in tokens[1:-1] if inner != " "), tokens[-1]]


def join(tokens: Iterable[str]) -> str:
    """Return the text of non-empty tokens: the inverse of `tokenize`."""
    return "".join(_joined(tokens))


def escape(token: str, alphabet: Container[str]) -> str:
    """Return a token as it is spelled with `alphabet`: other characters as their code points, and `_` at the end."""
    spelled = token.replace("\\", "\\\\").replace("_", "\\u")
    return "".join([c if c in alphabet and c != "\n" else f"\\{ord(c)};" for c in spelled]) + "_"


def unescape(spelled: str) -> str:
    """Return the token that was spelled, given without its final `_`; `UNKNOWN` for numbers that are not characters."""
    return _ESCAPES.sub(_character, spelled) if "\\" in spelled else spelled


def escaper(alphabet: Iterable[str]) -> Callable[[str], str]:
    """Return a fast `escape` for one alphabet: tokens that need no escapes are recognised in one search."""
    known = frozenset(alphabet)
    plain = re.compile("[" + "".join(map(re.escape, sorted(known - set("\\_\n")))) + "]+")
    return lambda token: token + "_" if plain.fullmatch(token) else escape(token, known)


def _joined(tokens: Iterable[str]) -> Iterator[str]:
    after_word = False
    for token in tokens:
        word = token[0].isalnum()  # the same as L* and N*
        if after_word and word:
            yield " "
        yield token
        after_word = word


def _character(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        return _FIXED[match[0]]
    code = int(digits) if len(digits) < 9 else -1
    return chr(code) if 0 <= code < 0xD800 or 0xE000 <= code <= 0x10FFFF else UNKNOWN
