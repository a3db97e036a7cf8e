"""Engines with --model-namespacing: models of one name in several repositories."""

from __future__ import annotations

import asyncio
import logging
import shutil

import pytest

from slipway.config.cache_settings import by_cache
from slipway.core.model_id import ModelId
from slipway.engine.host import EngineHost
from slipway.errors import Code
from tests.kits.engine import answer, ensemble, explicit, identity, onnx_file, refused, request, rows, serving, until

BATCHES = "max_batch_size: 4"
CACHED = "response_cache { enable: true }"
BLS = """
backend: "python"
max_batch_size: 4
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }
"""
CALLER = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            call = pb_utils.InferenceRequest(
                model_name="m", requested_output_names=["OUTPUT0"], inputs=request.inputs()
            )
            answer = call.exec()
            ready = pb_utils.is_model_ready("m")
            error = answer.error() if answer.has_error() else None
            tensors = [] if error else answer.output_tensors()
            assert ready != bool(error)
            answers.append(pb_utils.InferenceResponse(tensors, error))
        return answers
"""


def ambiguous(count=2, name="m"):
    """Expect the refusal of a name that `count` models have."""
    return refused(
        Code.INVALID_ARG,
        f"There are {count} identifiers of model '{name}' in global map, model namespace must be provided to resolve "
        "ambiguity.",
    )


def adds(repository, number, name="m", extra=""):
    """Write a model that adds a number."""
    onnx_file(repository / name / "1" / "model.onnx", add=number)
    (repository / name / "config.pbtxt").write_text(f"{BATCHES}\n{extra}")
    return repository / name


@pytest.fixture
def pair(tmp_path):
    """Two repositories: each has a model `m` and an ensemble of its own that uses an `m`."""
    for place, number in (("one", 1), ("two", 2)):
        adds(tmp_path / place, number)
        ensemble(tmp_path / place, f"e{number}", "m")
    return tmp_path / "one", tmp_path / "two"


def run(scenario):
    asyncio.run(scenario())


def states(engine):
    """Return (namespace, name, state) of the models in the index."""
    index = engine.repository_index(ready_only=False)
    return [(entry.namespace.rpartition("/")[2], entry.name, entry.state) for entry in index]


def test_models_of_one_name_serve_and_each_ensemble_uses_its_neighbour(pair):
    async def scenario():
        async with serving(*pair, model_namespacing=True) as engine:
            assert (engine.failed, engine.ready()) == ({}, True)
            assert states(engine) == [
                ("one", "e1", "READY"),
                ("one", "m", "READY"),
                ("two", "e2", "READY"),
                ("two", "m", "READY"),
            ]
            assert await answer(engine, "e1") == [2.0, 3.0]
            assert await answer(engine, "e2") == [3.0, 4.0]
            with ambiguous():
                await answer(engine, "m")
            with ambiguous():
                engine.model_metadata("m", "1")
            with ambiguous():
                engine.model_config("m", "")
            assert not await engine.model_ready("m", "")
            assert await engine.model_ready("e1", "")
            assert engine.model_config("e2", "").ensemble_scheduling.step[0].model_namespace == str(pair[1])
            with refused(Code.INVALID_ARG, "Request for unknown model: 'absent' is not found"):
                await answer(engine, "absent")

    run(scenario)


def test_without_the_flag_they_are_not_unique(pair):
    async def scenario():
        async with serving(*pair) as engine:
            assert engine.failed["m"].detail == "not unique across all model repositories"
            assert rows(engine, "m") == ["UNAVAILABLE model appears in two or more repositories"]

    run(scenario)


def test_a_repository_that_is_named_twice_is_one_namespace(pair):
    async def scenario():
        async with serving(pair[0], pair[0], model_namespacing=True) as engine:
            assert engine.failed == {}
            assert await answer(engine, "m") == [2.0, 3.0]

    run(scenario)


def test_statistics_and_logs_keep_them_apart(pair, caplog):
    async def scenario():
        with caplog.at_level(logging.INFO, "slipway.engine"):
            async with serving(*pair, model_namespacing=True) as engine:
                for _ in range(3):
                    await answer(engine, "e1")
                counted = {(row.namespace, row.name): row.statistics for row in engine.model_statistics("", "")}
                assert counted[str(pair[0]), "m"].success.count == 3
                assert counted[str(pair[1]), "m"].success.count == 0
                with refused(Code.INVALID_ARG, "requested model 'm' is not available"):
                    engine.model_statistics("m", "")
                assert [row.name for row in engine.model_statistics("e1", "")] == ["e1"]
                assert [str(model.id) for model in engine.loaded() if model.name == "m"] == [
                    f"{place}::m" for place in pair
                ]

    run(scenario)
    for place in pair:
        assert f"loading: {place}::m:1" in caplog.messages
        assert f"successfully loaded '{place}::m'" in caplog.messages
        assert f"successfully unloaded '{place}::m' version 1" in caplog.messages


def test_a_name_loads_and_unloads_every_model_that_has_it(pair):
    async def scenario():
        async with explicit(*pair, model_namespacing=True) as engine:
            await engine.load_model("m", None, {})
            assert rows(engine, "m") == ["1 READY"] * 2
            with ambiguous():
                await answer(engine, "m")
            await engine.unload_model("m", False)
            await until(lambda: rows(engine, "m") == ["1 UNAVAILABLE unloaded"] * 2)
            with refused(Code.NOT_FOUND, "Identifier of model 'm' is not found in global map"):
                await answer(engine, "m")
            await engine.unload_model("never", False)
            with refused(Code.INTERNAL, "failed to load 'absent', failed to poll from model repository"):
                await engine.load_model("absent", None, {})

    run(scenario)


def test_why_each_model_of_a_name_failed_is_reported_without_its_path(pair):
    for place in pair:
        (place / "m" / "1" / "model.onnx").write_bytes(b"no")

    async def scenario():
        async with explicit(*pair, model_namespacing=True) as engine:
            with pytest.raises(Exception, match="load failed for model 'm': version 1 is at UNAVAILABLE") as caught:
                await engine.load_model("m", None, {})
            assert caught.value.message.count("load failed for model 'm': ") == 2
            assert str(pair[0].parent) not in caught.value.message
            with ambiguous():  # both are wanted, though neither loads
                await answer(engine, "m")
            adds(pair[1], 5)
            with pytest.raises(Exception, match="load failed for model 'm'") as caught:
                await engine.load_model("m", None, {})
            assert caught.value.message.count("load failed for model 'm': ") == 1
            assert [row.startswith("1 READY") for row in rows(engine, "m")] == [False, True]

    run(scenario)


def test_an_ensemble_brings_the_models_of_the_names_it_needs(pair):
    async def scenario():
        async with explicit(*pair, model_namespacing=True, load_model=("e1",)) as engine:
            assert await answer(engine, "e1") == [2.0, 3.0]
            assert rows(engine, "m") == ["1 READY"] * 2
            assert rows(engine, "e2") == [""]

    run(scenario)


def test_a_step_means_the_only_model_of_its_name_in_other_repositories(pair, tmp_path):
    adds(tmp_path / "three", 10, "n")
    ensemble(pair[0], "far", "n", "m")

    async def scenario():
        async with serving(*pair, tmp_path / "three", model_namespacing=True) as engine:
            assert await answer(engine, "far") == [12.0, 13.0]
            steps = engine.model_config("far", "").ensemble_scheduling.step
            assert [step.model_namespace for step in steps] == [str(tmp_path / "three"), str(pair[0])]

    run(scenario)


def test_a_step_whose_name_is_ambiguous_is_refused(pair, tmp_path):
    ensemble(tmp_path / "three", "e3", "m")

    async def scenario():
        async with serving(*pair, tmp_path / "three", model_namespacing=True) as engine:
            assert {name: failure.detail for name, failure in engine.failed.items()} == {
                f"{tmp_path / 'three'}::e3": "ensemble e3 contains models that are not available or ambiguous: m"
            }

    run(scenario)


@pytest.mark.parametrize("mode", ["explicit", "poll"])
def test_ensembles_change_to_another_model_of_the_name_and_back_while_they_serve(pair, tmp_path, mode):
    """Triton's own test of namespaces (qa/L0_model_namespacing, test_dynamic_resolution), without a gap."""
    one, two = pair

    async def scenario():
        options = {"load_model": ("e1", "e2")} if mode == "explicit" else {"repository_poll_secs": 3600}
        async with serving(one, two, model_namespacing=True, model_control_mode=mode, **options) as engine:
            stop = asyncio.Event()
            seen = []

            async def ask():
                while not stop.is_set():
                    seen.append(tuple(await answer(engine, "e1")))
                    await asyncio.sleep(0)

            asking = asyncio.create_task(ask())
            shutil.move(one / "m", tmp_path / "aside")
            if mode == "poll":
                await engine._control.poll()
            else:
                await engine._lifecycle.unload([ModelId(str(one), "m")])
            assert await answer(engine, "e1") == await answer(engine, "e2") == await answer(engine, "m") == [3.0, 4.0]
            assert engine.model_config("e1", "").ensemble_scheduling.step[0].model_namespace == str(two)
            shutil.move(tmp_path / "aside", one / "m")
            if mode == "poll":
                await engine._control.poll()
            else:
                await engine.load_model("e1", None, {})
            assert await answer(engine, "e1") == [2.0, 3.0]
            assert await answer(engine, "e2") == [3.0, 4.0]
            assert engine.model_config("e1", "").ensemble_scheduling.step[0].model_namespace == str(one)
            with ambiguous():
                await answer(engine, "m")
            stop.set()
            await asking
            assert set(seen) == {(2.0, 3.0), (3.0, 4.0)}
            assert engine.ready()

    run(scenario)


