"""Numbers, dates, times and amounts of money, written out in German."""

from __future__ import annotations

from datetime import date
from typing import Final

UNITS: Final = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn"
).split()
TENS: Final = ["", "", *"zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()]
MONTHS: Final = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
WEEKDAYS: Final = "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag".split()
_ORDINALS: Final = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}
_DAY_PARTS: Final = (  # the first hour of each
    (23, "nachts"),
    (18, "abends"),
    (12, "nachmittags"),
    (5, "morgens"),
    (0, "nachts"),
)
_TO_FIVE_MINUTES: Final = {  # what stands before the hour, and whether that is the next hour
    5: ("fünf nach", False),
    10: ("zehn nach", False),
    15: ("Viertel nach", False),
    20: ("zwanzig nach", False),
    25: ("fünf vor halb", True),
    30: ("halb", True),
    35: ("fünf nach halb", True),
    40: ("zwanzig vor", True),
    45: ("Viertel vor", True),
    50: ("zehn vor", True),
    55: ("fünf vor", True),
}


def number(value: int) -> str:
    """Return a whole number from 0 to 999 999 in words, which are one: "dreihundertsiebenundvierzig"."""
    if value >= 1_000_000:
        raise ValueError(f"{value} is not below a million")
    if value >= 1000:
        thousands, rest = divmod(value, 1000)
        return f"{before_noun(thousands)}tausend{number(rest) if rest else ''}"
    if value >= 100:
        hundreds, rest = divmod(value, 100)
        return f"{before_noun(hundreds)}hundert{number(rest) if rest else ''}"
    if value < 20:
        return UNITS[value]
    tens, units = divmod(value, 10)
    return f"{before_noun(units)}und{TENS[tens]}" if units else TENS[tens]


def before_noun(value: int) -> str:
    """Return a number as it stands before a noun or inside a longer one: "ein", not "eins", at its end."""
    return number(value).removesuffix("s") if value % 100 == 1 else number(value)


def ordinal(day: int) -> str:
    """Return the ordinal of a day of the month with the weak ending of the nominative, such as "dritte"."""
    return _ORDINALS.get(day) or number(day) + ("te" if day < 20 else "ste")


def year(value: int) -> str:
    """Return a year from 1100 to 2099 as it is said."""
    century, rest = divmod(value, 100)
    if century == 20:
        return number(value)
    return f"{number(century)}hundert{number(rest) if rest else ''}"


def day_and_month(day: date, *, dative: bool) -> str:
    """Return a date without its year and article: "dritte März", in the dative "dritten März"."""
    return f"{ordinal(day.day)}{'n' if dative else ''} {MONTHS[day.month - 1]}"


def full_date(day: date, *, dative: bool) -> str:
    """Return a date with its year, without its article."""
    return f"{day_and_month(day, dative=dative)} {year(day.year)}"


def weekday_and_day(day: date, *, dative: bool) -> str:
    """Return a date with its weekday, without its year: "Montag, der dritte März"."""
    return f"{WEEKDAYS[day.weekday()]}, {'dem' if dative else 'der'} {day_and_month(day, dative=dative)}"


def spoken_time(hour: int, minute: int) -> str:
    """Return a time of day as it is said, to five minutes: "fünf nach halb vier nachmittags"."""
    part = next(words for first, words in _DAY_PARTS if hour >= first)
    if minute == 0:
        return f"{before_noun(_on_the_dial(hour))} Uhr {part}"
    before, following = _TO_FIVE_MINUTES[minute]
    return f"{before} {number(_on_the_dial(hour + following))} {part}"


def exact_time(hour: int, minute: int) -> str:
    """Return a time as a timetable has it: "sechzehn Uhr fünf"."""
    return f"{before_noun(hour)} Uhr {number(minute)}"


def amount(euros: int, cents: int, *, accusative: bool = False) -> str:
    """Return an amount of money: "ein Euro und fünfzig Cent"; in the accusative "einen Euro und fünfzig Cent"."""
    parts = [_counted(euros, "Euro", accusative=accusative), _counted(cents, "Cent", accusative=accusative)]
    return " und ".join(part for part, value in zip(parts, (euros, cents), strict=True) if value)


def _counted(value: int, unit: str, *, accusative: bool) -> str:
    return f"{before_noun(value)}{'en' if accusative and value == 1 else ''} {unit}"


def _on_the_dial(hour: int) -> int:
    return (hour - 1) % 12 + 1
