"""Inputs that the user declares because the model file does not: `--input NAME:TYPE:DIMS[:LIMIT]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slipway.core.signature import TensorSpec
from slipway.datatypes import BY_NAME
from slipway.errors import invalid

_INPUT: Final = re.compile(r"(?P<name>[A-Za-z_]\w*):(?P<datatype>\w+):(?P<dims>-?\d+(,-?\d+)*)(:(?P<limit>\d+))?")


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """One declaration. Dims include the batch dimension; integers are below `limit`, where 0 means no limit."""

    spec: TensorSpec
    limit: int = 0


def parse_input(text: str) -> DeclaredInput:
    """Parse a declaration such as `x:FP32:-1,2` or `ids:INT64:-1,-1:30522`; raise INVALID_ARG if it is malformed."""
    found = _INPUT.fullmatch(text)
    if found is None or found["datatype"] not in BY_NAME:
        raise invalid(
            f"'{text}' is not an input declaration: expected NAME:TYPE:DIMS, such as x:FP32:-1,2, or "
            f"NAME:TYPE:DIMS:LIMIT for integers below LIMIT; types: {', '.join(BY_NAME)}"
        )
    dims = tuple(int(size) for size in found["dims"].split(","))
    return DeclaredInput(TensorSpec(found["name"], found["datatype"], dims), int(found["limit"] or 0))


def limits_of(declared: Sequence[DeclaredInput]) -> dict[str, int]:
    """Return the declared limits by input name."""
    return {each.spec.name: each.limit for each in declared if each.limit}
