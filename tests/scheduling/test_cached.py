"""The response cache answers what it has, keeps what succeeds, and changes nothing else of a model's requests."""

from __future__ import annotations

import asyncio
import gc
import weakref

import numpy as np
import pytest

from slipway.core.explanation import Explanation
from slipway.core.large_work import LARGE
from slipway.core.request import InferResponse
from slipway.core.statistics import ModelStatistics
from slipway.core.tensor import Tensor
from slipway.core.watched import WatchedPending
from slipway.errors import Code, FailureReason, SlipwayError, invalid
from slipway.response_cache.api import CacheStatistics
from slipway.response_cache.local import LocalCache
from slipway.scheduling.batcher import Batcher, BatchRules, Fifo
from slipway.scheduling.cached import CachedScheduler
from slipway.scheduling.driver import InstanceScheduler
from slipway.scheduling.ordered import OrderedScheduler
from slipway.scheduling.queue import QueuePolicy, RequestQueue
from tests.kits.engine import until
from tests.scheduling.fakes import Client, HeldInstance, WatchedTensor, doubled, signature_of


class Model:
    """A cached model with one held instance. `identity` may be changed, as by a load."""

    def __init__(self, cache=None, *, line=None, **signature):
        self.instance = HeldInstance()
        self.statistics = ModelStatistics()
        self.cache = LocalCache(1 << 20) if cache is None else cache
        self.identity = bytes(32)
        described = signature_of(**signature)
        line = Fifo() if line is None else line
        self.inner = InstanceScheduler(described, self.statistics, "1", instances=[self.instance], line=line)
        self.scheduler = CachedScheduler(
            self.inner,
            self.cache,
            described,
            statistics=self.statistics,
            version="1",
            identity=lambda: self.identity,
        )
        self.client = Client(self.scheduler)

    def ask(self, name, values=((1.0, 2.0),), **fields):
        """Send a request; if it reaches the instance, let that answer. Return the output, or None if it has failed."""
        self.client.send(name, values, **fields)
        if self.instance.started:
            self.instance.finish()
        return self.client.output(name)

    @property
    def executed(self):
        """The ids of the requests that reached the instance."""
        return [name for batch in self.instance.batches for name in batch]


def run(scenario):
    asyncio.run(scenario())


def test_an_equal_request_is_answered_without_the_model():
    async def scenario():
        model = Model()
        assert model.ask("a") == model.ask("b") == [[2.0, 4.0]]
        assert model.ask("c", ((1.0, 3.0),)) == [[2.0, 6.0]]
        assert model.executed == ["a", "c"]
        (hit,) = model.client.answers["b"]
        assert (hit.model_name, hit.model_version, hit.id, hit.final) == ("m", "1", "b", True)

    run(scenario)


def test_hits_and_misses_are_counted_as_triton_counts_them():
    async def scenario():
        model = Model()
        for name in "abc":
            model.ask(name)
        counted = model.statistics
        assert (counted.success.count, counted.queue.count) == (3, 3)
        assert (counted.cache_hit.count, counted.cache_miss.count) == (2, 1)
        assert counted.compute_infer.count == counted.inference_count == counted.execution_count == 1
        assert 0 < counted.cache_hit.ns <= counted.success.ns
        assert counted.cache_miss.ns > 0
        total = model.cache.report().statistics
        assert (total.hits, total.misses) == (2, 1)
        assert total.lookup_ns > 0
        assert total.insertion_ns > 0

    run(scenario)


def test_another_load_of_the_model_does_not_get_its_responses():
    async def scenario():
        model = Model()
        model.ask("a")
        model.identity = b"\1" * 32
        model.ask("b")
        assert model.executed == ["a", "b"]

    run(scenario)


def test_an_error_is_not_kept():
    async def scenario():
        model = Model()
        for name in "ab":
            model.client.send(name)
            model.instance.finish([InferResponse(error=invalid("no"))])
        assert model.client.error("b").message == "no"
        assert model.executed == ["a", "b"]
        assert model.cache.report().entries == 0
        assert (model.statistics.fail.count, model.statistics.cache_miss.count) == (2, 2)

    run(scenario)


def test_parameters_of_a_response_are_kept_with_it():
    async def scenario():
        model = Model()
        pending = model.client.send("a")
        response = doubled(pending)
        response.parameters = {"p": 1}
        model.instance.finish([response])
        response.parameters["p"] = 2
        model.client.send("b")
        assert model.client.answers["b"][0].parameters == {"p": 1}

    run(scenario)


def test_a_response_that_comes_before_its_final_flag_is_kept_once():
    async def scenario():
        model = Model()
        pending = model.client.pending("a")
        model.scheduler.submit(pending)
        early = doubled(pending)
        early.final = False
        pending.deliver(early)
        model.instance.finish([InferResponse(empty=True)])
        assert model.ask("b") == [[2.0, 4.0]]
        assert model.executed == ["a"]
        assert model.statistics.cache_miss.count == 1

    run(scenario)


