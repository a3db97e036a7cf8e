"""How the table of intended differences describes one that occurs in generated requests."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Foreseen:
    """An intended difference in the answers to generated requests, as patterns (`re.search`) of what distinguishes it.

    The answers are texts: the status, then the error or the content. `both` sees them in two lines, Slipway's first;
    `without` is what only one of them says, so that the rest must be the same.
    """

    name: str
    reason: str
    request: str = ""
    ours: str = ""
    theirs: str = ""
    both: str = ""
    without: str = ""
    faults: int = 0  # the fewest changes to a valid request with which it occurs

    def matches(self, request: str, ours: str, theirs: str, faults: int) -> bool:
        """Return whether this request with these answers is the difference."""
        pairs = ((self.request, request), (self.ours, ours), (self.theirs, theirs), (self.both, f"{ours}\n{theirs}"))
        return (
            not self.without
            and self.faults <= faults
            and all(re.search(pattern, text, re.DOTALL) for pattern, text in pairs)
        )