def test_an_ensemble_stops_when_a_second_model_makes_its_step_ambiguous_and_returns_when_that_goes(pair, tmp_path):
    ensemble(tmp_path / "three", "e3", "m")
    shutil.move(pair[1] / "m", tmp_path / "aside")

    async def scenario():
        options = {"model_control_mode": "poll", "repository_poll_secs": 3600, "model_namespacing": True}
        async with serving(*pair, tmp_path / "three", **options) as engine:
            assert await answer(engine, "e3") == [2.0, 3.0]
            shutil.move(tmp_path / "aside", pair[1] / "m")
            await engine._control.poll()
            with refused(Code.NOT_FOUND, "Request for unknown model: 'e3' has no available versions"):
                await answer(engine, "e3")
            assert await answer(engine, "e2") == [3.0, 4.0]
            shutil.move(pair[1] / "m", tmp_path / "aside")
            await engine._control.poll()
            assert await answer(engine, "e3") == await answer(engine, "e2") == [2.0, 3.0]

    run(scenario)


def test_ensembles_of_one_name_are_independent(tmp_path):
    for place, number in (("one", 1), ("two", 2)):
        adds(tmp_path / place, number, f"part{number}")
        ensemble(tmp_path / place, "e", f"part{number}")

    async def scenario():
        async with explicit(tmp_path / "one", tmp_path / "two", model_namespacing=True) as engine:
            await engine.load_model("e", None, {})
            with ambiguous(name="e"):
                await answer(engine, "e")
            assert await answer(engine, "part1") == [2.0, 3.0]
            await engine.unload_model("e", True)
            await until(lambda: rows(engine, "part1") == rows(engine, "part2") == ["1 UNAVAILABLE unloaded"])

    run(scenario)


