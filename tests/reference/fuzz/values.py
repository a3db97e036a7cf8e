"""The values that the fuzz sends: good ones for every datatype, and odd ones for every place."""

from __future__ import annotations

import struct
from random import Random

import numpy as np

from tests.reference.fuzz.documents import Literal, Members
from tests.reference.http_cases import NUMPY

MOODS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 98, 99)  # what the model `moody` knows
TEXTS = ("", "a", "text", "grüße", "東京", "\x00", 'quote " and \\', "line\nbreak", "😀", "true", "1", "x" * 70)
IDS = ("", "a", "text", "grüße", "東京", "true", "1", "x" * 70)
NAMES = ("", "A", "a", "IN ", "nosuch", "grüße", "pair", "__proto__", "IN\n", "x" * 300)
ODD_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64)
LITERALS = tuple(
    map(Literal, "1e400 -1e400 1.0 1.5 1e2 -0 -0.0 NaN Infinity -Infinity 1E+2 5e-324 1e39 9007199254740993.0".split())
)
# Spelt as no standard allows: every parser decides for itself.
MISSPELT = tuple(map(Literal, ("01", "+1", ".5", "1.", "0x10", "nan", "inf", "True", "'a'", "None", "", "1 2", "tru")))
SIZES = (0, 1, 2, 3, 4, 5, -1, -2, 8, 9, 2**31, 2**32, 2**62, 2**63, 2**64)


def number(name: str, datatype: str, rng: Random) -> object:
    """Return a JSON value of a datatype; the input's name decides where a model knows only some."""
    if name == "CODE" or (datatype == "INT32" and rng.random() < 0.1):
        return rng.choice(MOODS)
    match datatype:
        case "BOOL":
            return rng.random() < 0.5
        case "BYTES":
            return rng.choice(TEXTS)
        case "FP16" | "FP32" | "FP64":
            return rng.choice((0, 1, -1, 0.5, -2.25, 1e3, 100, round(rng.uniform(-9, 9), 3)))
        case _:
            limits = np.iinfo(NUMPY[datatype])
            return rng.choice((0, 1, 2, 3, int(limits.min), int(limits.max), rng.randint(0, 100)))


def raw(datatype: str, values: list[object]) -> bytes:
    """Return the bytes of a tensor."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)
    return np.array(values, NUMPY[datatype]).tobytes()


def odd(rng: Random) -> object:
    """Return a JSON value that the place it is put into need not expect."""
    return rng.choice(
        (
            lambda: None,
            lambda: rng.random() < 0.5,
            lambda: rng.choice(ODD_NUMBERS) * rng.choice((1, 1, 1, -1)),
            lambda: rng.choice(LITERALS),
            lambda: rng.choice(TEXTS),
            list,
            Members,
            lambda: [odd(rng) for _ in range(rng.randint(1, 3))],
            lambda: Members((rng.choice(NAMES), odd(rng)) for _ in range(rng.randint(1, 2))),
            lambda: nested(rng.choice((2, 20, 90))),
        )
    )()


def nested(depth: int) -> object:
    """Return an empty list, `depth` levels deep."""
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value
