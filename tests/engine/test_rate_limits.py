"""Models with resources are loaded, reloaded, refused and unloaded, and leave no resource taken."""

from __future__ import annotations

import asyncio
import logging

import pytest

from slipway.config.rate_limit import ResourceCount
from slipway.errors import Code
from tests.kits.engine import adder, answer, delay, ensemble, explicit, identity, refused, rows, serving, touch, until

BUSY = delay(2)
WARM = """model_warmup [ { name: "w" batch_size: 20
  inputs { key: "INPUT0" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } } } ]"""


def group(count=1, name="R", scope="false", priority=1, copies=1):
    resources = f'resources [ {{ name: "{name}" count: {count} global: {scope} }} ]'
    return f"instance_group [ {{ count: {copies} rate_limiter {{ {resources} priority: {priority} }} }} ]\n"


def limited(*repositories, **options):
    return explicit(*repositories, rate_limit="execution_count", **options)


def too_few(name, count, needed):
    reason = (
        f'Resource count for "R" is limited to {count} which will prevent scheduling of one or more model instances, '
        f"the minimum required count is {needed}"
    )
    return refused(
        Code.INVALID_ARG,
        f"load failed for model '{name}': version 1 is at UNAVAILABLE state: Invalid argument: {reason};\n",
    )


MIXED = (
    "load failed for model '{}': version 1 is at UNAVAILABLE state: Invalid argument: Resource \"R\" is present as "
    "both global and device-specific resource in the model configuration.;\n"
)


def test_models_that_need_more_than_there_is_are_refused_as_in_triton(tmp_path):
    identity(tmp_path, "fits", extra=group(3))
    identity(tmp_path, "large", extra=group(4))
    identity(tmp_path, "other", extra=group(1, name="S"))

    async def scenario():
        async with limited(tmp_path, rate_limit_resource=(ResourceCount("R", 3, 0),)) as engine:
            await engine.load_model("fits", None, {})
            with too_few("large", 3, 4):
                await engine.load_model("large", None, {})
            with pytest.raises(Exception, match='Resource count for "S" is limited to 0'):
                await engine.load_model("other", None, {})
            assert await answer(engine, "fits") == [1.0, 2.0]
            assert not await engine.model_ready("fits", "2")

    asyncio.run(scenario())


def test_a_resource_is_freed_for_another_use_by_unloading(tmp_path):
    identity(tmp_path, "device", extra=group(2))
    identity(tmp_path, "shared", extra=group(1, scope="true"))

    async def scenario():
        async with limited(tmp_path) as engine:
            await engine.load_model("device", None, {})
            with refused(Code.INVALID_ARG, MIXED.format("shared")):
                await engine.load_model("shared", None, {})
            await engine.unload_model("device", False)
            await until(lambda: rows(engine, "device") == ["1 UNAVAILABLE unloaded"])
            await engine.load_model("shared", None, {})
            assert await answer(engine, "shared") == [1.0, 2.0]

    asyncio.run(scenario())


def test_a_load_that_fails_later_leaves_no_resource_taken(tmp_path):
    identity(tmp_path, "broken", extra=group(5) + WARM)
    identity(tmp_path, "shared", extra=group(1, scope="true"))

    async def scenario():
        async with limited(tmp_path) as engine:
            with pytest.raises(Exception, match="failed to run warmup sample"):
                await engine.load_model("broken", None, {})
            await engine.load_model("shared", None, {})

    asyncio.run(scenario())


def test_one_version_that_cannot_load_gives_back_what_the_others_took(tmp_path):
    path = adder(tmp_path, "broken", [1, 2], "version_policy { all { } }\n" + group(5))
    (path / "2" / "model.onnx").write_bytes(b"not a model")
    identity(tmp_path, "shared", extra=group(1, scope="true"))

    async def scenario():
        async with limited(tmp_path) as engine:
            with pytest.raises(Exception, match="version 2 is at UNAVAILABLE state"):
                await engine.load_model("broken", None, {})
            for _ in range(100):
                if rows(engine, "broken")[0].endswith("unloaded"):
                    break
                await asyncio.sleep(0.02)
            await engine.load_model("shared", None, {})

    asyncio.run(scenario())


