"""Numbers, dates, times and amounts of money, written out in English (British: "three hundred and five")."""

from __future__ import annotations

from datetime import date
from typing import Final

UNITS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS: Final = ["", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split()]
MONTHS: Final = "January February March April May June July August September October November December".split()
WEEKDAYS: Final = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_ORDINALS: Final = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
    "twenty": "twentieth",
    "thirty": "thirtieth",
}
_MINUTES: Final = {5: "five", 10: "ten", 15: "quarter", 20: "twenty", 25: "twenty-five"}
_DAY_PARTS: Final = (  # the first hour of each
    (23, "at night"),
    (18, "in the evening"),
    (12, "in the afternoon"),
    (5, "in the morning"),
    (0, "at night"),
)


def number(value: int) -> str:
    """Return a whole number from 0 to 999 999 in words."""
    if value < 20:
        return UNITS[value]
    if value < 100:
        tens, units = divmod(value, 10)
        return f"{TENS[tens]}-{UNITS[units]}" if units else TENS[tens]
    if value < 1000:
        hundreds, rest = divmod(value, 100)
        return f"{UNITS[hundreds]} hundred" + (f" and {number(rest)}" if rest else "")
    thousands, rest = divmod(value, 1000)
    if thousands >= 1000:
        raise ValueError(f"{value} is not below a million")
    joined = " and " if 0 < rest < 100 else " " if rest else ""
    return f"{number(thousands)} thousand{joined}{number(rest) if rest else ''}"


def ordinal(day: int) -> str:
    """Return the ordinal of a day of the month, such as "twenty-first"."""
    head, dash, last = number(day).rpartition("-")
    return head + dash + _ORDINALS.get(last, f"{last}th")


def year(value: int) -> str:
    """Return a year from 1100 to 2099 as it is said."""
    century, rest = divmod(value, 100)
    if value in range(2000, 2010):
        return number(value)
    if not rest:
        return f"{number(century)} hundred"
    return f"{number(century)} {'oh ' if rest < 10 else ''}{number(rest)}"


def day_and_month(day: date) -> str:
    """Return a date without its year: "the third of March"."""
    return f"the {ordinal(day.day)} of {MONTHS[day.month - 1]}"


def full_date(day: date) -> str:
    """Return a date with its year: "the third of March nineteen eighty-four"."""
    return f"{day_and_month(day)} {year(day.year)}"


def weekday_and_day(day: date) -> str:
    """Return a date with its weekday, without its year: "Monday, the third of March"."""
    return f"{WEEKDAYS[day.weekday()]}, {day_and_month(day)}"


def spoken_time(hour: int, minute: int) -> str:
    """Return a time of day as it is said, to five minutes: "twenty-five to four in the afternoon"."""
    part = next(words for first, words in _DAY_PARTS if hour >= first)
    if minute == 0:
        return f"{_hour(hour)} o'clock {part}"
    if minute == 30:
        return f"half past {_hour(hour)} {part}"
    if minute < 30:
        return f"{_MINUTES[minute]} past {_hour(hour)} {part}"
    return f"{_MINUTES[60 - minute]} to {_hour(hour + 1)} {part}"


def exact_time(hour: int, minute: int) -> str:
    """Return a time as a timetable has it, 1:01 to 23:59 without full hours: "sixteen oh five"."""
    return f"{number(hour)} {'oh ' if minute < 10 else ''}{number(minute)}"


def amount(euros: int, cents: int) -> str:
    """Return an amount of money: "one euro and fifty cents"."""
    parts = [f"{number(value)} {unit}{'' if value == 1 else 's'}" for value, unit in ((euros, "euro"), (cents, "cent"))]
    return " and ".join(part for part, value in zip(parts, (euros, cents), strict=True) if value)


def _hour(hour: int) -> str:
    return number((hour - 1) % 12 + 1)
