"""Words as token sequences: which tokens would complete a banned word, and whether a stop word was just completed.

Words are looked up by the last generated tokens, so a list of 100 000 entries costs no more per step than a list of
one. Knows no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Words = Iterable[Sequence[int]]


@dataclass(slots=True)
class StopWords:
    """Words that end a hypothesis when it ends with one of them."""

    words: frozenset[tuple[int, ...]]
    lengths: dict[int, set[int]] = field(default_factory=dict)  # last token -> lengths of the words that end with it

    @classmethod
    def of(cls, words: Words) -> StopWords:
        """Index words by their last token; leave out empty ones."""
        index = cls(frozenset(tuple(word) for word in words if word))
        for word in index.words:
            index.lengths.setdefault(word[-1], set()).add(len(word))
        return index

    def match(self, ids: Sequence[int]) -> bool:
        """Return whether `ids` ends with one of the words."""
        lengths = self.lengths.get(ids[-1]) if ids else None
        return lengths is not None and any(tuple(ids[-length:]) in self.words for length in lengths)


@dataclass(slots=True)
class BadWords:
    """Words that must not be generated: single tokens, and tokens that must not follow the beginning of a longer word.

    Token 0 is never banned (FasterTransformer pads its word lists with it).
    """

    always: tuple[int, ...]
    after: dict[tuple[int, ...], tuple[int, ...]]  # all tokens but the last -> the last ones
    lengths: dict[int, set[int]] = field(default_factory=dict)  # last token of a beginning -> lengths of beginnings

    @classmethod
    def of(cls, words: Words) -> BadWords:
        """Index words by their beginning."""
        after: dict[tuple[int, ...], set[int]] = {}
        for word in words:
            if word and word[-1] != 0:
                after.setdefault(tuple(word[:-1]), set()).add(word[-1])
        always = tuple(sorted(after.pop((), set())))
        index = cls(always, {beginning: tuple(sorted(last)) for beginning, last in after.items()})
        for beginning in after:
            index.lengths.setdefault(beginning[-1], set()).add(len(beginning))
        return index

    def following(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens that would complete a longer word after the generated `ids`."""
        lengths = [length for length in self.lengths.get(ids[-1], ()) if length <= len(ids)] if ids else []
        return [token for length in lengths for token in self.after.get(tuple(ids[-length:]), ())]
