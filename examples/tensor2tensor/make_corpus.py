"""Makes a small parallel corpus, English and German: numbers, dates, times of day and amounts of money, written out.

    python make_corpus.py DIRECTORY [--lines N] [--held-out N] [--seed N]

writes train.en and train.de, and as many lines of dev.en and dev.de, to watch a training, as of held_out.en and
held_out.de, to judge its result. The same seed makes the same files. What is held out is held out by its value: no
number, date, time or amount of the dev and held-out lines occurs in a line for training, whatever the sentence around
it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import english_words as english
import german_words as german

Pair = tuple[str, str]
_FIRST_DAY: Final = date(1800, 1, 1)
_LAST_DAY: Final = date(2099, 12, 31)


@dataclass(frozen=True)
class Kind:
    """One kind of line: `draw` makes a value, each sentence writes a value in both languages, the first of them the
    value alone; `weight` is the kind's share of the lines."""

    draw: Callable[[random.Random], Any]
    sentences: Sequence[Callable[[Any], Pair]]
    weight: int


def _number(generator: random.Random) -> int:
    """Return a number whose count of digits is uniform, from one digit to six."""
    return generator.randrange(10 ** generator.randint(1, 6))


def _date(generator: random.Random) -> date:
    return _FIRST_DAY + timedelta(days=generator.randrange((_LAST_DAY - _FIRST_DAY).days + 1))


def _spoken_time(generator: random.Random) -> tuple[int, int]:
    return generator.randrange(24), generator.randrange(0, 60, 5)


def _exact_time(generator: random.Random) -> tuple[int, int]:
    return generator.randint(1, 23), generator.randint(1, 59)


def _amount(generator: random.Random) -> tuple[int, int]:
    euros = generator.randrange(10 ** generator.randint(1, 4))
    cents = generator.choice((0, 50, 99, generator.randrange(100), generator.randrange(100)))
    return (euros, cents) if euros or cents else (1, 0)


NUMBERS: Final[Sequence[Callable[[int], Pair]]] = (
    lambda n: (english.number(n), german.number(n)),
    lambda n: (f"The number is {english.number(n)}.", f"Die Zahl ist {german.number(n)}."),
    lambda n: (f"Please take ticket number {english.number(n)}.", f"Bitte nehmen Sie Karte Nummer {german.number(n)}."),
    lambda n: (
        f"We stopped counting at {english.number(n)}.",
        f"Bei {german.number(n)} haben wir aufgehört zu zählen.",
    ),
)
DATES: Final[Sequence[Callable[[date], Pair]]] = (
    lambda d: (english.full_date(d), f"der {german.full_date(d, dative=False)}"),
    lambda d: (f"She was born on {english.full_date(d)}.", f"Sie wurde am {german.full_date(d, dative=True)} geboren."),
    lambda d: (f"The letter is from {english.full_date(d)}.", f"Der Brief ist vom {german.full_date(d, dative=True)}."),
)
DAYS: Final[Sequence[Callable[[date], Pair]]] = (
    lambda d: (english.weekday_and_day(d), german.weekday_and_day(d, dative=False)),
    lambda d: (f"Today is {english.weekday_and_day(d)}.", f"Heute ist {german.weekday_and_day(d, dative=False)}."),
    lambda d: (
        f"The shop is closed on {english.weekday_and_day(d)}.",
        f"Der Laden ist am {german.weekday_and_day(d, dative=True)}, geschlossen.",
    ),
)
SPOKEN_TIMES: Final[Sequence[Callable[[tuple[int, int]], Pair]]] = (
    lambda t: (english.spoken_time(*t), german.spoken_time(*t)),
    lambda t: (f"It is {english.spoken_time(*t)}.", f"Es ist {german.spoken_time(*t)}."),
    lambda t: (f"We are meeting at {english.spoken_time(*t)}.", f"Wir treffen uns um {german.spoken_time(*t)}."),
    lambda t: (f"The shop opens at {english.spoken_time(*t)}.", f"Der Laden öffnet um {german.spoken_time(*t)}."),
)
EXACT_TIMES: Final[Sequence[Callable[[tuple[int, int]], Pair]]] = (
    lambda t: (english.exact_time(*t), german.exact_time(*t)),
    lambda t: (f"The train leaves at {english.exact_time(*t)}.", f"Der Zug fährt um {german.exact_time(*t)} ab."),
    lambda t: (f"The bus arrives at {english.exact_time(*t)}.", f"Der Bus kommt um {german.exact_time(*t)} an."),
)
AMOUNTS: Final[Sequence[Callable[[tuple[int, int]], Pair]]] = (
    lambda a: (english.amount(*a), german.amount(*a)),
    lambda a: (f"The book costs {english.amount(*a)}.", f"Das Buch kostet {german.amount(*a, accusative=True)}."),
    lambda a: (f"The total is {english.amount(*a)}.", f"Die Summe beträgt {german.amount(*a, accusative=True)}."),
    lambda a: (f"I paid {english.amount(*a)} for it.", f"Ich habe {german.amount(*a, accusative=True)} dafür bezahlt."),
)
KINDS: Final = (
    Kind(_number, NUMBERS, 35),
    Kind(_date, DATES, 15),
    Kind(_date, DAYS, 10),
    Kind(_spoken_time, SPOKEN_TIMES, 10),
    Kind(_exact_time, EXACT_TIMES, 10),
    Kind(_amount, AMOUNTS, 20),
)


def main() -> None:
    """Write the files and say what is in them."""
    options = _parse()
    options.directory.mkdir(parents=True, exist_ok=True)
    training, held = make_corpus(options.lines, 2 * options.held_out, options.seed)
    dev, held_out = held[: options.held_out], held[options.held_out :]
    for name, pairs in (("train", training), ("dev", dev), ("held_out", held_out)):
        for language, side in (("en", 0), ("de", 1)):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (options.directory / f"{name}.{language}").write_text(text, encoding="utf-8")
    print(f"{len(training)} lines for training and twice {len(dev)} held out in {options.directory}, for example:")
    for pair in held_out[:3]:
        print(f"  {pair[0]}\n  {pair[1]}")


def make_corpus(lines: int, held_out: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs for training and those held out; no pair occurs twice, and they have no values in common."""
    generator = random.Random(seed)  # noqa: S311  no secret
    training: dict[Pair, None] = {}
    held: dict[Pair, None] = {}
    is_held = {english.number(small): False for small in range(20)}  # by value; these words are in no other number
    share = min(0.5, 2 * held_out / (lines + held_out))
    while len(training) < lines or len(held) < held_out:
        [kind] = generator.choices(KINDS, [kind.weight for kind in KINDS])
        value = kind.draw(generator)
        alone, _ = kind.sentences[0](value)
        pairs, most = (held, held_out) if is_held.setdefault(alone, generator.random() < share) else (training, lines)
        if len(pairs) < most:
            pairs[generator.choice(kind.sentences)(value)] = None
    return list(training), list(held)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a parallel corpus of written-out numbers, dates and amounts.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--lines", type=int, default=40_000, help="lines for training (default: 40000)")
    parser.add_argument("--held-out", type=int, default=500, help="lines held out, and as many for dev (default: 500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generator (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