def test_requests_are_answered_all_through_the_reloads_of_models_that_share_a_resource(tmp_path):
    for name in "ab":
        identity(tmp_path, name, extra=group(2, copies=2) + BUSY)

    async def scenario():
        async with limited(tmp_path, load_model=("a", "b")) as engine:
            seen, stop = {"a": 0, "b": 0}, False

            async def client(name):
                while not stop:
                    assert await answer(engine, name) == [1.0, 2.0]
                    seen[name] += 1

            clients = [asyncio.create_task(client(name)) for name in "aabb"]
            for count in (1, 3, 2):
                identity(tmp_path, "a", extra=group(count, copies=2) + BUSY)
                touch(tmp_path / "a" / "config.pbtxt", count)
                await engine.load_model("a", None, {})
                before = dict(seen)
                await until(lambda before=before: all(seen[name] > before[name] + 3 for name in "ab"))
            stop = True
            await asyncio.gather(*clients)

    asyncio.run(scenario())


def test_a_model_is_unloaded_while_its_requests_wait_for_a_resource(tmp_path):
    identity(tmp_path, "slow", extra=group() + delay(100))
    identity(tmp_path, "waiting", extra=group() + delay(1))

    async def scenario():
        async with limited(tmp_path, load_model=("slow", "waiting")) as engine:
            slow = [asyncio.create_task(answer(engine, "slow")) for _ in range(2)]
            waiting = [asyncio.create_task(answer(engine, "waiting")) for _ in range(3)]
            await asyncio.sleep(0)
            await engine.unload_model("waiting", False)
            assert await asyncio.gather(*slow, *waiting) == [[1.0, 2.0]] * 5
            await until(lambda: rows(engine, "waiting") == ["1 UNAVAILABLE unloaded"])

    asyncio.run(scenario())


def test_an_ensemble_of_models_that_share_a_resource_answers(tmp_path):
    for name in "ab":
        identity(tmp_path, name, extra=group() + BUSY)
    ensemble(tmp_path, "both", "a", "b", "a")

    async def scenario():
        async with limited(tmp_path, load_model=("both",)) as engine:
            assert await asyncio.gather(*(answer(engine, "both") for _ in range(20))) == [[1.0, 2.0]] * 20

    asyncio.run(scenario())


def test_waiting_requests_that_are_cancelled_do_not_keep_the_resource(tmp_path):
    for name in "ab":
        identity(tmp_path, name, extra=group() + BUSY)

    async def scenario():
        async with limited(tmp_path, load_model=("a", "b")) as engine:
            for _ in range(20):
                tasks = [asyncio.create_task(answer(engine, name)) for name in "abab"]
                await asyncio.sleep(0)
                for task in tasks[1:]:
                    task.cancel()
                assert await tasks[0] == [1.0, 2.0]
            assert await answer(engine, "b") == [1.0, 2.0]

    asyncio.run(scenario())


def test_without_the_flag_the_resources_have_no_effect_and_the_log_says_so(tmp_path, caplog):
    identity(tmp_path, "device", extra=group(2))
    identity(tmp_path, "shared", extra=group(1, scope="true"))
    identity(tmp_path, "plain")

    async def scenario():
        async with serving(tmp_path, rate_limit_resource=(ResourceCount("R", 1),)) as engine:
            assert engine.failed == {}
            assert await answer(engine, "device") == [1.0, 2.0]

    with caplog.at_level(logging.WARNING, logger="slipway.engine"):
        asyncio.run(scenario())
    texts = [record.getMessage() for record in caplog.records if record.name == "slipway.engine"]
    ignored = "rate_limiter has no effect without --rate-limit=execution_count"
    assert sorted(texts) == [f"model 'device': {ignored}", f"model 'shared': {ignored}"]
