"""Ensembles over real schedulers: texts and counts are tritonserver's for the same ensembles."""

import asyncio
import gc
import time
import weakref

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

from slipway.core.check import check_request
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.statistics import ModelStatistics
from slipway.core.tensor import Tensor
from slipway.errors import Code, FailureReason, SlipwayError, internal, not_found
from slipway.instances.inline import InlineInstance
from slipway.scheduling.ensemble import EnsembleScheduler
from slipway.scheduling.factory import build_scheduler
from tests.scheduling.fakes import Client, Doubling, HeldInstance, WatchedTensor, signature_of


class Server:
    """Composing models by name, reached as through a dataplane."""

    def __init__(self):
        self.models = {}
        self.requests = []
        self.max_inflight_requests = 0

    def add(self, instance, signature, **batching):
        name = signature.model_name
        config = model_config_pb2.ModelConfig(name=name, max_batch_size=signature.max_batch_size)
        if batching:
            config.dynamic_batching.CopyFrom(model_config_pb2.ModelDynamicBatching(**batching))
        statistics = ModelStatistics()
        self.models[name] = (signature, build_scheduler(config, signature, [instance], statistics, "1"), statistics)
        return instance

    def double(self, name, **fields):
        return self.add(InlineInstance(name, Doubling()), signature_of(name, **fields))

    def hold(self, name, signature=None, **batching):
        return self.add(HeldInstance(name), signature or signature_of(name), **batching)

    def signature_of(self, name, _version):
        if name not in self.models:
            raise not_found(f"Request for unknown model: '{name}' is not found")
        return self.models[name][0]

    def submit(self, request, deliver):
        signature, scheduler, _ = self.models[request.model_name]
        self.requests.append(request)
        rows = check_request(request, signature)
        pending = Pending(request, rows, time.monotonic_ns(), asyncio.get_running_loop(), deliver)
        scheduler.submit(pending)
        return pending

    def ensemble(self, steps, signature=None):
        """Return a client of ensemble `e`; a step is (model, {its input: tensor}, {its output: tensor})."""
        config = model_config_pb2.ModelConfig(name="e", platform="ensemble", max_batch_size=8)
        config.ensemble_scheduling.max_inflight_requests = self.max_inflight_requests
        for model, inputs, outputs in steps:
            config.ensemble_scheduling.step.add(
                model_name=model, model_version=-1, input_map=inputs, output_map=outputs
            )
        signature = signature or signature_of("e")
        statistics = ModelStatistics()
        scheduler = EnsembleScheduler(
            config, signature, statistics, self.submit, signature_of=self.signature_of, version="7"
        )
        self.models["e"] = (signature, scheduler, statistics)
        return Client(scheduler), statistics


CHAIN = [("a", {"X": "X"}, {"Y": "m"}), ("b", {"X": "m"}, {"Y": "Y"})]


def test_a_chain_passes_tensors_along_and_answers_under_the_ensembles_name():
    async def run():
        server = Server()
        server.double("a")
        server.double("b")
        client, statistics = server.ensemble(CHAIN)
        client.send("r", [[1.0, 2.0], [3.0, 4.0]])
        assert client.output("r") == [[4.0, 8.0], [12.0, 16.0]]
        (answer,) = client.answers["r"]
        assert (answer.model_name, answer.model_version, answer.id) == ("e", "7", "r")
        assert (statistics.inference_count, statistics.execution_count, statistics.success.count) == (2, 1, 1)
        assert list(statistics.batches) == [2]
        steps = [server.models[name][2] for name in "ab"]
        assert [step.success.count for step in steps] == [1, 1]
        assert statistics.compute_infer.ns == sum(step.compute_infer.ns for step in steps)

    asyncio.run(run())


def test_steps_inherit_what_the_request_says_about_itself():
    async def run():
        server = Server()
        server.double("a")
        server.double("b")
        client, _ = server.ensemble(CHAIN)
        fields = {
            "parameters": {"k": 1},
            "priority": 2,
            "timeout_us": 5,
            "correlation_id": 9,
            "flags": 3,
        }
        client.send("r", **fields)
        assert [request.id for request in server.requests] == ["r", "r"]
        for request in server.requests:
            assert {name: getattr(request, name) for name in fields} == fields

    asyncio.run(run())


def test_only_the_steps_of_requested_outputs_run():
    async def run():
        server = Server()
        for name in "abc":
            server.double(name)
        steps = [*CHAIN, ("c", {"X": "m"}, {"Y": "Z"})]
        client, _ = server.ensemble(steps, signature_of("e", outputs=("Y", "Z")))
        client.send("r", outputs=("Z",))
        assert [request.model_name for request in server.requests] == ["a", "c"]
        assert client.output("r", "Z") == [[4.0, 8.0]]

    asyncio.run(run())