def test_a_circle_across_namespaces_is_refused_and_a_name_that_only_looks_like_one_is_not(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    adds(one, 1, "plain")
    ensemble(one, "e", "inner")
    ensemble(two, "inner", "plain")

    async def scenario():
        async with explicit(one, two, model_namespacing=True, load_model=("e",)) as engine:
            assert await answer(engine, "e") == [2.0, 3.0]
            ensemble(two, "inner", "e")
            with pytest.raises(Exception, match="circular dependency between ensembles: inner -> "):
                await engine.load_model("inner", None, {})
            assert await answer(engine, "e") == [2.0, 3.0]
            adds(two, 5, "e")  # now the name means a neighbour of `inner`
            await engine.load_model("inner", None, {})
            assert await answer(engine, "inner") == [6.0, 7.0]

    run(scenario)


def test_business_logic_calls_the_neighbour(pair, tmp_path):
    for place in (*pair, tmp_path / "three"):
        identity(place, f"caller_{place.name}", config=BLS)
        (place / f"caller_{place.name}" / "1" / "model.py").write_text(CALLER)

    async def scenario():
        async with serving(*pair, tmp_path / "three", model_namespacing=True) as engine:
            assert await answer(engine, "caller_one") == [2.0, 3.0]
            assert await answer(engine, "caller_two") == [3.0, 4.0]
            with pytest.raises(Exception, match="Model m - "):
                await answer(engine, "caller_three")

    run(scenario)


def test_a_model_asks_for_its_neighbour_too(pair):
    async def scenario():
        async with explicit(*pair, model_namespacing=True, load_model=("m",)) as engine:
            hosts = [EngineHost(engine.inside(str(place)), engine.metrics) for place in (pair[0], "elsewhere")]

            def ask():
                return [host.is_model_ready("m", "") for host in hosts]

            assert await asyncio.to_thread(ask) == [True, False]
            assert not hosts[0].is_decoupled("m", "")

    run(scenario)


def test_each_model_has_its_own_responses_in_the_cache(tmp_path):
    for place, number in (("one", 1), ("two", 2)):
        adds(tmp_path / place, number, extra=CACHED)
        ensemble(tmp_path / place, f"e{number}", "m", config_extra=CACHED)
    options = {"model_namespacing": True, "cache_config": by_cache([("local", "size", "1048576")])}

    async def scenario():
        async with serving(tmp_path / "one", tmp_path / "two", **options) as engine:
            for _ in range(2):
                assert await answer(engine, "e1") == [2.0, 3.0]
                assert await answer(engine, "e2") == [3.0, 4.0]
            counted = {row.name: row.statistics.cache_hit.count for row in engine.model_statistics("", "")}
            assert (counted["e1"], counted["e2"]) == (1, 1)

    run(scenario)


def test_a_cached_response_of_an_ensemble_does_not_outlive_what_its_step_means(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for place, number in ((one, 1), (two, 2)):
        adds(place, number)
    ensemble(one, "e1", "m", config_extra=CACHED)
    options = {"model_namespacing": True, "cache_config": by_cache([("local", "size", "1048576")])}

    async def scenario():
        async with explicit(one, two, load_model=("e1",), **options) as engine:
            assert await answer(engine, "e1") == [2.0, 3.0]
            await engine._lifecycle.unload([ModelId(str(one), "m")])
            assert await answer(engine, "e1") == [3.0, 4.0]

    run(scenario)


def test_a_model_whose_files_are_sent_is_a_further_one_of_its_name(pair):
    config = '{"backend": "identity", "max_batch_size": 8}'
    tensors = '"input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-1]}]'
    outputs = '"output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [-1]}]'
    config = f"{config[:-1]}, {tensors}, {outputs}}}"
    options = {"model_namespacing": True, "allow_model_upload": True}

    async def scenario():
        async with explicit(pair[0], load_model=("m",), **options) as engine:
            await engine.load_model("m", config, {"1/note.txt": b""})
            with ambiguous():
                await answer(engine, "m")
            assert states(engine)[0] == ("", "m", "READY")
            await engine.unload_model("m", False)
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [2.0, 3.0]

    run(scenario)


def test_archives_may_have_parts_of_one_name(tmp_path):
    (tmp_path / "models").mkdir()
    archives = {}
    for place, number in (("one", 1), ("two", 2)):
        parts = {"part": adds(tmp_path / place, number, "part")}
        archives[place] = parts | {f"main_{place}": ensemble(tmp_path / place, "main", "part")}

    async def scenario():
        async with explicit(tmp_path / "models", model_namespacing=True) as engine:
            for directories in archives.values():
                await engine.outside.load(directories)
            with refused(Code.ALREADY_EXISTS, "model 'part' has already been registered"):
                await engine.outside.load(archives["one"])
            assert await answer(engine, "main_one") == [2.0, 3.0]
            assert await answer(engine, "main_two") == [3.0, 4.0]
            await engine.outside.unload(archives["one"])
            assert not engine.outside.is_served("main_one")
            assert await answer(engine, "main_two") == await answer(engine, "part") == [3.0, 4.0]

    run(scenario)


def test_what_an_ensemble_accepted_finishes_with_the_model_it_began_with(pair):
    """An ensemble that is unloaded with its model must not send the rest of a request to a namesake."""
    ensemble(pair[0], "twice", "m", "m")

    async def scenario():
        async with explicit(*pair, model_namespacing=True, load_model=("twice",)) as engine:
            answers = []
            engine.submit(request("twice"), answers.append)
            await engine._lifecycle.unload([ModelId(str(pair[0]), "twice"), ModelId(str(pair[0]), "m")])
            await until(lambda: answers)
            assert answers[0].outputs[0].array.tolist() == [[3.0, 4.0]]

    run(scenario)
