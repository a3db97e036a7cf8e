import asyncio

import pytest

from slipway.errors import Code
from tests.kits.engine import adder, answer, delay, ensemble, explicit, identity, refused, request, rows, serving, until


@pytest.fixture
def repository(tmp_path):
    identity(tmp_path, "a")
    identity(tmp_path, "b")
    ensemble(tmp_path, "e", "a", "b")
    ensemble(tmp_path, "outer", "e", "a")
    return tmp_path


def run(scenario):
    asyncio.run(scenario())


def test_an_ensemble_brings_the_models_it_needs(repository):
    async def scenario():
        async with explicit(repository) as engine:
            await engine.load_model("outer", None, {})
            assert await answer(engine, "outer") == [1.0, 2.0]
            assert [rows(engine, name) for name in ("a", "b", "e", "outer")] == [["1 READY"]] * 4

    run(scenario)


def test_unload_dependents_takes_the_models_that_came_with_the_ensemble(repository):
    async def scenario():
        async with explicit(repository) as engine:
            await engine.load_model("b", None, {})
            await engine.load_model("e", None, {})
            await engine.unload_model("e", True)
            await until(lambda: rows(engine, "e") == rows(engine, "a") == ["1 UNAVAILABLE unloaded"])
            assert await answer(engine, "b") == [1.0, 2.0]

    run(scenario)


def test_unload_dependents_leaves_what_another_ensemble_needs(repository):
    ensemble(repository, "second", "a")

    async def scenario():
        async with explicit(repository) as engine:
            await engine.load_model("e", None, {})
            await engine.load_model("second", None, {})
            await engine.unload_model("e", True)
            await until(lambda: rows(engine, "b") == ["1 UNAVAILABLE unloaded"])
            assert await answer(engine, "second") == [1.0, 2.0]

    run(scenario)


def test_the_models_of_an_unloaded_ensemble_stay(repository):
    async def scenario():
        async with explicit(repository, load_model=("e",)) as engine:
            await engine.unload_model("e", False)
            await until(lambda: rows(engine, "e") == ["1 UNAVAILABLE unloaded"])
            assert rows(engine, "a") == rows(engine, "b") == ["1 READY"]

    run(scenario)


def test_an_ensemble_goes_with_a_model_it_needs_and_comes_back_with_it(repository):
    async def scenario():
        async with explicit(repository, load_model=("outer",)) as engine:
            await engine.unload_model("b", False)
            with refused(Code.NOT_FOUND, "Request for unknown model: 'outer' has no available versions"):
                await answer(engine, "outer")
            await until(lambda: rows(engine, "e") == rows(engine, "b") == ["1 UNAVAILABLE unloaded"])
            await engine.load_model("b", None, {})
            assert await answer(engine, "outer") == [1.0, 2.0]

    run(scenario)


def test_what_an_ensemble_accepted_is_finished_while_it_and_its_models_go(tmp_path):
    identity(tmp_path, "a", extra=delay(30))
    identity(tmp_path, "b", extra=delay(30))
    ensemble(tmp_path, "e", "a", "b")

    async def scenario():
        async with explicit(tmp_path, load_model=("e",)) as engine:
            accepted = [asyncio.create_task(answer(engine, "e")) for _ in range(3)]
            await asyncio.sleep(0)
            await engine.unload_model("b", False)
            with refused(Code.NOT_FOUND, "Request for unknown model: 'b' has no available versions"):
                await answer(engine, "b")
            assert await asyncio.gather(*accepted) == [[1.0, 2.0]] * 3

    run(scenario)


def test_a_model_is_reloaded_under_a_running_ensemble(tmp_path):
    adder(tmp_path, "a", [1])
    ensemble(tmp_path, "e", "a", "a")

    async def scenario():
        async with explicit(tmp_path, load_model=("e",)) as engine:
            assert await answer(engine, "e") == [3.0, 4.0]
            adder(tmp_path, "a", [2])
            await engine.load_model("a", None, {})
            assert await answer(engine, "e") == [5.0, 6.0]

    run(scenario)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["a", "missing", "lost"], "ensemble x contains models that are not available or ambiguous: lost, missing"),
        (
            ["a", "broken"],
            (
                "ensemble 'x' depends on 'broken' which has no loaded version. Model 'broken' loading failed with "
                "error: version 1 is at UNAVAILABLE state: Invalid argument: unable to find backend library for "
                "backend 'nope', try specifying runtime on the model configuration.;"
            ),
        ),
        (["x"], "circular dependency between ensembles: x -> ... -> x"),
        (["y"], "circular dependency between ensembles: x -> ... -> x"),
    ],
)
def test_an_ensemble_that_cannot_be_served_says_why(repository, parts, text):
    identity(repository, "broken", config='backend: "nope"')
    ensemble(repository, "x", *parts)
    ensemble(repository, "y", "x")

    async def scenario():
        async with explicit(repository) as engine:
            with refused(Code.INVALID_ARG, f"load failed for model 'x': {text}\n"):
                await engine.load_model("x", None, {})
            await engine.load_model("e", None, {})
            assert await answer(engine, "e") == [1.0, 2.0]

    run(scenario)


def test_an_ensemble_asks_for_a_version_that_serves(repository):
    config = (repository / "e" / "config.pbtxt").read_text().replace("model_version: -1", "model_version: 7")
    (repository / "e" / "config.pbtxt").write_text(config)

    async def scenario():
        async with serving(repository) as engine:
            assert engine.failed["e"].detail == ("ensemble 'e' depends on 'a' whose required version 7 is not loaded")
            assert engine.failed.keys() == {"e", "outer"}
            assert await answer(engine, "a") == [1.0, 2.0]

    run(scenario)


def test_an_ensemble_stops_serving_when_a_reloaded_model_does_not_fit_it_any_more(repository):
    config = (repository / "a" / "config.pbtxt").read_text()

    async def scenario():
        async with explicit(repository, load_model=("e",)) as engine:
            (repository / "a" / "config.pbtxt").write_text(config.replace("max_batch_size: 8", "max_batch_size: 1"))
            await engine.load_model("a", None, {})
            with refused(Code.NOT_FOUND, "Request for unknown model: 'e' has no available versions"):
                await answer(engine, "e")
            (repository / "a" / "config.pbtxt").write_text(config + "# whole again")
            await engine.load_model("a", None, {})
            assert await answer(engine, "e") == [1.0, 2.0]

    run(scenario)


REPEAT = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for value in (1, 2):
                tensor = pb_utils.Tensor("OUTPUT0", np.array([[value]], np.float32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
DECOUPLED = """
backend: "python"
max_batch_size: 8
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
model_transaction_policy { decoupled: true }
parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }
"""


def test_an_ensemble_is_decoupled_exactly_when_a_step_is(repository):
    identity(repository, "repeat", config=DECOUPLED)
    (repository / "repeat" / "1" / "model.py").write_text(REPEAT)
    ensemble(repository, "undeclared", "repeat")
    ensemble(repository, "declared", "a", config_extra="model_transaction_policy { decoupled: true }")

    async def scenario():
        async with explicit(repository, load_model=("undeclared", "declared")) as engine:
            assert engine.signature("undeclared", "").decoupled
            assert not engine.signature("declared", "").decoupled
            answers = []
            engine.submit(request("undeclared"), answers.append)
            await until(lambda: answers and answers[-1].final)
            assert [response.outputs[0].array.item() for response in answers if response.outputs] == [1, 2]

    run(scenario)
