"""Requests whose tensors are in shared memory, on an engine with real models."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import asynccontextmanager

import numpy as np
import pytest

from slipway.core.budget import Budget
from slipway.core.bytes_codec import encode_bytes
from slipway.core.explanation import Explanation
from slipway.core.request import SEQUENCE_START, InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.engine import placed as module
from slipway.engine.placed import PlacedCall
from slipway.errors import Code, FailureReason, SlipwayError
from slipway.regions.region import RegionPlace
from slipway.regions.registry import Regions
from slipway.regions.request import PlacedInput, PlacedRequest
from tests.kits.engine import delay, identity, serving, until
from tests.kits.shared_memory import needs_shared_memory, read, shared

pytestmark = needs_shared_memory
VALUES = np.arange(8, dtype=np.float32)
SIZE = VALUES.nbytes
TEXTS = """
backend: "identity"
input { name: "INPUT0" data_type: TYPE_STRING dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_STRING dims: [ -1 ] }
"""


@pytest.fixture
def file():
    with shared(VALUES.tobytes() + bytes(4096 - SIZE)) as path:
        yield path


@pytest.fixture(params=["on the loop", "in a thread"])
def size_limit(request, monkeypatch):
    """Let small copies count as large ones too."""
    if request.param == "in a thread":
        monkeypatch.setattr(module, "_INLINE", 0)


@asynccontextmanager
async def sharing(tmp_path, file, name="m", **options):
    async with serving(tmp_path, allow_client_shm=True, **options) as engine:
        engine.regions.register("r", file.name, 0, 4096)
        yield engine


def placed(engine, name="m", *, source=(0, SIZE), target=None, shape=(1, 8), datatype="FP32", **fields):
    """Return a request with its input, and its output if there is a target, in the region."""
    tensor = PlacedInput("INPUT0", datatype, shape, engine.regions.find("r", *source))
    places = {} if target is None else {"OUTPUT0": engine.regions.find("r", *target)}
    outputs = tuple(places)
    return PlacedRequest(name, inputs={"INPUT0": tensor}, outputs=outputs, places=places, **fields)


async def submitted(engine, request):
    """Return the one response to a request."""
    responses = []
    engine.submit(request, responses.append)
    await until(lambda: responses)
    (response,) = responses
    return response


def refused(action, *arguments):
    with pytest.raises(SlipwayError) as caught:
        action(*arguments)
    return caught.value.code, caught.value.message


def failures(engine, name="m"):
    (row,) = engine.model_statistics(name, "")
    return {reason: count for reason, count in row.statistics.failures.items() if count}


def uses(engine):
    return [region.uses for region in engine.regions.status("")]


@pytest.mark.usefixtures("size_limit")
def test_inputs_are_read_from_a_region_and_outputs_written_into_it(tmp_path, file):
    identity(tmp_path, "m")

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            response = await submitted(engine, placed(engine, target=(1024, SIZE + 100), id="7"))
            assert (response.error, response.id) == (None, "7")
            (output,) = response.outputs
            assert (output.name, output.datatype, output.shape, output.raw) == ("OUTPUT0", "FP32", (1, 8), b"")
            assert read(file, np.float32, 8, 1024) == VALUES.tolist()
            assert uses(engine) == [0]
            plain = await submitted(engine, placed(engine))
            assert plain.outputs[0].array.tolist() == [VALUES.tolist()]
            ordinary = {"INPUT0": Tensor.from_array("INPUT0", 2 * VALUES.reshape(1, 8))}
            places = {"OUTPUT0": engine.regions.find("r", 2048, SIZE)}
            await submitted(engine, PlacedRequest("m", inputs=ordinary, outputs=("OUTPUT0",), places=places))
            assert read(file, np.float32, 8, 2048) == (2 * VALUES).tolist()

    asyncio.run(scenario())


@pytest.mark.usefixtures("size_limit")
def test_an_output_that_is_too_large_for_its_place_fails_its_request(tmp_path, file):
    identity(tmp_path, "m")
    identity(tmp_path, "texts", config=TEXTS)

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            before = file.read_bytes()
            response = await submitted(engine, placed(engine, target=(1024, SIZE - 1)))
            assert (response.error.code, response.error.message, response.outputs) == (
                Code.INTERNAL,
                (
                    "shared memory size specified with the request for output 'OUTPUT0' (31 bytes) should be at least "
                    "32 bytes to hold the results"
                ),
                [],
            )
            texts = np.array([b"ab", "é"], np.object_)
            inputs = {"INPUT0": Tensor.from_array("INPUT0", texts)}
            places = {"OUTPUT0": engine.regions.find("r", 1024, 11)}
            strings = PlacedRequest("texts", inputs=inputs, outputs=("OUTPUT0",), places=places)
            response = await submitted(engine, strings)
            assert "(11 bytes) should be at least 12 bytes" in response.error.message
            assert (file.read_bytes() == before, uses(engine)) == (True, [0])

    asyncio.run(scenario())


@pytest.mark.usefixtures("size_limit")
def test_an_output_that_cannot_be_written_counts_as_a_failure(tmp_path, file):
    identity(tmp_path, "m")

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            await submitted(engine, placed(engine, target=(0, 4)))
            await until(lambda: failures(engine) == {FailureReason.BACKEND: 1})
            shortened = placed(engine, target=(2048, SIZE))
            os.truncate(file, 1024)
            await submitted(engine, shortened)
            await until(lambda: failures(engine) == {FailureReason.BACKEND: 2})

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", [{"shape": (9, 8)}, {"source": (0, 4)}, {"datatype": "INT32"}, {}])
def test_the_log_names_requests_that_are_refused(tmp_path, file, caplog, fault):
    caplog.set_level(logging.DEBUG, "slipway.requests")
    identity(tmp_path, "m")

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            engine.log_settings.verbose = 1
            request = placed(engine, id="7", **fault)
            if not fault:
                os.truncate(file, 0)
            refused(engine.submit, request, None)

    asyncio.run(scenario())
    (record,) = caplog.records
    assert (record.fields["id"], record.fields["outcome"]) == ("7", "INVALID_ARG")


@pytest.mark.usefixtures("size_limit")
def test_a_trace_records_the_tensors_in_regions_and_nothing_stays_taken(tmp_path, file):
    identity(tmp_path / "models", "m")
    settings = (("", "level", "TENSORS"), ("", "rate", "1"), ("triton", "file", str(tmp_path / "trace.json")))

    async def scenario():
        async with sharing(tmp_path / "models", file, trace_config=settings) as engine:
            engine.regions.budget = Budget(SIZE)
            for _ in range(2):  # the second one needs what the first one gave back
                request = placed(engine, target=(1024, SIZE))
                request.trace = trace = engine.tracing.begin("m")
                assert (await submitted(engine, request)).error is None
                assert [(activity, tensor.name, bytes(tensor.raw)) for activity, tensor in trace.tensors] == [
                    ("TENSOR_QUEUE_INPUT", "INPUT0", VALUES.tobytes()),
                    ("TENSOR_BACKEND_OUTPUT", "OUTPUT0", VALUES.tobytes()),
                ]
                assert uses(engine) == [0]
                trace.root.close()

    asyncio.run(scenario())


def test_nothing_is_read_for_a_request_that_does_not_fit_the_model(tmp_path, file, monkeypatch):
    identity(tmp_path, "m")
    monkeypatch.setattr(RegionPlace, "read", None)

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            wrong = placed(engine, source=(0, SIZE + 1))
            assert refused(engine.submit, wrong, None) == (
                Code.INVALID_ARG,
                (
                    "[request id: <id_unknown>] input byte size mismatch for input 'INPUT0' for model 'm'. Expected "
                    "32, got 33"
                ),
            )
            assert "data-type is 'INT32'" in refused(engine.submit, placed(engine, datatype="INT32"), None)[1]
            assert "batch-size must be <= 8" in refused(engine.submit, placed(engine, shape=(9, 8)), None)[1]
            assert refused(engine.submit, placed(engine, "absent"), None)[0] is Code.NOT_FOUND
            assert (failures(engine), uses(engine)) == ({FailureReason.OTHER: 3}, [0])

    asyncio.run(scenario())


@pytest.mark.usefixtures("size_limit")
@pytest.mark.parametrize(
    ("content", "count", "text"),
    [
        (
            encode_bytes([b"a", b"bc"]),
            3,
            "expected 3 string elements for inference input 'INPUT0' for model 'm', got 2",
        ),
        (b"\xff\xff\xff\xff", 1, "expecting string of length 4294967295 but only 0 bytes available"),
    ],
)
def test_strings_are_checked_once_they_have_been_read(tmp_path, content, count, text):
    identity(tmp_path, "m", config=TEXTS)

    async def scenario():
        async with sharing(tmp_path, path) as engine:
            request = placed(engine, source=(0, len(content)), shape=(count,), datatype="BYTES")
            try:
                error = (await submitted(engine, request)).error
            except SlipwayError as refusal:
                error = refusal
            assert (error.code, text in error.message) == (Code.INVALID_ARG, True)
            assert (failures(engine), uses(engine)) == ({FailureReason.OTHER: 1}, [0])

    with shared(content + bytes(4096 - len(content))) as path:
        asyncio.run(scenario())


def test_large_strings_are_read_and_counted_in_a_thread(tmp_path, monkeypatch):
    identity(tmp_path, "m", config=TEXTS)
    content = encode_bytes([b"x" * 300_000, b"y"])
    monkeypatch.setattr(module, "run_large", counted := _Counted(module.run_large))

    async def scenario():
        async with serving(tmp_path, allow_client_shm=True) as engine:
            engine.regions.register("r", path.name, 0, len(content))
            request = placed(engine, source=(0, len(content)), shape=(2,), datatype="BYTES")
            response = await submitted(engine, request)
            assert response.outputs[0].array[1] == b"y"
            assert counted.calls == 1

    with shared(content) as path:
        asyncio.run(scenario())


class _Counted:
    def __init__(self, function):
        self.function = function
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


@pytest.mark.usefixtures("size_limit")
def test_a_region_that_is_unregistered_during_an_execution_goes_after_it(tmp_path, file):
    identity(tmp_path, "m", extra=delay(100))

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            responses = []
            engine.submit(placed(engine, target=(1024, SIZE)), responses.append)
            engine.regions.unregister("r")
            assert uses(engine) == [2]
            await until(lambda: responses)
            assert read(file, np.float32, 8, 1024) == VALUES.tolist()
            assert uses(engine) == []

    asyncio.run(scenario())


@pytest.mark.usefixtures("size_limit")
def test_memory_that_was_shortened_fails_its_requests_alone(tmp_path, file):
    identity(tmp_path, "m", extra=delay(50))

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            responses = []
            request = placed(engine, target=(1024, SIZE))
            engine.submit(request, responses.append)
            await until(lambda: not isinstance(request.inputs["INPUT0"], PlacedInput))
            os.truncate(file, 100)
            await until(lambda: responses)
            text = "shared memory region 'r' is shorter than when it was registered"
            assert (responses[0].error.code, responses[0].error.message) == (Code.INVALID_ARG, text)
            os.truncate(file, 0)
            try:
                error = (await submitted(engine, placed(engine))).error
            except SlipwayError as refusal:
                error = refusal
            assert error.message == text
            assert uses(engine) == [0]
            assert (await engine.infer(InferRequest("m", inputs={"INPUT0": _ordinary()}))).outputs

    asyncio.run(scenario())


def _ordinary():
    return Tensor.from_array("INPUT0", VALUES.reshape(1, 8))


def test_a_request_that_is_cancelled_while_it_is_read_is_not_executed(tmp_path, file, monkeypatch):
    identity(tmp_path, "m")
    monkeypatch.setattr(module, "_INLINE", 0)

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            responses = []
            engine.submit(placed(engine), responses.append).cancel()
            await until(lambda: responses)
            assert [response.error.code for response in responses] == [Code.CANCELLED]
            assert (failures(engine), uses(engine)) == ({FailureReason.CANCELED: 1}, [0])

    asyncio.run(scenario())


def test_a_request_that_memory_does_not_allow_is_refused(tmp_path, file):
    identity(tmp_path, "m")

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            engine.regions.budget = Budget(SIZE - 1)
            assert refused(engine.submit, placed(engine), None)[0] is Code.UNAVAILABLE
            engine.regions.budget.limit = SIZE
            assert (await submitted(engine, placed(engine))).error is None
            assert (engine.regions.budget.held, uses(engine)) == (0, [0])

    asyncio.run(scenario())


@pytest.mark.usefixtures("size_limit")
def test_a_request_that_the_queue_refuses_releases_its_regions(tmp_path, file):
    queue = "dynamic_batching { default_queue_policy { max_queue_size: 1 } }"
    identity(tmp_path, "m", extra=delay(50) + queue)

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            responses, refusals = [], 0
            for _ in range(30):
                try:
                    engine.submit(placed(engine), responses.append)
                except SlipwayError:
                    refusals += 1
            await until(lambda: len(responses) + refusals == 30)
            errors = [response.error for response in responses if response.error is not None]
            assert refusals + len(errors) > 0
            assert all("Exceeds maximum queue size" in error.message for error in errors)
            assert uses(engine) == [0]

    asyncio.run(scenario())


def test_the_requests_of_a_sequence_are_read_at_once_and_so_stay_in_order(file, monkeypatch):
    monkeypatch.setattr(module, "_INLINE", 0)
    regions = Regions(allowed=True)
    regions.register("r", file.name, 0, 4096)
    tensor = PlacedInput("INPUT0", "FP32", (1, 8), regions.find("r", 0, SIZE))
    alone, member = (PlacedRequest("m", inputs={"INPUT0": tensor}, correlation_id=number) for number in (0, 5))
    assert PlacedCall(alone, None, regions, set()).is_large
    assert not PlacedCall(member, None, regions, set()).is_large


@pytest.mark.parametrize(("extra", "calls"), [("", 1), ("sequence_batching { }", 0)])
def test_only_a_model_with_sequences_keeps_large_inputs_on_the_loop(tmp_path, file, monkeypatch, extra, calls):
    monkeypatch.setattr(module, "_INLINE", 0)
    monkeypatch.setattr(module, "run_large", counted := _Counted(module.run_large))
    identity(tmp_path, "m", extra=extra)

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            response = await submitted(engine, placed(engine, correlation_id=5, flags=SEQUENCE_START))
            assert response.outputs[0].array.tolist() == [VALUES.tolist()]

    asyncio.run(scenario())
    assert counted.calls == calls


def test_responses_stay_in_order_while_a_large_one_is_written(file, monkeypatch):
    monkeypatch.setattr(module, "_INLINE", SIZE - 1)

    async def scenario():
        regions = Regions(allowed=True)
        regions.register("r", file.name, 0, 4096)
        request = PlacedRequest("m", outputs=("OUTPUT0",), places={"OUTPUT0": regions.find("r", 64, SIZE)})
        received = []
        call = PlacedCall(request, received.append, regions, set())
        call.begin()
        regions.unregister("r")
        large = Tensor.from_array("OUTPUT0", VALUES)
        small = Tensor.from_array("OUTPUT0", VALUES[:1] + 9)
        responses = [
            InferResponse(outputs=[large], final=False),
            InferResponse(outputs=[small], final=False),
            InferResponse(empty=True),
        ]
        for response in responses:
            call.receive(response)
        assert received == []
        await until(lambda: len(received) == 3)
        assert received == responses
        assert read(file, np.float32, 8, 64) == [9, *VALUES[1:].tolist()]
        assert regions.status("") == []

    asyncio.run(scenario())


@pytest.mark.usefixtures("size_limit")
def test_a_request_in_shared_memory_may_be_explained(tmp_path, file):
    identity(tmp_path, "m")

    async def scenario():
        async with sharing(tmp_path, file) as engine:
            request = placed(engine, target=(512, SIZE), explanation=Explanation())
            response = await submitted(engine, request)
            explained = json.loads(response.parameters["slipway_explain"])
            assert explained["batch"] == {"requests": 1, "rows": 1}
            assert read(file, np.float32, 8, 512) == VALUES.tolist()

    asyncio.run(scenario())