def test_a_request_without_a_response_keeps_nothing():
    async def scenario():
        model = Model()
        model.client.send("a")
        model.instance.finish([InferResponse(empty=True)])
        assert model.cache.report().entries == 0

    run(scenario)


def test_a_cancelled_request_is_not_executed_and_keeps_nothing():
    async def scenario():
        model = Model()
        model.client.send("running", ((9.0, 9.0),))
        pending = model.client.send("a")
        pending.cancel()
        model.instance.finish()
        assert model.client.error("a").code is Code.CANCELLED
        assert model.executed == ["running"]
        assert model.cache.report().entries == 1

    run(scenario)


def test_a_response_too_large_for_the_cache_is_sent_and_logged_once(caplog):
    async def scenario():
        model = Model(LocalCache(600), dims=(-1,))
        values = [tuple(range(1000))]
        for name in "abc":
            assert model.ask(name, values)[0][2] == 4.0
        assert model.executed == ["a", "b", "c"]
        assert model.cache.report().statistics.failures == 3
        assert model.cache.report().entries == 0

    run(scenario)
    [line] = [each.getMessage() for each in caplog.records]
    assert line.startswith("Failed to insert key [")
    assert "] into response cache: Requested byte_size: 4000 is greater than total cache size: 600 (model 'm'" in line


def test_large_requests_and_responses_are_hashed_and_copied_off_the_loop():
    async def scenario():
        model = Model(LocalCache(64 << 20), dims=(-1,))
        values = np.arange(LARGE, dtype=np.float32)[None]
        for name in ("a", "b"):
            model.client.send(name, values)
            assert not model.instance.started  # the request is being hashed
            assert not model.scheduler.is_idle()
            await until(lambda name=name: model.instance.started or model.client.answers[name])
            if model.instance.started:
                model.instance.finish()
                await until(lambda: model.cache.report().entries)
        assert model.executed == ["a"]
        assert model.client.output("b")[0][7] == 14.0
        assert model.scheduler.is_idle()

    run(scenario)


class Follower:
    """Watches a request: keeps the number of its responses when it ends."""

    def __init__(self):
        self.ends: list[int] = []

    def executed(self, timing):
        raise AssertionError(timing)

    def responded(self, response):
        pass

    def ended(self, responses):
        self.ends.append(responses)


class SlowCache:
    """A cache whose look-ups the test finishes."""

    limit = 1 << 20

    def __init__(self):
        self.statistics = CacheStatistics()
        self.waiting: list[asyncio.Future] = []
        self.kept = {}

    def lookup(self, _):
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def insert(self, key, response):
        self.kept[key] = response

    def report(self):
        raise NotImplementedError

    async def close(self):
        pass


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_slow_cache_delays_only_its_request():
    async def scenario():
        model = Model(SlowCache())
        model.client.send("a")
        await settled()
        model.client.send("b", ((3.0, 3.0),))
        await settled()
        model.cache.waiting[1].set_result(None)
        await settled()
        model.instance.finish()
        assert model.client.output("b") == [[6.0, 6.0]]
        (stored,) = model.cache.kept.values()
        model.cache.waiting[0].set_result(stored)
        await settled()
        assert model.client.output("a") == [[6.0, 6.0]]
        assert model.executed == ["b"]
        assert model.scheduler.is_idle()

    run(scenario)


def test_a_request_that_is_cancelled_while_it_is_looked_up_is_answered_at_once():
    async def scenario():
        model = Model(SlowCache())
        pending = model.client.send("a")
        await settled()
        pending.cancel()
        assert model.client.error("a").code is Code.CANCELLED
        assert model.statistics.failures[FailureReason.CANCELED] == 1
        model.cache.waiting[0].set_result(None)
        await settled()
        assert model.executed == []
        assert len(model.client.answers["a"]) == 1

    run(scenario)


def test_a_look_up_that_fails_leaves_the_request_to_the_model():
    async def scenario():
        model = Model(SlowCache())
        model.client.send("a")
        await settled()
        model.cache.waiting[0].set_exception(MemoryError())
        await settled()
        model.instance.finish()
        assert model.client.output("a") == [[2.0, 4.0]]
        assert model.cache.statistics.failures == 1

    run(scenario)


def test_a_drain_waits_for_look_ups_and_then_for_the_model():
    async def scenario():
        model = Model(SlowCache())
        model.client.send("a")
        draining = asyncio.ensure_future(model.scheduler.drain())
        await settled()
        assert not draining.done()
        model.cache.waiting[0].set_result(None)
        await settled()
        assert model.executed == ["a"]
        assert not draining.done()
        model.instance.finish()
        await draining
        with pytest.raises(SlipwayError, match="Server is stopping"):
            model.client.send("b")

    run(scenario)


