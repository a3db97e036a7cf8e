"""The table of all groups of attacks, and how users name some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from slipway.attack import (
    compressed,
    documents,
    endless,
    framing,
    large,
    names,
    pages,
    rpc_floods,
    rpc_messages,
    slow,
)
from slipway.attack.group import AttackGroup
from slipway.errors import invalid

_FAMILIES: Final = (
    framing,
    endless,
    slow,
    compressed,
    documents,
    large,
    names,
    pages,
    rpc_floods,
    rpc_messages,
)
GROUPS: Final[tuple[AttackGroup, ...]] = tuple(group for family in _FAMILIES for group in family.GROUPS)


def chosen_groups(given: Sequence[str]) -> list[AttackGroup]:
    """Return the groups that are given by number or name, in the table's order; all if none is given.

    Raise INVALID_ARG for one that does not exist, with the nearest name.
    """
    if not given:
        return list(GROUPS)
    known = {key: group for group in GROUPS for key in (str(group.number), group.name)}
    unknown = [each for each in given if each not in known]
    if unknown:
        raise invalid("; ".join(_advice(each, known) for each in unknown))
    numbers = {known[each].number for each in given}
    return [group for group in GROUPS if group.number in numbers]


def _advice(given: str, known: Iterable[str]) -> str:
    near = get_close_matches(given, known, n=1)
    advice = f"did you mean '{near[0]}'?" if near and not given.isdigit() else f"there are 1 to {len(GROUPS)}"
    return f"group '{given}' is unknown: {advice}"
