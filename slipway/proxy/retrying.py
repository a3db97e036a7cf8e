"""When a call that the server was not available for is made again. Pure.

Retries have a budget, as gRPC's own have (gRFC A6, "throttling"): if most calls fail, the server is in trouble, and
more calls would make it worse.
"""

from __future__ import annotations

from typing import Final

_TOKENS: Final = 100.0
_EARNED: Final = 0.1  # per call that did not need a retry
_FIRST_S: Final = 0.05
_LONGEST_S: Final = 1.0


class RetryBudget:
    """The retries that may still be made: every failure costs one, every tenth success earns one; below half, none."""

    def __init__(self) -> None:
        self._tokens = _TOKENS

    def succeed(self) -> None:
        """Note a call that the server answered."""
        if self._tokens < _TOKENS:
            self._tokens = min(_TOKENS, self._tokens + _EARNED)

    def fail(self) -> bool:
        """Note a call that the server was not available for; return whether it may be made again."""
        self._tokens = max(0.0, self._tokens - 1)
        return self._tokens > _TOKENS / 2


def pause(attempt: int, chance: float) -> float:
    """Return the seconds to wait before retry `attempt` (from 0): twice as long each time, and with a `chance` (0 to 1)
    that spreads the clients of a server that restarts."""
    longest: float = min(_LONGEST_S, _FIRST_S * 2**attempt)
    return longest * (0.5 + chance / 2)
