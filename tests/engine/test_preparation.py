import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import Placement
from slipway.core.model_id import ModelId
from slipway.core.padding import PaddedInput, PaddingRule
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import ModelStatistics
from slipway.engine.model import ModelVersion
from slipway.engine.preparation import BUSY_S, ELEMENTS, LONG_S, PATIENCE_S, QUIET_S, Preparation
from slipway.engine.serving import ServingTable
from slipway.engine.states import StateTable
from slipway.errors import internal
from slipway.scheduling.batcher import Fifo
from slipway.scheduling.driver import InstanceScheduler
from tests.scheduling.fakes import Client, HeldInstance

LENGTHS = [(1, 8), (1, 16), (1, 24)]
RULE = PaddingRule((PaddedInput("ids", 0, (1,)), PaddedInput("mask", 0, (1,))), max_tokens=8, step=8)


class Compiling:
    """A loaded model whose library compiles for each new shape."""

    placement = Placement.THREAD
    compiles_shapes = True

    def open(self, instance):
        raise AssertionError(f"{instance} is opened, but the tests make the instances themselves")

    def unload(self):
        pass


class Instance(HeldInstance):
    """Answers at once, unless it holds; `shapes` are those of the executed batches."""

    def __init__(self, *, held=False, error=None, took=lambda: None):
        super().__init__()
        self.shapes = []
        self._held = held
        self._error = error
        self._took = took

    def start(self, batch, finished):
        super().start(batch, finished)
        self.shapes.append(next(iter(batch[0].request.inputs.values())).shape)
        if not self._held:
            self.end()

    def end(self):
        self._took()
        batch, _ = self.started[0]
        self.finish([InferResponse(error=self._error) for _ in batch])


def version(*instances, tokens=24, loaded=None, limited=False):
    dims = {"ids": (-1,), "mask": (-1,), "fixed": (2,)}
    inputs = {name: TensorSpec(name, "INT64", size) for name, size in dims.items()}
    signature = ModelSignature("m", 4, inputs, {"y": TensorSpec("y", "FP32", (1,))}, padding=RULE)
    text = f'parameters {{ key: "PREPARED_TOKENS" value {{ string_value: "{tokens}" }} }}'
    statistics = ModelStatistics()
    return ModelVersion(
        ModelId("", "m"),
        1,
        config=text_format.Parse(text, model_config_pb2.ModelConfig(name="m")),
        signature=signature,
        statistics=statistics,
        scheduler=InstanceScheduler(signature, statistics, "1", instances=instances, line=Fifo()),
        instances=instances,
        loaded=loaded or Compiling(),
        limited=limited,
    )


class Bench:
    """A preparation with a fake clock, whose naps take the time they are meant to."""

    def __init__(self, *models, loading=lambda: False):
        self.now = 0.0
        self.naps = 0
        self.serving = ServingTable(StateTable())
        self.serving.replace(ModelId("", "m"), models)
        self.preparation = Preparation(self.serving, loading, clock=lambda: self.now, sleep=self.nap)
        for model in models:
            self.preparation.add(model)

    async def nap(self, seconds):
        assert seconds == QUIET_S
        self.naps += 1
        self.now += seconds
        await asyncio.sleep(0)

    def spend(self, seconds):
        self.now += seconds


async def ticks(count=100):
    for _ in range(count):
        await asyncio.sleep(0)


def client_of(model):
    return Client(model.scheduler)


def test_likely_shapes_run_on_every_instance_in_order_without_being_counted():
    async def scenario():
        instances = Instance(), Instance()
        model = version(*instances)
        Bench(model)
        await ticks()
        assert [instance.shapes for instance in instances] == [LENGTHS, LENGTHS]
        assert model.statistics.execution_count == 0
        assert model.statistics.inference_count == 0

    asyncio.run(scenario())


def test_a_model_that_shares_resources_runs_only_in_its_turn():
    async def scenario():
        limited, free = Instance(), Instance()
        Bench(version(limited, limited=True), version(free))
        await ticks()
        assert (limited.shapes, free.shapes) == ([], LENGTHS)

    asyncio.run(scenario())


def test_a_prepared_batch_has_every_input():
    async def scenario():
        instance = Instance(held=True)
        Bench(version(instance))
        await ticks()
        ((pending,), _) = instance.started[0]
        assert {name: tensor.array.tolist() for name, tensor in pending.request.inputs.items()} == {
            "ids": [[0] * 8],
            "mask": [[1] * 8],
            "fixed": [[0, 0]],
        }

    asyncio.run(scenario())


def test_a_request_waits_for_one_batch_at_most_and_the_next_waits_for_a_quiet_moment():
    async def scenario():
        instance = Instance(held=True)
        model = version(instance)
        bench = Bench(model)
        await ticks()
        client = client_of(model)
        client.send("a")
        assert instance.batches == [[""], ["a"]]  # the request is next
        instance.end()
        await ticks()
        assert instance.batches == [[""], ["a"]]  # nothing runs beside it
        naps = bench.naps
        assert naps > 1
        instance.end()
        await ticks()
        assert instance.batches == [[""], ["a"], [""]]
        assert bench.naps - naps == 1
        assert client.error("a") is None

    asyncio.run(scenario())


