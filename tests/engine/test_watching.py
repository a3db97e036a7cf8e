"""Each kind of scheduler lets a traced or logged request know when it waited, was executed and ended."""

from __future__ import annotations

import asyncio
import logging

from slipway.core.request import InferRequest
from slipway.core.statistics import Timing
from slipway.engine.request_log import RequestLog
from slipway.tracing.moments import NAMES
from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import RequestTrace, TraceRoot
from tests.kits.engine import delay, identity, request, serving

EXECUTED = [
    "REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END",
    "INFER_RESPONSE_COMPLETE", "REQUEST_END",
]  # fmt: skip
NOT_EXECUTED = ["REQUEST_START", "QUEUE_START", "INFER_RESPONSE_COMPLETE", "REQUEST_END"]
CACHE = {"cache_config": {"local": {"size": "1000000"}}}
CACHED = "response_cache { enable: true }\n"
ORDERED = "dynamic_batching { preserve_ordering: true }\n"
LIMITED = 'instance_group { count: 2 kind: KIND_CPU rate_limiter { resources { name: "r" count: 1 } } }\n'
SEQUENCE = """sequence_batching { %s
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }
"""
BY_LENGTH = """dynamic_batching { }
parameters { key: "LENGTH_BATCHING_PAD_VALUES" value { string_value: "INPUT0=0" } }
"""
KINDS = {
    "plain": "",
    "batched": "dynamic_batching { max_queue_delay_microseconds: 1000 }\n",
    "by_length": BY_LENGTH,
    "ordered": ORDERED,
    "ordered_in_threads": ORDERED + "instance_group { count: 2 }\n" + delay(1),
    "limited": LIMITED,
    "limited_and_ordered": LIMITED + ORDERED,
    "cached": CACHED,
    "cached_and_ordered": CACHED + ORDERED,
    "direct": SEQUENCE % "direct { }",
    "oldest": SEQUENCE % "oldest { max_candidate_sequences: 4 preserve_ordering: true }",
}


class Owner:
    """Keeps the complete traces."""

    def __init__(self) -> None:
        self.completed_roots: list[TraceRoot] = []

    def completed(self, root: TraceRoot) -> None:
        self.completed_roots.append(root)

    def know(self, trace: RequestTrace) -> None:
        raise AssertionError(trace)


async def traced(engine, name: str, **fields) -> list[str]:
    """Send a traced request; return the moments of its complete trace, which are in order."""
    owner = Owner()
    trace = RequestTrace(TraceRoot(TraceSetting(("TIMESTAMPS",), 1, -1, 0), None, owner))
    if name in ("direct", "oldest"):
        fields |= {"correlation_id": 1, "flags": 3}
    await engine.infer(request(name, trace=trace, **fields))
    trace.root.close()
    await asyncio.sleep(0)
    assert owner.completed_roots == [trace.root]
    times = [time for _, time in sorted(zip(trace.moments[::2], trace.moments[1::2], strict=True))]
    assert times == sorted(times)
    return [NAMES[moment] for moment in sorted(trace.moments[::2])]


def test_every_scheduler_delivers_the_moments_of_a_request(tmp_path, caplog):
    for name, extra in KINDS.items():
        identity(tmp_path, name, extra=extra)

    async def scenario():
        async with serving(tmp_path, rate_limit="execution_count", **CACHE) as engine:
            assert engine.failed == {}
            engine.log_settings.verbose = 1
            for name in KINDS:
                assert await traced(engine, name) == EXECUTED, name
                again = NOT_EXECUTED if name.startswith("cached") else EXECUTED
                assert await traced(engine, name) == again, name

    caplog.set_level(logging.DEBUG, "slipway.requests")
    asyncio.run(scenario())
    assert [record.fields["model"] for record in caplog.records] == [name for name in KINDS for _ in range(2)]
    assert all({"queue_us", "compute_us"} <= record.fields.keys() for record in caplog.records)


def test_a_log_line_sums_up_the_executions_of_an_iterative_sequence(caplog):
    caplog.set_level(logging.DEBUG, "slipway.requests")
    log = RequestLog(InferRequest("m"), 1, 1, arrival_ns=1000)
    log.executed(Timing(3000, 3000, 3000, 8000))
    log.executed(Timing(20_000, 20_000, 20_000, 23_000))
    log.ended(1)
    (record,) = caplog.records
    assert (record.fields["queue_us"], record.fields["compute_us"]) == (2, 8)
