"""A small parallel corpus of made-up words, and a problem of one's own that reads it."""

import random
from pathlib import Path

WORDS = "haus baum wasser strasse katze hund freund schule lehrer buch seite tag nacht woche jahr uhr".split()


def sentences(count, seed=1):
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=source.randint(2, 7))) + "." for _ in range(count)]


def write_corpus(directory: Path, lines=200, dev=20) -> Path:
    """Write train.{en,de} and dev.{en,de} and problems.toml with the problem translate_mine."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", lines), ("dev", dev)):
        text = sentences(count, seed=count)
        (directory / f"{name}.en").write_text("".join(f"{line}\n" for line in text))
        (directory / f"{name}.de").write_text("".join(f"{line.upper()}\n" for line in text))
    (directory / "problems.toml").write_text(
        '[translate_mine]\nsource = "train.en"\ntarget = "train.de"\ndev_source = "dev.en"\ndev_target = "dev.de"\n'
        "vocabulary_size = 150\nshards = 4\n"
    )
    return directory
