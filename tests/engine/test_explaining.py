"""Explained requests to real engines: what each kind of scheduler says about the time of a request."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from slipway.core.explanation import Explanation
from slipway.core.pending import Pending
from slipway.errors import SlipwayError
from tests.engine.test_watching import KINDS, SEQUENCE
from tests.kits.engine import IDENTITY, answer, delay, ensemble, identity, request, serving

CACHE = {"cache_config": {"local": {"size": "1000000"}}}
LONG = 10_000_000  # us: a delay that only a full batch ends
CONTROLS = {"correlation_id": 1, "flags": 3}


def submit(engine, name, **fields) -> asyncio.Future:
    """Send an explained request; return the future of its explanation."""
    explained = asyncio.get_running_loop().create_future()

    def deliver(response):
        if response.error is not None:
            explained.set_exception(response.error)
        else:
            explained.set_result(json.loads(response.parameters["slipway_explain"]))

    engine.submit(request(name, explanation=Explanation(), **fields), deliver)
    return explained


def held_by(explained) -> dict[str, tuple[object, object]]:
    """Return the setting behind each wait of a request, with its value."""
    return {each["wait"]: (each.get("setting"), each.get("value")) for each in explained["held_by"]}


def test_every_scheduler_explains_the_batch_the_instance_and_the_times(tmp_path):
    for name, extra in KINDS.items():
        identity(tmp_path, name, extra=extra)

    async def scenario():
        async with serving(tmp_path, rate_limit="execution_count", **CACHE) as engine:
            for name in KINDS:
                sequence = CONTROLS if name in ("direct", "oldest") else {}
                explained = await submit(engine, name, **sequence)
                assert (explained["model"], explained["version"], explained["rows"]) == (name, "1", 1)
                assert explained["batch"] == {"requests": 1, "rows": 1}, name
                assert explained["instance"]["name"].startswith(f"{name}_0")
                assert explained["instance"]["kind"] == "CPU"
                assert explained["instance"]["threads"] >= 1
                assert explained["engine"] == {"backend": "identity"}
                assert explained["compute_us"].keys() == {"input", "infer", "output"}
                assert explained["total_us"] >= explained["queue_us"] + sum(explained["compute_us"].values()) - 3
                assert sum(each["us"] for each in explained["held_by"]) <= explained["total_us"]
                assert ("padding" in explained) == (name == "by_length")
                assert explained.get("cache") == ("miss" if name.startswith("cached") else None)

    asyncio.run(scenario())


def test_requests_that_are_not_explained_are_plain_and_have_no_parameter(tmp_path, monkeypatch):
    identity(tmp_path, "m", extra="dynamic_batching { }\n")
    kinds = []
    begin = Pending.__init__

    def noted(self, *arguments, **named):
        kinds.append(type(self))
        begin(self, *arguments, **named)

    monkeypatch.setattr(Pending, "__init__", noted)

    async def scenario():
        async with serving(tmp_path) as engine:
            response = await engine.infer(request("m"))
            assert response.parameters == {}
            assert kinds == [Pending]

    asyncio.run(scenario())


def test_a_full_batch_is_what_its_requests_waited_for(tmp_path):
    identity(
        tmp_path, "m", extra=f"dynamic_batching {{ max_queue_delay_microseconds: {LONG} preferred_batch_size: 3 }}\n"
    )

    async def scenario():
        async with serving(tmp_path) as engine:
            first = submit(engine, "m")
            plain = asyncio.ensure_future(answer(engine, "m"))
            await asyncio.sleep(0.01)
            last = submit(engine, "m")
            first, last = await first, await last
            assert await plain == [1.0, 2.0]
            assert first["batch"] == last["batch"] == {"requests": 3, "rows": 3}
            assert held_by(first)["batch"] == ("dynamic_batching.max_queue_delay_microseconds", LONG)
            assert first["queue_us"] > last["queue_us"]

    asyncio.run(scenario())


def test_a_busy_instance_is_named_with_the_number_of_them(tmp_path):
    identity(tmp_path, "m", extra="dynamic_batching { }\n" + delay(30))

    async def scenario():
        async with serving(tmp_path) as engine:
            busy, waiting = submit(engine, "m"), submit(engine, "m")
            busy, waiting = await busy, await waiting
            assert "instance" not in held_by(busy)
            assert held_by(waiting)["instance"] == ("instance_group.count", 1)
            assert waiting["queue_us"] >= sum(each["us"] for each in waiting["held_by"])

    asyncio.run(scenario())


def test_the_rate_limiter_is_named_with_its_resource(tmp_path):
    for name in ("m", "other"):
        limiter = 'rate_limiter { resources { name: "r" count: 4 } }'
        identity(tmp_path, name, extra=f"instance_group {{ kind: KIND_CPU {limiter} }}\n" + delay(30))

    async def scenario():
        async with serving(tmp_path, rate_limit="execution_count") as engine:
            other = asyncio.ensure_future(answer(engine, "other"))
            await asyncio.sleep(0)
            explained = await submit(engine, "m")
            await other
            assert held_by(explained)["resources"] == ("instance_group.rate_limiter.resources", "r")

    asyncio.run(scenario())


def test_a_sequence_waits_for_a_slot_and_for_its_earlier_requests(tmp_path):
    extra = SEQUENCE % "direct { }" + delay(10)
    config = IDENTITY.format(extra=extra).replace("max_batch_size: 8", "max_batch_size: 1")
    identity(tmp_path, "m", config=config)

    async def scenario():
        async with serving(tmp_path) as engine:
            first = submit(engine, "m", correlation_id=1, flags=1)
            second = submit(engine, "m", correlation_id=1, flags=2)
            third = submit(engine, "m", correlation_id=2, flags=3)
            first, second, third = await first, await second, await third
            assert held_by(first).keys() <= {"hand_over"}
            assert held_by(second)["sequence_order"] == (None, None)
            assert held_by(third)["sequence_slot"] == ("max_batch_size", 1)
            assert third["batch"] == {"requests": 1, "rows": 1}

    asyncio.run(scenario())


def test_placeholders_of_a_batch_of_slots_do_not_count(tmp_path):
    identity(tmp_path, "m", extra=SEQUENCE % "direct { }")

    async def scenario():
        async with serving(tmp_path) as engine:
            await asyncio.gather(
                submit(engine, "m", correlation_id=1, flags=1), submit(engine, "m", correlation_id=2, flags=1)
            )
            explained = await submit(engine, "m", correlation_id=2, flags=2)
            assert explained["batch"] == {"requests": 1, "rows": 1}

    asyncio.run(scenario())


def test_padding_is_that_of_the_whole_batch(tmp_path):
    config = f"""dynamic_batching {{ max_queue_delay_microseconds: {LONG} preferred_batch_size: 2 }}
    parameters {{ key: "LENGTH_BATCHING_PAD_VALUES" value {{ string_value: "INPUT0=0" }} }}
    parameters {{ key: "LENGTH_BATCHING_MAX_PADDING_SHARE" value {{ string_value: "0.5" }} }}
    """
    identity(tmp_path, "m", extra=config)

    async def scenario():
        async with serving(tmp_path) as engine:
            assert engine.failed == {}
            short, long = submit(engine, "m", values=(1.0, 2.0)), submit(engine, "m", values=(1.0, 2.0, 3.0))
            assert (await short)["padding"] == (await long)["padding"] == {"tokens": 1, "share": 0.1667}

    asyncio.run(scenario())


def test_a_hit_of_the_cache_says_so_and_the_cache_keeps_no_explanation(tmp_path):
    identity(tmp_path, "m", extra="response_cache { enable: true }\n")

    async def scenario():
        async with serving(tmp_path, **CACHE) as engine:
            miss, hit = await submit(engine, "m"), await submit(engine, "m")
            assert (miss["cache"], hit["cache"]) == ("miss", "hit")
            assert miss.keys() - hit.keys() == {"batch", "instance", "compute_us"}
            plain = await engine.infer(request("m"))
            assert plain.parameters == {}
            assert engine.cache_report().entries == 1

    asyncio.run(scenario())


def test_an_ensemble_explains_each_step(tmp_path):
    identity(tmp_path, "slow", extra=delay(5))
    identity(tmp_path, "quick")
    ensemble(tmp_path, "both", "slow", "quick")

    async def scenario():
        async with serving(tmp_path) as engine:
            explained = await submit(engine, "both")
            slow, quick = explained["steps"]
            assert (slow["model"], quick["model"]) == ("slow", "quick")
            assert {"batch", "instance", "compute_us", "queue_us", "engine"} <= slow.keys() & quick.keys()
            assert not {"batch", "instance", "engine"} & explained.keys()
            assert explained["compute_us"]["infer"] >= slow["compute_us"]["infer"]
            plain = await engine.infer(request("both"))
            assert plain.parameters == {}

    asyncio.run(scenario())


def test_a_step_without_a_place_is_what_its_ensemble_waits_for(tmp_path):
    identity(tmp_path, "slow", extra=delay(20))
    config = (ensemble(tmp_path, "limited", "slow") / "config.pbtxt").read_text()
    limited = config.replace("ensemble_scheduling {", "ensemble_scheduling { max_inflight_requests: 1 ")
    identity(tmp_path, "limited", config=limited)

    async def scenario():
        async with serving(tmp_path) as engine:
            first, second = submit(engine, "limited"), submit(engine, "limited")
            assert "inflight" not in held_by(await first)
            assert held_by(await second)["inflight"] == ("ensemble_scheduling.max_inflight_requests", 1)

    asyncio.run(scenario())


def test_a_response_that_waits_for_earlier_ones_says_so(tmp_path):
    extra = "dynamic_batching { preserve_ordering: true }\ninstance_group { count: 2 }\n" + delay(40)
    identity(tmp_path, "m", extra=extra)

    async def scenario():
        async with serving(tmp_path) as engine:
            explained = await submit(engine, "m")
            assert held_by(explained)["earlier_responses"] == ("dynamic_batching.preserve_ordering", True)

    asyncio.run(scenario())


def test_a_refused_request_has_only_its_error(tmp_path):
    policy = "default_queue_policy { max_queue_size: 1 }"
    identity(tmp_path, "m", extra=f"dynamic_batching {{ {policy} }}\n" + delay(20))

    async def scenario():
        async with serving(tmp_path) as engine:
            busy, waiting = submit(engine, "m"), submit(engine, "m")
            with pytest.raises(SlipwayError, match="Exceeds maximum queue size"):
                submit(engine, "m")
            assert (await waiting)["batch"] == (await busy)["batch"] == {"requests": 1, "rows": 1}

    asyncio.run(scenario())


def test_a_request_may_be_explained_traced_in_the_log_and_cancelled(tmp_path, caplog):
    identity(tmp_path, "m", extra=f"dynamic_batching {{ max_queue_delay_microseconds: {LONG} }}\n")
    caplog.set_level(logging.DEBUG, "slipway.requests")

    async def scenario():
        async with serving(tmp_path) as engine:
            engine.log_settings.verbose = 1
            errors = []
            pending = engine.submit(
                request("m", explanation=Explanation()), lambda response: errors.append(response.error)
            )
            pending.cancel()
            assert [error.code.name for error in errors] == ["CANCELLED"]

    asyncio.run(scenario())
    assert [record.fields["outcome"] for record in caplog.records] == ["CANCELLED"]
