import asyncio
import contextlib

from slipway.engine.claims import Claims


def test_operations_on_related_models_wait_for_each_other_and_others_do_not():
    order = []

    async def operate(claims, name, names, entered, may_leave):
        async with claims.hold(frozenset(names)):
            order.append(name)
            entered.set()
            await may_leave.wait()

    async def scenario():
        claims = Claims()
        events = {name: (asyncio.Event(), asyncio.Event()) for name in "abc"}
        first = asyncio.create_task(operate(claims, "a", {"m", "n"}, *events["a"]))
        await events["a"][0].wait()
        second = asyncio.create_task(operate(claims, "b", {"n", "o"}, *events["b"]))
        third = asyncio.create_task(operate(claims, "c", {"o"}, *events["c"]))
        await events["c"][0].wait()
        assert order == ["a", "c"]
        events["a"][1].set()
        await first
        assert not events["b"][0].is_set()
        events["c"][1].set()
        events["b"][1].set()
        await asyncio.gather(second, third)
        await claims.idle()

    asyncio.run(scenario())
    assert order == ["a", "c", "b"]


def test_a_failed_operation_releases_its_claim():
    async def scenario():
        claims = Claims()
        with contextlib.suppress(ZeroDivisionError):
            async with claims.hold(frozenset({"m"})):
                _ = 1 / 0
        async with claims.hold(frozenset({"m"})):
            pass

    asyncio.run(scenario())