def test_a_failing_step_names_the_ensemble_and_keeps_its_code():
    async def run():
        server = Server()
        server.double("a")
        held = server.hold("b")
        client, statistics = server.ensemble(CHAIN)
        client.send("r")
        held.finish([InferResponse(error=SlipwayError(Code.UNSUPPORTED, "bad thing"))])
        assert (client.error("r").code, client.error("r").message) == (Code.UNSUPPORTED, "in ensemble 'e', bad thing")
        assert statistics.failures[FailureReason.OTHER] == 1
        assert server.models["b"][2].failures[FailureReason.BACKEND] == 1
        await client.scheduler.drain()

    asyncio.run(run())


def test_a_step_that_rejects_ends_the_ensemble_with_its_refusal():
    async def run():
        server = Server()
        server.double("a")
        held = server.hold("b", default_queue_policy={"max_queue_size": 1})
        client, _ = server.ensemble(CHAIN)
        for id_ in ("p0", "p1", "p2"):
            client.send(id_)
        assert client.error("p2").code is Code.UNAVAILABLE
        assert client.error("p2").message == "in ensemble 'e', [request id: p2] Exceeds maximum queue size"
        held.finish()
        held.finish()
        assert client.output("p0") == client.output("p1") == [[4.0, 8.0]]
        await client.scheduler.drain()

    asyncio.run(run())


def test_a_step_that_times_out_in_its_queue_ends_the_ensemble():
    async def run():
        server = Server()
        server.double("a")
        held = server.hold("b", default_queue_policy={"default_timeout_microseconds": 1000})
        client, _ = server.ensemble(CHAIN)
        rejected = asyncio.Event()
        client.on_answer = lambda _: rejected.set()
        client.send("p0")
        client.send("p1")
        await rejected.wait()
        assert client.error("p1").message == "in ensemble 'e', Request timeout expired"
        held.finish()

    asyncio.run(run())


def test_a_step_whose_model_is_gone_ends_the_ensemble():
    async def run():
        server = Server()
        server.double("a")
        server.double("b")
        client, _ = server.ensemble(CHAIN)
        del server.models["b"]
        client.send("r")
        assert client.error("r").message == "in ensemble 'e', Request for unknown model: 'b' is not found"

    asyncio.run(run())


def test_an_output_that_a_step_leaves_out_is_missing_downstream():
    async def run():
        server = Server()
        held = server.hold("a")
        server.double("b")
        client, _ = server.ensemble(CHAIN)
        client.send("r1")
        held.finish([InferResponse()])
        assert client.error("r1").message == (
            "in ensemble 'e', [request id: r1] expected 1 inputs but got 0 inputs for model 'b'. "
            "Got input(s) [], but missing required input(s) ['X']. Please provide all required input(s)."
        )

    asyncio.run(run())


def test_a_step_that_closes_without_an_answer_is_an_error_not_a_hang():
    async def run():
        server = Server()
        held = server.hold("a")
        server.double("b")
        client, _ = server.ensemble(CHAIN)
        client.send("r")
        held.finish([InferResponse(empty=True)])
        assert client.error("r").code is Code.INVALID_ARG
        assert client.error("r").message == (
            "in ensemble 'e', unexpected deadlock, at least one output is not set "
            "while no more ensemble steps can be made"
        )

    asyncio.run(run())


def test_a_failing_branch_cancels_the_other_one():
    async def run():
        server = Server()
        held_a, held_b = server.hold("a"), server.hold("b")
        steps = [("a", {"X": "X"}, {"Y": "Y"}), ("b", {"X": "X"}, {"Y": "Z"})]
        client, _ = server.ensemble(steps, signature_of("e", outputs=("Y", "Z")))
        client.send("first")
        client.send("second")
        assert server.models["b"][2].pending == 1
        held_a.finish()
        held_a.finish([InferResponse(error=internal("no"))])
        assert client.error("second").message == "in ensemble 'e', no"
        assert server.models["b"][2].pending == 0
        held_b.finish()
        assert client.output("first", "Z") == [[2.0, 4.0]]

    asyncio.run(run())


def test_cancelling_an_ensemble_cancels_its_steps_and_answers_at_once():
    async def run():
        server = Server()
        held = server.hold("a")
        server.double("b")
        client, statistics = server.ensemble(CHAIN)
        running = client.send("running")
        queued = client.send("queued")
        queued.cancel()
        running.cancel()
        assert [client.error(id_).code for id_ in ("queued", "running")] == [Code.CANCELLED] * 2
        assert server.models["a"][2].pending == 0
        held.finish()  # the running step ends, and the next step is not requested
        assert [request.model_name for request in server.requests] == ["a", "a"]
        assert statistics.failures[FailureReason.CANCELED] == 2
        await client.scheduler.drain()

    asyncio.run(run())


def test_a_decoupled_step_answers_once_per_response_and_the_last_is_final():
    async def run():
        server = Server()
        held = server.hold("a", signature_of("a", decoupled=True))
        server.double("b")
        client, statistics = server.ensemble(CHAIN, signature_of("e", decoupled=True))
        client.send("r")
        step, _ = held.started[0][0][0], held.finish([None])
        for value in (1.0, 2.0):
            output = Tensor.from_array("Y", np.full((1, 2), value, np.float32))
            step.deliver(InferResponse(outputs=[output], final=False))
        step.deliver(InferResponse(empty=True))
        assert [(answer.empty, answer.final) for answer in client.answers["r"]] == [
            (False, False),
            (False, False),
            (True, True),
        ]
        assert [answer.outputs[0].array.tolist() for answer in client.answers["r"][:2]] == [[[2, 2]], [[4, 4]]]
        assert statistics.success.count == 1
        assert sum(statistics.first_response_histogram_ms.counts) == 1

    asyncio.run(run())


