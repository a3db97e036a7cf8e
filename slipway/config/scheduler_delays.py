"""The environment variables that let schedulers wait until enough requests have come, for tests of batching.

Triton's own tests set them to get the same batches in every run. They hold once, after a load.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_REQUESTS: Final = "TRITONSERVER_DELAY_SCHEDULER"
_BACKLOG: Final = "TRITONSERVER_BACKLOG_DELAY_SCHEDULER"
_NUMBER: Final = re.compile(r"\s*\+?(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class SchedulerDelays:
    """Nothing executes before `requests` wait, and of sequences without a place `backlog` requests."""

    requests: int = 0
    backlog: int = 0

    @property
    def any(self) -> bool:
        """Whether there is anything to wait for."""
        return self.requests > 0 or self.backlog > 0


NO_DELAYS: Final = SchedulerDelays()


def scheduler_delays(environment: Mapping[str, str] = os.environ) -> SchedulerDelays:
    """Return what the environment says; as in Triton, what does not begin with a number is 0."""
    return SchedulerDelays(*(_leading_number(environment.get(name, "")) for name in (_REQUESTS, _BACKLOG)))


def _leading_number(text: str) -> int:
    found = _NUMBER.match(text)
    return int(found[1]) if found else 0
