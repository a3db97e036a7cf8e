"""Builds the scheduler that a model's configuration specifies, from config.pbtxt's units (microseconds, levels)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.instance_api import Instance
from slipway.config.scheduler_delays import scheduler_delays
from slipway.core.pending import Pending
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.scheduling.api import Scheduler
from slipway.scheduling.batcher import Batcher, BatchRules, Fifo
from slipway.scheduling.cached import uncached
from slipway.scheduling.delayed import DelayedLine
from slipway.scheduling.driver import InstanceScheduler, WaitingLine
from slipway.scheduling.length_batcher import LengthBatcher
from slipway.scheduling.lengths import length_key
from slipway.scheduling.limited import Admission, LimitedScheduler
from slipway.scheduling.ordered import OrderedScheduler
from slipway.scheduling.priority_queue import PriorityQueue
from slipway.scheduling.queue import QueuePolicy, RequestQueue

_NS_PER_US: Final = 1000
_DELAY: Final = model_config_pb2.ModelQueuePolicy.DELAY


def build_scheduler(
    config: model_config_pb2.ModelConfig,
    signature: ModelSignature,
    instances: Sequence[Instance],
    statistics: ModelStatistics,
    version: str,
    admission: Admission | None = None,
    cached: Callable[[Scheduler], Scheduler] = uncached,
) -> Scheduler:
    """Return the scheduler of a model version with instances; an ensemble has none (see `EnsembleScheduler`). With an
    `admission`, its instances execute when the rate limiter lets them.

    `cached` puts a response cache before the instances: an order to be preserved includes what the cache answers.
    A model that serves sequences has a scheduler of its own (`sequence_factory.py`).
    """
    schedule = InstanceScheduler if admission is None else partial(LimitedScheduler, admission=admission)
    if not config.HasField("dynamic_batching"):
        # A single instance executes its requests in order in any case, so they may be passed to it early. With several
        # instances, or a batch that may still grow, it is better to wait for the first free instance.
        pipelined = len(instances) == 1
        return cached(schedule(signature, statistics, version, instances=instances, line=Fifo(), pipelined=pipelined))
    batching = config.dynamic_batching
    rules = BatchRules(
        max_rows=max(1, config.max_batch_size),
        preferred_rows=frozenset(batching.preferred_batch_size),
        max_delay=batching.max_queue_delay_microseconds * _NS_PER_US,
    )
    line, key = _batching_line(rules, request_queue(batching), signature)
    delays = scheduler_delays()
    if delays.requests:
        line = DelayedLine(line, delays.requests)
    scheduler = cached(schedule(signature, statistics, version, instances=instances, line=line, key=key))
    return OrderedScheduler(scheduler) if batching.preserve_ordering else scheduler


def _batching_line(
    rules: BatchRules, queue: RequestQueue[Pending], signature: ModelSignature
) -> tuple[WaitingLine, Callable[[Pending], object] | None]:
    """Return the batcher, and the function that computes a request's merge key."""
    rule = signature.padding
    if rule is None:
        return Batcher(rules, queue), shape_key(signature)
    line = LengthBatcher(rules, queue, max_share=rule.max_share, max_tokens=rule.max_tokens)
    return line, length_key(signature, rule)


def request_queue(batching: model_config_pb2.ModelDynamicBatching) -> RequestQueue[Pending]:
    """Return the queue with one policy per priority level; a level without its own policy has the default policy."""
    default = _policy(batching.default_queue_policy)
    own = {level: _policy(policy) for level, policy in batching.priority_queue_policy.items()}
    if batching.priority_levels > 1:
        return PriorityQueue(batching.priority_levels, default, own, batching.default_priority_level)
    return RequestQueue([own.get(1, default)])


def _policy(policy: model_config_pb2.ModelQueuePolicy) -> QueuePolicy:
    return QueuePolicy(
        max_queue_size=policy.max_queue_size,
        default_timeout=policy.default_timeout_microseconds * _NS_PER_US,
        allow_timeout_override=policy.allow_timeout_override,
        delay_expired=policy.timeout_action == _DELAY,
    )


def shape_key(signature: ModelSignature) -> Callable[[Pending], object] | None:
    """Return the function that computes a request's merge key, or None if any requests may be merged.

    The key holds the shapes that may differ and the optional inputs that are present, except ragged inputs, which a
    backend reads request by request.
    """
    variable = tuple(name for name, spec in signature.inputs.items() if -1 in spec.dims and not spec.ragged)
    optional = tuple(name for name, spec in signature.inputs.items() if spec.optional and not spec.ragged)
    if signature.max_batch_size == 0 or not (variable or optional):
        return None

    def key(pending: Pending) -> object:
        inputs = pending.request.inputs
        shapes = tuple([inputs[name].shape[1:] for name in variable if name in inputs])
        return (shapes, tuple([name in inputs for name in optional])) if optional else shapes

    return key
