"""Which bound models the current thread or coroutine runs, and what of them: what would wait for itself is refused.

Instances have threads of their own, so their contexts last as long as they do, and coroutines inherit them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

CALL: Final = "call"
SETUP: Final = "setup"
CLOSE: Final = "close"


@dataclass(frozen=True, slots=True)
class _Occupation:
    models: object
    step: str


_CURRENT: Final[ContextVar[_Occupation | None]] = ContextVar("slipway_bound_model", default=None)


@contextmanager
def occupying(models: object, step: str) -> Iterator[None]:
    """Run a step of one of the `models` of a server in this block; afterwards, this thread only calls the model."""
    _CURRENT.set(_Occupation(models, step))
    try:
        yield
    finally:
        _CURRENT.set(_Occupation(models, CALL))


def occupied_by(models: object) -> str:
    """Return the step of one of these very models that this thread or coroutine runs, "" if it runs none."""
    current = _CURRENT.get()
    return current.step if current is not None and current.models is models else ""
