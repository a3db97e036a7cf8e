"""Builds the scheduler of a model that serves sequences: a lane per instance, with the line of its strategy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slipway.backends.instance_api import Instance
from slipway.config.scheduler_delays import scheduler_delays
from slipway.config.sequences import SequencePlan, execution_signature
from slipway.core.pending import Pending
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.scheduling.batcher import Batcher, BatchRules
from slipway.scheduling.driver import WaitingLine
from slipway.scheduling.factory import shape_key
from slipway.scheduling.limited import Admission
from slipway.scheduling.queue import RequestQueue
from slipway.scheduling.sequence_driver import SequenceScheduler
from slipway.scheduling.sequence_inputs import SequenceInputs
from slipway.scheduling.sequence_lane import LimitedLane, Placeholder, SequenceLane
from slipway.scheduling.slot_batcher import SlotBatcher, SlotRules


def build_sequence_scheduler(
    plan: SequencePlan,
    signature: ModelSignature,
    instances: Sequence[Instance],
    statistics: ModelStatistics,
    version: str,
    *,
    admission: Admission | None = None,
) -> SequenceScheduler:
    """Return the scheduler of a model version. With an `admission`, its instances execute when the rate limiter lets
    them."""
    inputs = SequenceInputs(plan, signature)
    key = shape_key(execution_signature(signature, plan))

    def slot_of(pending: Pending) -> int:
        return scheduler.slot_of(pending)

    def placeholders(like: Pending, count: int) -> Iterable[Pending]:
        request = inputs.placeholder(like.request)  # the same for all: nobody changes it
        return [Placeholder(request, like) for _ in range(count)]

    def line() -> WaitingLine:
        max_rows = max(1, signature.max_batch_size)
        if plan.oldest:
            return Batcher(BatchRules(max_rows, plan.preferred_rows, plan.max_delay), RequestQueue())
        return SlotBatcher(SlotRules(plan.slots, plan.minimum_utilization, plan.max_delay), slot_of, placeholders)

    def lane(index: int, instance: Instance) -> SequenceLane:
        if admission is None:
            return SequenceLane(signature, statistics, version, instances=[instance], line=line(), key=key)
        own = Admission(admission.limits, admission.permits[index : index + 1])
        return LimitedLane(signature, statistics, version, instances=[instance], line=line(), key=key, admission=own)

    lanes = [lane(index, instance) for index, instance in enumerate(instances)]
    delays = scheduler_delays()
    scheduler = SequenceScheduler(plan, signature, statistics, version, lanes=lanes, inputs=inputs, delays=delays)
    return scheduler
