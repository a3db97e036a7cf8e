"""The vocabulary builder of tensor2tensor as one writes it down from its description: strings, dictionaries, loops.

What Slipway's array version is compared with, for its result and its speed. Uses nothing from Slipway.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

RESERVED = ["<pad>", "<EOS>"]
ROUNDS = 4


@cache
def is_word(character: str) -> bool:
    """Return whether a character is a letter or a number."""
    return unicodedata.category(character)[0] in "LN"


def tokens(text: str) -> list[str]:
    """Return the runs of letters and numbers, and of other characters, without single spaces between two runs."""
    runs: list[str] = []
    for character in text:
        if runs and is_word(runs[-1][0]) == is_word(character):
            runs[-1] += character
        else:
            runs.append(character)
    return [run for place, run in enumerate(runs) if run != " " or place in (0, len(runs) - 1)]


def count_tokens(lines: Iterable[str]) -> Counter[str]:
    """Return how often each token occurs."""
    return Counter(token for line in lines for token in tokens(line))


def spell(token: str, alphabet: set[str]) -> str:
    """Return a token with its escapes, and `_` at the end."""
    token = token.replace("\\", "\\\\").replace("_", "\\u")
    return "".join(c if c in alphabet and c != "\n" else f"\\{ord(c)};" for c in token) + "_"


def cut(word: str, known: set[str], longest: int) -> list[str]:
    """Return the longest known pieces of a word from left to right."""
    pieces = []
    while word:
        size = next(size for size in range(min(longest, len(word)), 0, -1) if word[:size] in known)
        pieces.append(word[:size])
        word = word[size:]
    return pieces


def one_vocabulary(counts: Mapping[str, int], least: int) -> list[str]:
    """Return the vocabulary for a minimum count."""
    alphabet = {c for token in [*counts, *RESERVED] for c in token} | set("\\_u;0123456789")
    words = {spell(token, alphabet): count for token, count in counts.items()}
    ordered = sorted(alphabet)
    for _ in range(ROUNDS):
        known, longest = set(ordered), max(map(len, ordered))
        frequency: dict[str, int] = defaultdict(int)
        for word, count in words.items():
            start = 0
            for piece in cut(word, known, longest):
                for end in range(start + 1, len(word) + 1):
                    frequency[word[start:end]] += count
                start += len(piece)
        by_length: dict[int, list[str]] = defaultdict(list)
        for string, count in frequency.items():
            if count >= least:
                by_length[len(string)].append(string)
        kept = []
        for size in sorted(by_length, reverse=True):
            for string in by_length[size]:
                count = frequency[string]
                if count < least:
                    continue
                if string not in alphabet:
                    kept.append((count, string))
                for end in range(1, size):
                    frequency[string[:end]] -= count
        kept += [(frequency.get(c, 0), c) for c in alphabet]
        ordered = [string for _, string in sorted(kept, reverse=True)]
    return [*RESERVED, *ordered]


def build(counts: Mapping[str, int], size: int, low: int = 1, high: int = 1000) -> list[str]:
    """Return the vocabulary nearest to a size, by bisection of the minimum count."""
    least = (low + high) // 2
    found = one_vocabulary(counts, least)
    if abs(len(found) - size) * 100 < size or low >= high or least < 2:
        return found
    other = build(counts, size, least + 1, high) if len(found) > size else build(counts, size, low, least - 1)
    return other if abs(len(other) - size) < abs(len(found) - size) else found
