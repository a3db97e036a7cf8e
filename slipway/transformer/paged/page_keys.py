"""Keys of the contents of pages: a chain of digests, so that a key stands for a page and everything before it.

Two pages have the same key only if their tokens, all tokens before them and whatever else their keys and values depend
on are the same. A digest that clients cannot forge (Python's own hash is neither stable nor safe) keeps one client from
being served another one's prompt.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

_SIZE: Final = 16  # bytes


def first_key(scope: bytes = b"") -> bytes:
    """Return the key before the first page; `scope` is what the keys and values depend on besides tokens."""
    return blake2b(scope, digest_size=_SIZE).digest()


def next_key(before: bytes, tokens: Sequence[int]) -> bytes:
    """Return the key of the tokens of a page (or of its beginning) that follows the page with the key `before`."""
    return blake2b(before + array("q", tokens).tobytes(), digest_size=_SIZE).digest()
