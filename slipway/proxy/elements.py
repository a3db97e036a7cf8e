"""Checks of JSON values: pydantic's types for the elements of each datatype, in lists of any depth.

A type is built once for a datatype and depth, and used for every model that has it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Final

import numpy as np
from pydantic import FailFast, Field, TypeAdapter, ValidationError

from slipway.datatypes import BY_NAME
from slipway.proxy.failures import RefusedBody

_TYPES: Final[dict[str, Any]] = {"BOOL": bool, "BYTES": str, "FP16": float, "BF16": float, "FP32": float, "FP64": float}


@lru_cache(maxsize=512)
def adapter(datatype: str, depth: int, *, all_problems: bool) -> TypeAdapter[Any]:
    """Return what checks lists of this depth (0: a single element), and finds the first problem or all of them."""
    element: Any = _TYPES.get(datatype)
    if element is None:
        limits = np.iinfo(BY_NAME[datatype].numpy)
        element = Annotated[int, Field(ge=int(limits.min), le=int(limits.max))]
    for _ in range(depth):
        lists: Any = list.__class_getitem__(element)
        element = lists if all_problems else Annotated[lists, FailFast()]
    return TypeAdapter(element)


def checked(datatype: str, depth: int, value: object, place: tuple[str | int, ...], *, all_problems: bool) -> Any:
    """Return the value with elements of the right type; raise `RefusedBody`, in which `place` is where it stands."""
    try:
        return adapter(datatype, depth, all_problems=all_problems).validate_python(value)
    except ValidationError as error:
        raise refused(error, place) from None


def refused(error: ValidationError, place: tuple[str | int, ...]) -> RefusedBody:
    """Return the refusal of a value with pydantic's problems."""
    return RefusedBody(
        [
            {
                "type": each["type"],
                "loc": ["body", *place, *each["loc"]],
                "msg": each["msg"],
                "input": each["input"],
                **({"ctx": each["ctx"]} if "ctx" in each else {}),
            }
            for each in error.errors(include_url=False)
        ]
    )
