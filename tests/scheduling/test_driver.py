"""Schedulers over instances: which requests run when and together, and that each gets exactly its own response."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

from slipway.core import request as request_module
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import ModelStatistics
from slipway.core.tensor import Tensor
from slipway.errors import Code, FailureReason, SlipwayError, internal
from slipway.instances.inline import InlineInstance
from slipway.instances.thread import ThreadInstance
from slipway.scheduling.factory import build_scheduler
from tests.scheduling.fakes import Client, Doubling, HeldInstance, WatchedTensor, doubled, signature_of


def scheduled(instances, batching=None, signature=None):
    config = model_config_pb2.ModelConfig(name="m", max_batch_size=8)
    if batching is not None:
        config.dynamic_batching.CopyFrom(model_config_pb2.ModelDynamicBatching(**batching))
    statistics = ModelStatistics()
    scheduler = build_scheduler(config, signature or signature_of(), instances, statistics, "3")
    return Client(scheduler), statistics


DYNAMIC = {"max_queue_delay_microseconds": 0}


def test_the_default_scheduler_runs_requests_one_by_one_in_order_of_arrival():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance])
        for id_ in "abc":
            client.send(id_)
        assert statistics.pending == 2
        for _ in range(3):
            instance.finish()
        assert instance.batches == [["a"], ["b"], ["c"]]
        assert client.order == ["a", "b", "c"]
        assert statistics.pending == 0
        assert (statistics.execution_count, statistics.inference_count, statistics.success.count) == (3, 3, 3)

    asyncio.run(run())


def test_an_answer_carries_the_models_name_and_version_and_the_requests_id():
    async def run():
        client, _ = scheduled([InlineInstance("m_0", Doubling())])
        client.send("a", [[1.0, 2.0]])
        (answer,) = client.answers["a"]
        assert (answer.model_name, answer.model_version, answer.id) == ("m", "3", "a")
        assert client.output("a") == [[2.0, 4.0]]

    asyncio.run(run())


def test_only_requested_outputs_are_returned():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], signature=signature_of(outputs=("Y", "Z")))
        client.send("a", outputs=("Z",))
        values = client.pending("unsent").request.inputs["X"]
        instance.finish([InferResponse(outputs=[values.renamed("Y"), values.renamed("Z")])])
        assert [tensor.name for tensor in client.answers["a"][0].outputs] == ["Z"]

    asyncio.run(run())


def test_a_requested_output_that_the_model_left_out_is_not_replaced_by_another():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], signature=signature_of(outputs=("Y", "Z")))
        client.send("a", outputs=("Z",))
        instance.finish()  # returns only Y
        assert client.answers["a"][0].outputs == []

    asyncio.run(run())


def test_requests_that_wait_together_are_executed_together():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance], DYNAMIC)
        for id_ in "abcd":
            client.send(id_)
        instance.finish()
        instance.finish()
        assert instance.batches == [["a"], ["b", "c", "d"]]
        assert sorted(statistics.batches) == [1, 3]

    asyncio.run(run())


def test_sixteen_concurrent_requests_need_fewer_than_sixteen_executions():
    async def run():
        release = threading.Event()
        instance = ThreadInstance("m_0", asyncio.get_running_loop())
        await instance.open(lambda: Doubling(lambda _: release.wait(60)))
        client, statistics = scheduled([instance], DYNAMIC)
        for index in range(16):
            client.send(str(index), [[index, index]])
        release.set()
        await client.scheduler.drain()
        await instance.close()
        assert [client.output(str(index)) for index in range(16)] == [[[2 * index, 2 * index]] for index in range(16)]
        assert statistics.execution_count < 16
        assert statistics.inference_count == 16

    asyncio.run(run())


def test_a_batch_of_n_equals_n_singles():
    async def run():
        values = [[[float(row), float(row * row)] for row in range(count)] for count in (1, 3, 2)]
        answers = []
        for batching in (None, DYNAMIC):
            instance = HeldInstance()
            client, _ = scheduled([instance], batching)
            for index, value in enumerate(values):
                client.send(str(index), value)
            while instance.started:
                instance.finish()
            answers.append([client.output(str(index)) for index in range(3)])
        assert answers[0] == answers[1]

    asyncio.run(run())


def test_requests_of_different_shapes_are_never_merged():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], DYNAMIC, signature_of(dims=(-1,)))
        client.send("first")
        for id_, width in [("a", 2), ("b", 2), ("c", 3), ("d", 2)]:
            client.send(id_, [[0.0] * width])
        while instance.started:
            instance.finish()
        assert instance.batches == [["first"], ["a", "b"], ["c"], ["d"]]

    asyncio.run(run())


def test_requests_with_and_without_an_optional_input_are_never_merged():
    inputs = {"X": TensorSpec("X", "FP32", (2,)), "W": TensorSpec("W", "FP32", (2,), optional=True)}
    signature = ModelSignature("m", 8, inputs, {"Y": TensorSpec("Y", "FP32", (2,))})

    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], DYNAMIC, signature)
        tensor = client.pending("unsent").request.inputs["X"]
        both = {"X": tensor, "W": tensor.renamed("W")}
        for id_, given in [("first", both), ("a", both), ("b", both), ("c", {"X": tensor}), ("d", {"X": tensor})]:
            client.send(id_, inputs=given)
        while instance.started:
            instance.finish()
        assert instance.batches == [["first"], ["a", "b"], ["c", "d"]]

    asyncio.run(run())


def test_a_request_cancelled_while_queued_is_answered_at_once_and_frees_its_place():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance], {"default_queue_policy": {"max_queue_size": 1}})
        client.send("running")
        waiting = client.send("waiting")
        waiting.cancel()
        assert client.error("waiting").code is Code.CANCELLED
        client.send("next")
        instance.finish()
        instance.finish()
        assert instance.batches == [["running"], ["next"]]
        assert statistics.failures[FailureReason.CANCELED] == 1
        assert statistics.pending == 0

    asyncio.run(run())


def test_one_clients_cancel_never_affects_its_batch_mates():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], DYNAMIC)
        client.send("first")
        waiting = {id_: client.send(id_) for id_ in "abc"}
        waiting["b"].cancel()
        instance.finish()
        waiting["c"].cancel()  # already executing: it ends as usual
        instance.finish()
        assert instance.batches == [["first"], ["a", "c"]]
        assert client.output("a") == [[2.0, 4.0]]
        assert len(client.answers["c"]) == 1

    asyncio.run(run())


def test_a_failing_request_never_changes_its_batch_mates():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance], DYNAMIC)
        for id_ in ("first", "good", "bad"):
            client.send(id_)
        instance.finish()
        good, _ = instance.started[0][0]
        instance.finish([doubled(good), InferResponse(error=internal("no"))])
        assert client.output("good") == [[2.0, 4.0]]
        assert client.error("bad").message == "no"
        assert (statistics.success.count, statistics.failures[FailureReason.BACKEND]) == (2, 1)
        assert (statistics.execution_count, statistics.inference_count) == (2, 2)

    asyncio.run(run())


def test_a_client_that_cannot_take_its_answer_does_not_cost_its_batch_mates_theirs(caplog):
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], DYNAMIC)

        def broken(response):
            if response.id == "a":
                raise ValueError("gone")

        client.on_answer = broken
        for id_ in ("first", "a", "b"):
            client.send(id_)
        instance.finish()
        instance.finish()
        assert client.output("b") == [[2.0, 4.0]]

    asyncio.run(run())
    assert "failed to deliver a response" in caplog.text


def test_a_full_queue_refuses_in_tritons_words_and_counts_it():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance], {"default_queue_policy": {"max_queue_size": 1}})
        client.send("running")
        client.send("waiting")
        with pytest.raises(SlipwayError) as refused:
            client.send("extra")
        assert refused.value.code is Code.UNAVAILABLE
        assert refused.value.message == "[request id: extra] Exceeds maximum queue size"
        assert statistics.failures[FailureReason.REJECTED] == 1
        assert statistics.pending == 1

    asyncio.run(run())


def test_a_queue_timeout_rejects_even_while_no_instance_is_free():
    async def run():
        instance = HeldInstance()
        policy = {"default_timeout_microseconds": 1000}
        client, statistics = scheduled([instance], {"default_queue_policy": policy})
        rejected = asyncio.Event()
        client.on_answer = lambda _: rejected.set()
        client.send("running")
        client.send("waiting")
        await rejected.wait()
        assert (client.error("waiting").code, client.error("waiting").message) == (
            Code.UNAVAILABLE,
            "Request timeout expired",
        )
        assert statistics.failures[FailureReason.REJECTED] == 1
        instance.finish()
        assert client.output("running") == [[2.0, 4.0]]
        assert instance.batches == [["running"]]

    asyncio.run(run())


def test_urgent_requests_are_executed_before_earlier_ones():
    async def run():
        instance = HeldInstance()
        batching = {"priority_levels": 3, "default_priority_level": 2, "preferred_batch_size": [1]}
        client, _ = scheduled([instance], batching)
        client.send("running")
        for id_, priority in [("low", 3), ("default", 0), ("high", 1)]:
            client.send(id_, priority=priority)
        while instance.started:
            instance.finish()
        assert instance.batches == [["running"], ["high"], ["default"], ["low"]]

    asyncio.run(run())


def test_requests_wait_for_company_no_longer_than_the_delay():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], {"max_queue_delay_microseconds": 2000})
        client.send("a")
        client.send("b")
        assert instance.batches == []
        await instance.has_started.wait()
        assert instance.batches == [["a", "b"]]
        instance.finish()

    asyncio.run(run())


def test_responses_keep_the_order_of_arrival_across_instances_with_preserve_ordering():
    async def run():
        instances = [HeldInstance("m_0"), HeldInstance("m_1")]
        client, _ = scheduled(instances, {"preserve_ordering": True})
        client.send("a")
        client.send("b")
        first, second = sorted(instances, key=lambda instance: instance.batches)
        second.finish()
        assert client.order == []
        first.finish()
        assert client.order == ["a", "b"]

    asyncio.run(run())


def test_a_cancelled_request_does_not_hold_up_the_order():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], {"preserve_ordering": True, "preferred_batch_size": [1]})
        client.send("a")
        waiting = client.send("b")
        client.send("c")
        waiting.cancel()
        assert client.order == ["b"]
        instance.finish()
        instance.finish()
        assert client.order == ["b", "a", "c"]

    asyncio.run(run())


def test_a_refused_request_does_not_hold_up_the_order():
    async def run():
        instance = HeldInstance()
        policy = {"max_queue_size": 1}
        client, _ = scheduled([instance], {"preserve_ordering": True, "default_queue_policy": policy})
        client.send("a")
        client.send("b")
        with pytest.raises(SlipwayError):
            client.send("c")
        instance.finish()
        instance.finish()
        assert client.order == ["a", "b"]
        await client.scheduler.drain()

    asyncio.run(run())


def test_drain_refuses_new_requests_and_waits_for_the_accepted_ones():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance])
        client.send("running")
        client.send("waiting")
        draining = asyncio.create_task(client.scheduler.drain())
        await asyncio.sleep(0)
        with pytest.raises(SlipwayError) as refused:
            client.send("late")
        assert refused.value.code is Code.UNAVAILABLE
        assert "Server is stopping, scheduler for model has stopped accepting" in refused.value.message
        instance.finish()
        await asyncio.sleep(0)
        assert not draining.done()
        instance.finish()
        await draining
        assert client.order == ["running", "waiting"]
        await client.scheduler.drain()

    asyncio.run(run())


def test_drain_ends_when_the_last_waiting_request_is_cancelled():
    async def run():
        client, _ = scheduled([HeldInstance()], {"max_queue_delay_microseconds": 10**9})
        waiting = client.send("waiting")
        draining = asyncio.create_task(client.scheduler.drain())
        await asyncio.sleep(0)
        waiting.cancel()
        await draining

    asyncio.run(run())


def test_a_request_that_answers_by_itself_stays_owned_until_its_final_answer():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance], signature=signature_of(decoupled=True))
        pending = client.send("a")
        instance.finish([None])
        draining = asyncio.create_task(client.scheduler.drain())
        await asyncio.sleep(0)
        pending.deliver(InferResponse(final=False))
        await asyncio.sleep(0)
        assert (draining.done(), statistics.success.count) == (False, 0)
        pending.deliver(InferResponse(empty=True))
        await draining
        assert [answer.id for answer in client.answers["a"]] == ["a", "a"]
        assert statistics.success.count == 1
        assert sum(statistics.first_response_histogram_ms.counts) == 1

    asyncio.run(run())


def test_an_instance_is_free_while_its_last_request_still_answers_by_itself():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], signature=signature_of(decoupled=True))
        client.send("a")
        client.send("b")
        instance.finish([None])
        assert instance.batches == [["a"], ["b"]]

    asyncio.run(run())


def test_a_final_answer_may_come_before_the_execution_ends():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance], signature=signature_of(decoupled=True))
        client.send("a").deliver(InferResponse())
        instance.finish([None])
        await client.scheduler.drain()
        assert statistics.success.count == 1

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["numbers", "texts", "bytes"])
def test_a_response_that_is_too_large_is_an_error_and_counts_as_failed(kind, monkeypatch):
    monkeypatch.setattr(request_module, "MAX_RESPONSE_BYTES", 1000)
    make = {
        "numbers": lambda size: Tensor.from_array("Y", np.zeros(size, np.int8)),
        "texts": lambda size: Tensor.from_array("Y", np.array([b"x" * (size - 1), b"x"], object)),
        "bytes": lambda size: Tensor("Y", "INT8", (size,), raw=bytes(size)),
    }[kind]

    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance])
        for id_, size in [("a", 1000), ("b", 1001)]:
            client.send(id_)
            instance.finish([InferResponse(outputs=[make(size)])])
        assert client.answers["a"][0].error is None
        assert client.error("b").message == "the response has 1001 bytes, which exceeds the limit of 1000 bytes"
        assert client.answers["b"][0].outputs == []
        assert (statistics.success.count, statistics.fail.count) == (1, 1)
        assert (statistics.inference_count, statistics.execution_count) == (1, 2)

    asyncio.run(run())


class FailsOnNine(Doubling):
    """A stateless model that fails on any batch with a nine."""

    stateless = True

    def execute(self, batch):
        if any((pending.request.inputs["X"].array == 9).any() for pending in batch):
            raise internal("nine")
        return super().execute(batch)


def test_a_batch_that_is_run_again_counts_as_one_execution_and_only_its_bad_request_as_failed():
    async def run():
        instance = ThreadInstance("m_0", asyncio.get_running_loop())
        await instance.open(FailsOnNine)
        client, statistics = scheduled([instance], {"preferred_batch_size": [3], "max_queue_delay_microseconds": 10**7})
        for id_, value in [("a", 1.0), ("bad", 9.0), ("c", 3.0)]:
            client.send(id_, [[value, value]])
        while len(client.order) < 3:  # noqa: ASYNC110  the client has no event for it
            await asyncio.sleep(0.001)
        await instance.close()
        assert [client.output(id_) for id_ in "ac"] == [[[2.0, 2.0]], [[6.0, 6.0]]]
        assert client.error("bad").message == "nine"
        assert (statistics.success.count, statistics.fail.count) == (2, 1)
        assert statistics.failures[FailureReason.BACKEND] == 1
        assert (statistics.execution_count, statistics.inference_count) == (1, 2)

    asyncio.run(run())


def test_a_request_with_an_error_among_its_answers_counts_as_failed():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance], signature=signature_of(decoupled=True))
        pending = client.send("a")
        instance.finish([None])
        pending.deliver(InferResponse(error=internal("broke"), final=False))
        pending.deliver(InferResponse(empty=True))
        assert (statistics.success.count, statistics.failures[FailureReason.BACKEND]) == (0, 1)

    asyncio.run(run())


def test_a_request_that_was_refused_before_its_execution_ended_is_not_an_inference():
    async def run():
        instance = HeldInstance()
        client, statistics = scheduled([instance])
        client.send("a").deliver(InferResponse(error=internal("refused")))
        instance.finish([None])
        assert statistics.failures[FailureReason.BACKEND] == 1
        assert (statistics.execution_count, statistics.inference_count) == (1, 0)

    asyncio.run(run())


def test_a_client_that_asks_again_at_every_answer_keeps_the_stack_flat():
    async def run():
        client, statistics = scheduled([InlineInstance("m_0", Doubling())])
        client.on_answer = lambda response: client.send(str(int(response.id) + 1)) if int(response.id) < 5000 else None
        client.send("0")
        assert statistics.success.count == 5001

    asyncio.run(run())


def test_a_lone_instance_gets_depth_batches_at_once_while_they_are_quick():
    async def run():
        instance = HeldInstance("m_0", depth=3)
        client, statistics = scheduled([instance])

        def begun_of_five():
            for id_ in "abcde":
                client.send(id_)
            begun = len(instance.started)
            while instance.started:
                instance.finish()
            return begun

        assert begun_of_five() == 1
        for _ in range(64):
            client.send("quick")
            instance.finish()
        assert begun_of_five() == 3
        client.send("slow once")
        instance.finish(duration_ns=1_000_000)
        client.send("slow again")
        instance.finish(duration_ns=1_000_000)
        assert begun_of_five() == 1
        assert statistics.pending == 0

    asyncio.run(run())


def test_each_of_several_instances_gets_one_batch_at_a_time():
    async def run():
        instances = [HeldInstance("m_0", depth=2), HeldInstance("m_1", depth=2)]
        client, statistics = scheduled(instances)
        for id_ in "abc":
            client.send(id_)
        assert [len(instance.started) for instance in instances] == [1, 1]
        assert statistics.pending == 1

    asyncio.run(run())


def test_a_request_leaves_no_reference_cycle_behind():
    async def run():
        instance = HeldInstance()
        client, _ = scheduled([instance], {"preserve_ordering": True})
        watched = []
        for id_ in ("a", "b", "c"):
            pending = client.send(id_)
            tensor = WatchedTensor("X", "FP32", (1, 2), raw=b"\0" * 8)
            pending.request.inputs = {"X": tensor}
            watched.append(weakref.ref(tensor))
        pending.cancel()
        del pending, tensor
        gc.disable()
        try:
            instance.finish()
            instance.finish()
            client.answers.clear()
            assert [reference() for reference in watched] == [None] * 3
        finally:
            gc.enable()

    asyncio.run(run())