def test_a_request_between_two_looks_is_noticed():
    async def scenario():
        instance = Instance(held=True)
        model = version(instance)
        bench = Bench(model)
        await ticks()
        instance.end()
        model.statistics.fail.add(1)  # refused at once, say
        await ticks()
        assert bench.naps == 1
        assert len(instance.shapes) == 2

    asyncio.run(scenario())


def test_nothing_runs_while_models_are_loaded():
    async def scenario():
        loading = True
        instance = Instance()
        Bench(version(instance), loading=lambda: loading)
        await ticks()
        assert instance.shapes == []
        loading = False
        await ticks()
        assert instance.shapes == LENGTHS

    asyncio.run(scenario())


def test_unloading_ends_it():
    async def scenario():
        instance = Instance(held=True)
        model = version(instance)
        Bench(model)
        await ticks()
        with ThreadPoolExecutor() as threads:
            await model.retire(threads)
        instance.end()
        await ticks()
        assert instance.shapes == LENGTHS[:1]

    asyncio.run(scenario())


def test_unloading_ends_it_while_requests_are_running():
    async def scenario():
        instance = Instance(held=True)
        model = version(instance)
        bench = Bench(model)
        client_of(model).send("a")
        await ticks()
        model.retired = True
        await ticks()
        naps = bench.naps
        await ticks()
        assert (bench.naps, instance.batches) == (naps, [["a"]])

    asyncio.run(scenario())


def test_stopping_ends_it_at_once():
    async def scenario():
        instance = Instance(held=True)
        bench = Bench(version(instance), version(Instance()))
        await ticks()
        await bench.preparation.stop()
        instance.end()
        await ticks()
        assert instance.shapes == LENGTHS[:1]

    asyncio.run(scenario())


def test_a_failure_is_logged_and_the_model_serves_on(caplog):
    async def scenario():
        instance = Instance(error=internal("OpenVINO: no such position"))
        model = version(instance)
        other = Instance()
        bench = Bench(model)
        bench.preparation.add(version(other))
        with caplog.at_level(logging.WARNING, "slipway.engine"):
            await ticks()
        assert instance.shapes == LENGTHS[:1]
        assert other.shapes == LENGTHS
        assert not model.retired
        (record,) = caplog.records
        assert record.getMessage() == (
            "'m' version 1: preparing 1 x 8 tokens failed (OpenVINO: no such position); set the parameter "
            "PREPARED_TOKENS to the maximum sequence length of the model, or to 0"
        )

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("seconds", "tokens", "count"),
    [
        (LONG_S / 2, 24, 3),
        (LONG_S * 1.1, 24, 1),  # no larger batch
        (LONG_S * 0.9, 800, int(BUSY_S / (LONG_S * 0.9)) + 1),
    ],
)
def test_its_computing_time_is_limited(seconds, tokens, count):
    async def scenario():
        instance = Instance(took=lambda: bench.spend(seconds))
        bench = Bench(version(instance, tokens=tokens))
        await ticks(500)
        assert len(instance.shapes) == count

    asyncio.run(scenario())


def test_made_up_tensors_are_small():
    async def scenario():
        instance = Instance()
        model = version(instance)
        model.signature.inputs["wide"] = TensorSpec("wide", "FP32", (-1, ELEMENTS // 16))
        Bench(model)
        await ticks()
        assert instance.shapes == LENGTHS[:2]

    asyncio.run(scenario())


def test_a_bug_in_preparing_one_model_is_logged_and_the_next_has_its_turn(caplog):
    def fail():
        raise MemoryError

    async def scenario():
        other = Instance()
        bench = Bench(version(Instance(took=fail)))
        bench.preparation.add(version(other))
        await ticks()
        assert other.shapes == LENGTHS

    with caplog.at_level(logging.ERROR, "slipway.engine"):
        asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == ["preparing 'm' version 1 failed"]


def test_it_gives_up_on_a_server_that_is_never_quiet():
    async def scenario():
        instance = Instance(held=True)
        model = version(instance)
        bench = Bench(model)
        client_of(model).send("a")
        await ticks(2000)
        assert bench.now < PATIENCE_S + 2 * QUIET_S
        assert instance.batches == [["a"]]

    asyncio.run(scenario())


def test_models_whose_library_does_not_compile_for_shapes_are_left_alone():
    class Plain(Compiling):
        compiles_shapes = False

    async def scenario():
        instances = [Instance() for _ in range(3)]
        bench = Bench(version(instances[0], loaded=Plain()), version(instances[1], loaded=object()))
        bench.preparation.add(version(instances[2], tokens=0))
        await ticks()
        assert [instance.shapes for instance in instances] == [[], [], []]

    asyncio.run(scenario())


def test_a_model_says_while_its_instances_run_made_up_batches():
    seen = []
    instance = Instance(took=lambda: seen.append(model.preparing))
    model = version(instance, tokens=8)

    async def scenario():
        Bench(model)
        await ticks()
        assert seen == [True]
        assert not model.preparing

    asyncio.run(scenario())
