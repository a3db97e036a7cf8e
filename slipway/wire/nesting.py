"""Whether nested lists are regular: at every depth, lists of one length that hold either lists or numbers.

Reads the text, not Python objects: the brackets and commas of regular lists follow from those of their first lists.
"""

from __future__ import annotations

from typing import Final

_PIECE: Final = 128 << 10  # bytes read at a time, so that other threads run between
_LEAVES: Final = b"0123456789-.eE+truefals \t\r\n"  # of valid JSON numbers and booleans, with white space


def is_ragged(text: bytes | memoryview) -> bool:
    """Return whether `text`, valid JSON of nested lists of numbers or booleans, is not regular.

    A list may not be empty: without its leaves, it looks like a list of one.
    """
    pieces = (bytes(text[start : start + _PIECE]) for start in range(0, len(text), _PIECE))
    skeleton = b"".join(piece.translate(None, _LEAVES) for piece in pieces)
    depth = len(skeleton) - len(skeleton.lstrip(b"["))
    closed = skeleton.find(b"]")
    commas = closed - depth
    regular = b"[" + b"," * commas + b"]"  # the first innermost list, if it holds only numbers
    for level in range(depth - 1, 0, -1):  # the first list of the level begins at level - 1
        closing = depth - level + 1
        end = skeleton.find(b"]" * closing, level)
        size = end + closing - 1 - level  # of what is in it
        count, rest = divmod(size + 1, len(regular) + 1)
        if end < 0 or rest or count < 1:
            return True
        regular = b"[" + (regular + b",") * (count - 1) + regular + b"]"
    return skeleton != regular