def test_a_decoupled_step_without_responses_closes_the_ensemble():
    async def run():
        server = Server()
        held = server.hold("a", signature_of("a", decoupled=True))
        server.double("b")
        client, _ = server.ensemble(CHAIN, signature_of("e", decoupled=True))
        client.send("r")
        held.finish([InferResponse(empty=True)])
        assert [(answer.empty, answer.final) for answer in client.answers["r"]] == [(True, True)]

    asyncio.run(run())


def test_an_error_among_the_answers_of_a_decoupled_step_ends_the_ensemble():
    async def run():
        server = Server()
        held = server.hold("a", signature_of("a", decoupled=True))
        server.double("b")
        client, _ = server.ensemble(CHAIN, signature_of("e", decoupled=True))
        client.send("r")
        step, _ = held.started[0][0][0], held.finish([None])
        step.deliver(InferResponse(error=internal("seven"), final=False))
        step.deliver(InferResponse(empty=True))
        assert client.error("r").message == "in ensemble 'e', seven"
        assert step.cancelled

    asyncio.run(run())


def test_mixing_decoupled_origins_is_refused_when_the_ensemble_is_loaded():
    server = Server()
    server.hold("a", signature_of("a", decoupled=True))
    server.hold("b", signature_of("b", inputs=("X", "W")))
    steps = [("a", {"X": "X"}, {"Y": "m"}), ("b", {"X": "m", "W": "X"}, {"Y": "Y"})]
    with pytest.raises(SlipwayError) as refused:
        server.ensemble(steps, signature_of("e", decoupled=True))
    assert refused.value.message == (
        "in ensemble e, step of model 'e' receives inputs originated from different decoupled models"
    )


def test_an_ensemble_may_be_a_step_of_another():
    async def run():
        server = Server()
        server.double("a")
        server.double("b")
        server.ensemble(CHAIN)
        server.models["inner"] = server.models["e"]
        client, statistics = server.ensemble([("inner", {"X": "X"}, {"Y": "Y"})])
        client.send("r")
        assert client.output("r") == [[4.0, 8.0]]
        assert statistics.compute_infer.ns == server.models["inner"][2].compute_infer.ns

    asyncio.run(run())


@pytest.mark.parametrize(("outer", "inner"), [(8, 0), (0, 8)])
def test_a_batch_dimension_of_one_is_fitted_between_models_with_and_without_one(outer, inner):
    async def run():
        server = Server()
        server.double("a", max_batch_size=inner)
        client, _ = server.ensemble([("a", {"X": "X"}, {"Y": "Y"})], signature_of("e", max_batch_size=outer))
        values = [[1.0, 2.0]] if outer else [1.0, 2.0]
        client.send("r", values)
        assert client.output("r") == (np.asarray(values) * 2).tolist()
        assert server.requests[0].inputs["X"].shape == ((1, 2) if inner else (2,))

    asyncio.run(run())


def test_long_chains_of_inline_models_keep_the_stack_flat():
    async def run():
        server = Server()
        server.double("a")
        steps = [("a", {"X": "X" if index == 0 else f"m{index}"}, {"Y": f"m{index + 1}"}) for index in range(1500)]
        steps[-1] = ("a", steps[-1][1], {"Y": "Y"})
        client, _ = server.ensemble(steps)
        client.send("r", [[0.0, 0.0]])
        assert client.output("r") == [[0.0, 0.0]]

    asyncio.run(run())


def test_drain_waits_for_running_ensembles():
    async def run():
        server = Server()
        held = server.hold("a")
        server.double("b")
        client, _ = server.ensemble(CHAIN)
        client.send("r")
        draining = asyncio.create_task(client.scheduler.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        with pytest.raises(SlipwayError, match="Server is stopping"):
            client.send("late")
        held.finish()
        await draining
        assert client.output("r") == [[4.0, 8.0]]

    asyncio.run(run())


def test_a_request_to_an_ensemble_leaves_no_reference_cycle_behind():
    async def run():
        server = Server()
        server.double("a")
        held = server.hold("b")
        client, _ = server.ensemble(CHAIN)
        watched = []
        gc.disable()
        try:
            for id_ in ("answered", "failed", "cancelled"):
                tensor = WatchedTensor("X", "FP32", (1, 2), raw=b"\0" * 8)
                watched.append(weakref.ref(tensor))
                pending = client.send(id_, inputs={"X": tensor})
            pending.cancel()
            held.finish()
            held.finish([InferResponse(error=internal("no"))])
            del pending, tensor
            client.answers.clear()
            server.requests.clear()
            assert [reference() for reference in watched] == [None] * 3
        finally:
            gc.enable()

    asyncio.run(run())
