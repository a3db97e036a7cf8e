"""An instance on the event loop, for work that takes microseconds and never blocks (the identity backend)."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.backends.api import Executor
from slipway.backends.instance_api import Finished
from slipway.core.pending import Pending
from slipway.instances.execution import execute


class InlineInstance:
    """Executes inside `start`. Implements `backends.instance_api.Instance`."""

    depth = 1

    def __init__(self, name: str, executor: Executor) -> None:
        self.name = name
        self._executor = executor

    def start(self, batch: Sequence[Pending], finished: Finished) -> None:
        """Execute `batch` and call `finished` before returning."""
        finished(execute(self._executor, batch, self.name))

    async def check_ready(self) -> None:
        """Raise `SlipwayError` when the executor cannot serve."""
        self._executor.check_ready()

    async def close(self) -> None:
        """Release the executor."""
        self._executor.close()