def test_a_refusal_after_a_look_up_reaches_the_client():
    async def scenario():
        model = Model(SlowCache())
        model.client.send("a")
        await settled()
        await model.inner.drain()
        model.cache.waiting[0].set_result(None)
        await settled()
        assert model.client.error("a").code is Code.UNAVAILABLE

    run(scenario)


def test_nothing_is_left_of_a_request_that_a_full_queue_refuses_after_its_look_up():
    async def scenario():
        queue = RequestQueue([QueuePolicy(max_queue_size=1)])
        model = Model(SlowCache(), line=Batcher(BatchRules(max_rows=1), queue))
        for name in ("executed", "waiting"):
            model.client.send(name)
            await settled()
            model.cache.waiting[-1].set_result(None)
            await settled()
        tensor = WatchedTensor.from_array("X", np.ones((1, 2), np.float32))
        watched = weakref.ref(tensor)
        plain, follower = model.client.pending("refused", inputs={"X": tensor}), Follower()
        pending = WatchedPending(plain.request, 1, plain.arrival_ns, plain.loop, plain.deliver, True, follower)
        model.scheduler.submit(pending)
        await settled()
        model.cache.waiting[-1].set_result(None)
        await settled()
        assert model.client.error("refused").message == "[request id: refused] Exceeds maximum queue size"
        assert follower.ends == [1]
        model.client.answers.clear()
        del tensor, plain, pending
        gc.collect()
        assert watched() is None

    run(scenario)


def test_hits_keep_the_order_where_it_is_to_be_preserved():
    async def scenario():
        model = Model()
        model.ask("first")
        model.client.scheduler = OrderedScheduler(model.scheduler)
        model.client.send("slow", ((5.0, 5.0),))
        model.client.send("hit")
        assert model.client.answers["hit"] == []
        model.instance.finish()
        assert model.client.order == ["first", "slow", "hit"]

    run(scenario)


def test_a_request_leaves_no_reference_cycle():
    async def scenario():
        model = Model()
        gc.collect()
        gc.disable()
        try:
            for name in ("miss", "hit"):
                tensor = WatchedTensor.from_array("X", np.ones((1, 2), np.float32))
                watched = weakref.ref(tensor)
                pending = model.client.pending(name, inputs={"X": tensor})
                model.scheduler.submit(pending)
                if model.instance.started:
                    model.instance.finish()
                model.client.answers.clear()
                del tensor, pending
                assert watched() is None
        finally:
            gc.enable()

    run(scenario)


def test_a_response_is_as_long_as_the_model_made_it():
    async def scenario():
        model = Model()
        batch = np.arange(8, dtype=np.float32).reshape(4, 2)
        model.client.send("a")
        model.instance.finish([InferResponse(outputs=[Tensor.from_array("Y", batch[1:2])])])
        batch[:] = 0
        assert model.ask("b") == [[2.0, 3.0]]
        assert model.executed == ["a"]

    run(scenario)


def test_a_hit_is_given_again_while_a_look_up_would_find_it():
    async def scenario():
        model = Model()
        model.ask("a")
        model.ask("b")
        (hit,) = model.client.answers["b"]
        counted = model.statistics.cache_hit.count
        assert hit.again()
        assert hit.again()
        assert model.statistics.cache_hit.count == model.cache.statistics.hits == counted + 2

        model.identity = bytes(31) + b"1"  # loaded again
        assert not hit.again()
        model.identity = bytes(32)
        assert hit.again()
        await model.cache.close()  # evicted
        assert not hit.again()
        assert model.statistics.cache_hit.count == counted + 3

    run(scenario)


def test_a_hit_is_not_given_again_once_the_model_drains_and_does_not_keep_it_alive():
    async def scenario():
        model = Model()
        model.ask("a")
        model.ask("b")
        again = model.client.answers["b"][0].again
        await model.scheduler.drain()
        assert not again()
        gone = weakref.ref(model.scheduler)
        del model
        gc.collect()
        assert gone() is None
        assert not again()

    run(scenario)


def test_a_hit_that_may_be_given_again_does_not_keep_the_response():
    async def scenario():
        model = Model()
        model.ask("a")
        model.ask("b")
        again = model.client.answers["b"][0].again
        kept = again._found
        assert kept() is not None
        await model.cache.close()  # evicted
        assert kept() is None
        assert not again()

    run(scenario)


def test_responses_that_differ_by_who_asks_may_not_be_given_again():
    async def scenario():
        model = Model()
        model.ask("a")
        model.ask("explained", explanation=Explanation())
        model.ask("plain")
        may_repeat = {name: model.client.answers[name][0].again is not None for name in model.client.answers}
        assert may_repeat == {"a": False, "explained": False, "plain": True}

    run(scenario)
