"""What is noted of one request that asks to be explained: where it waited, in which batch it ran, how long it took.

Times are monotonic nanoseconds and come in as arguments. Other requests have None in place of this and pay nothing for
it. `engine/explaining.py` makes the text for the client, which also says what the configuration knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from slipway.core.statistics import Timing
from slipway.errors import invalid, shown

EXPLAIN: Final = "slipway_explain"  # the parameter of a request, and of its response
EXPLAIN_HEADER: Final = "slipway-explain"
_HEADER_VALUES: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
MAX_STEPS: Final = 64  # of one client's request, over all ensembles in it: a decoupled model may lead to any number


def is_wanted(header: str) -> bool:
    """Return what the value of the header or metadata says; raise INVALID_ARG if it is neither true nor false."""
    wanted = _HEADER_VALUES.get(header.strip().lower())
    if wanted is None:
        raise invalid(f"the header '{EXPLAIN_HEADER}' should be 'true' or 'false', got '{shown(header)}'")
    return wanted


class Wait(StrEnum):
    """What a request waits for."""

    BATCH = "batch"  # more requests, until the batcher's delay is over
    INSTANCE = "instance"  # an instance that is not busy
    RESOURCES = "resources"  # of the rate limiter
    HAND_OVER = "hand_over"  # its instance has it, and begins
    PREPARATION = "preparation"  # its instance has it, and prepares for the likely shapes of inputs
    SLOT = "sequence_slot"  # of another sequence
    ORDER = "sequence_order"  # an earlier request of its sequence
    CACHE = "cache"  # the response cache looks it up
    INFLIGHT = "inflight"  # other requests to the same step of the ensemble
    RESPONSES = "earlier_responses"  # which have to be sent first


class Explanation:
    """The notes of one request; those of an ensemble have the notes of its steps."""

    __slots__ = (
        "_left",
        "_reason",
        "_since_ns",
        "_started_ns",
        "batch_requests",
        "batch_rows",
        "cache",
        "compute_ns",
        "end_ns",
        "executions",
        "instance",
        "meets_preparation",
        "model",
        "more_steps",
        "padding",
        "report",
        "start_ns",
        "steps",
        "waits",
    )

    def __init__(self, model: str = "", left: list[int] | None = None) -> None:
        self.model = model  # of a step
        self.waits: dict[Wait, int] = {}  # ns
        self.instance = ""  # of the last execution, as are the batch and its padding
        self.batch_requests = 0
        self.batch_rows = 0
        self.padding: tuple[int, int] | None = None  # tokens of the batch's requests, padding tokens
        self.meets_preparation = False  # the model was being prepared when the request came
        self.cache = ""  # "hit" or "miss", of a model with a response cache
        self.executions = 0  # that have ended
        self.compute_ns = [0, 0, 0]  # input, infer and output, of all executions
        self.start_ns = 0  # of the first execution
        self.end_ns = 0  # of the last execution that has ended
        self.steps: list[Explanation] = []
        self.more_steps = 0  # that are not in `steps`
        self.report: Mapping[str, Any] | None = None  # of a step that has its final response
        self._left = [MAX_STEPS] if left is None else left  # how many steps there may be, in one list for all of them
        self._reason: Wait | None = None
        self._since_ns = 0
        self._started_ns = 0

    def wait(self, reason: Wait, now_ns: int) -> None:
        """Note what the request waits for from now on, which ends any other wait."""
        if reason is not self._reason:
            self.stop_waiting(now_ns)
            self._reason, self._since_ns = reason, now_ns

    def stop_waiting(self, now_ns: int) -> None:
        """Note that the request does not wait any more."""
        if self._reason is not None:
            self.waited(self._reason, now_ns - self._since_ns)
            self._reason = None

    def waited(self, reason: Wait, ns: int) -> None:
        """Add a wait of a known length."""
        self.waits[reason] = self.waits.get(reason, 0) + ns

    def started(self, instance: str, requests: int, rows: int, padding: tuple[int, int] | None, now_ns: int) -> None:
        """Note that an instance has got the request, in a batch of so many requests and rows."""
        self.stop_waiting(now_ns)
        self.instance, self.batch_requests, self.batch_rows, self.padding = instance, requests, rows, padding
        self._started_ns = now_ns

    def looked_up(self, now_ns: int, *, hit: bool) -> None:
        """Note whether the response cache had the response."""
        self.stop_waiting(now_ns)
        self.cache = "hit" if hit else "miss"

    def executing_since(self) -> int:
        """Return when the running execution began; 0 if none is running."""
        return self._started_ns

    def step(self, model: str) -> Explanation | None:
        """Return the notes for a request to a step of an ensemble; None if there are too many."""
        if not self._left[0]:
            self.more_steps += 1
            return None
        self._left[0] -= 1
        self.steps.append(Explanation(model, self._left))
        return self.steps[-1]

    def executed(self, timing: Timing) -> None:
        """Note the times of an execution. The response cache and refusals execute nothing."""
        if timing.end <= timing.start:
            return
        if self._started_ns:
            wait = Wait.PREPARATION if self.meets_preparation else Wait.HAND_OVER
            self.waited(wait, max(0, timing.start - self._started_ns))
            self._started_ns = 0
        self.executions += 1
        self.start_ns = self.start_ns or timing.start
        self.end_ns = timing.end
        spent = self.compute_ns
        spent[0] += timing.input_end - timing.start
        spent[1] += timing.output_start - timing.input_end
        spent[2] += timing.end - timing.output_start
