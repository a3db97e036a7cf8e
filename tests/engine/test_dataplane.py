import asyncio

import pytest

from slipway.config.options import ServerOptions
from slipway.core.request import InferResponse
from slipway.engine.api import TensorMetadata
from slipway.engine.dataplane import Engine
from slipway.engine.host import EngineHost
from slipway.errors import Code, SlipwayError
from tests.kits.engine import answer, delay, explicit, identity, refused, request, rows, serving, until

# The server refuses all requests for these.
REFUSED = {"system_shared_memory", "cuda_shared_memory", "trace"}


def run(scenario):
    asyncio.run(scenario())


def test_metadata_names_the_versions_and_tensors(tmp_path):
    identity(tmp_path, "m", versions=(1, 3), extra="version_policy { all { } }")

    async def scenario():
        async with serving(tmp_path) as engine:
            metadata = engine.model_metadata("m", "")
            assert (metadata.name, metadata.versions, metadata.platform) == ("m", ("1", "3"), "identity")
            assert metadata.inputs == (TensorMetadata("INPUT0", "FP32", (-1, -1)),)
            assert metadata.outputs == (TensorMetadata("OUTPUT0", "FP32", (-1, -1)),)
            assert engine.model_metadata("m", "1").versions == ("1",)
            assert engine.server_metadata().name == "triton"
            extensions = engine.server_metadata().extensions
            assert "model_repository(unload_dependents)" in extensions
            assert not REFUSED & set(extensions)
            assert "logging" in extensions

    run(scenario)


def test_a_server_is_live_and_ready_only_between_start_and_shutdown(tmp_path):
    async def scenario():
        engine = Engine(ServerOptions(model_repository=(tmp_path,)), version="0")
        assert (engine.live(), engine.ready()) == (False, False)
        await engine.start()
        assert (engine.live(), engine.ready()) == (True, True)
        await engine.shutdown(10)
        assert engine.ready() is False

    run(scenario)


def test_without_its_repository_a_server_is_neither_live_nor_ready_and_only_describes_itself(tmp_path):
    identity(tmp_path / "here", "m")
    options = ServerOptions(model_repository=(tmp_path / "here", tmp_path / "absent"), model_control_mode="explicit")

    async def scenario():
        engine = Engine(options, version="0")
        assert await engine.start() == {}
        assert (engine.live(), engine.ready()) == (False, False)
        assert engine.server_metadata().name == "triton"
        with refused(Code.UNAVAILABLE, "Server not ready"):
            await engine.model_ready("m", "")
        calls = (
            lambda: engine.model_metadata("m", ""),
            lambda: engine.model_config("m", "1"),
            lambda: engine.model_statistics("", ""),
            lambda: engine.model_statistics("m", ""),
            lambda: engine.repository_index(False),
            lambda: engine.submit(request("m"), print),
            lambda: engine.submit(request("m", "1"), print),
        )
        for call in calls:
            with refused(Code.UNAVAILABLE, "Server not ready"):
                call()
        with refused(Code.UNAVAILABLE, "Server not ready"):
            await engine.load_model("m", None, {})
        with refused(Code.UNAVAILABLE, "Server not ready"):
            await engine.unload_model("m", False)
        assert await engine.shutdown(10)

    run(scenario)


def test_an_error_of_the_model_is_raised_by_infer_and_delivered_by_submit(tmp_path):
    identity(tmp_path, "m")

    async def scenario():
        async with serving(tmp_path) as engine:
            answers = []
            pending = engine.submit(request("m"), answers.append)
            await until(lambda: pending.finished)
            assert isinstance(answers[0], InferResponse)
            with pytest.raises(SlipwayError, match="inference request batch-size must be <= 8 for 'm'"):
                engine.submit(request("m", shape=(9, 2)), answers.append)
            assert len(answers) == 1

    run(scenario)


def test_a_decoupled_model_is_not_for_infer(tmp_path):
    identity(tmp_path, "m", extra="model_transaction_policy { decoupled: true }")

    async def scenario():
        async with serving(tmp_path) as engine:
            with pytest.raises(SlipwayError) as caught:
                await engine.infer(request("m"))
            assert caught.value.code is Code.UNSUPPORTED

    run(scenario)


def test_cancelling_infer_drops_a_queued_request(tmp_path):
    identity(tmp_path, "m", extra=delay(50))

    async def scenario():
        async with serving(tmp_path) as engine:
            first = asyncio.create_task(answer(engine, "m"))
            second = asyncio.create_task(answer(engine, "m"))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert await first == [1.0, 2.0]
            statistics = engine.model_statistics("m", "")[0].statistics
            assert (statistics.execution_count, statistics.success.count) == (1, 1)

    run(scenario)


def test_shutdown_finishes_what_was_accepted_and_refuses_the_rest(tmp_path):
    identity(tmp_path, "m", extra=delay(50))

    async def scenario():
        engine = Engine(ServerOptions(model_repository=(tmp_path,), model_control_mode="explicit"), version="0")
        await engine.start()
        await engine.load_model("m", None, {})
        accepted = [asyncio.create_task(answer(engine, "m")) for _ in range(3)]
        await asyncio.sleep(0)
        ending = asyncio.create_task(engine.shutdown(10))
        await asyncio.sleep(0)
        with refused(
            Code.UNAVAILABLE, "Server is stopping, scheduler for model has stopped accepting new inference requests"
        ):
            await answer(engine, "m")
        with refused(Code.UNAVAILABLE, "Server is stopping, models can no longer be loaded or unloaded"):
            await engine.load_model("m", None, {})
        assert await asyncio.gather(*accepted) == [[1.0, 2.0]] * 3
        assert await ending

    run(scenario)


def test_shutdown_gives_up_after_its_time(tmp_path):
    identity(tmp_path, "m", extra=delay(700))

    async def scenario():
        engine = Engine(ServerOptions(model_repository=(tmp_path,)), version="0")
        await engine.start()
        accepted = asyncio.create_task(answer(engine, "m"))
        await asyncio.sleep(0)
        assert not await engine.shutdown(0.01)
        assert await accepted == [1.0, 2.0]

    run(scenario)


def test_models_may_use_the_server_from_any_thread(tmp_path):
    identity(tmp_path, "m")
    identity(tmp_path, "slow", extra=delay(100))

    async def scenario():
        async with explicit(tmp_path, load_model=("slow",)) as engine:
            host = EngineHost(engine.inside(""), engine.metrics)
            loop = asyncio.get_running_loop()
            answers = asyncio.Queue()

            def model():
                host.load_model("m", None, {})
                assert host.is_model_ready("m", "")
                assert not host.is_decoupled("m", "")
                host.submit(request("m"), answers.put_nowait)
                host.submit(request("absent"), answers.put_nowait)
                host.submit(request("slow"), asyncio.Queue().put_nowait)
                cancel = host.submit(request("slow"), answers.put_nowait)
                cancel()
                with pytest.raises(SlipwayError, match="failed to poll from model repository"):
                    host.load_model("absent", None, {})

            await loop.run_in_executor(None, model)
            first, second, third = [await answers.get() for _ in range(3)]
            assert first.outputs[0].array.tolist() == [[1.0, 2.0]]
            assert second.error.message == "Request for unknown model: 'absent' is not found"
            assert third.error.code is Code.CANCELLED
            await loop.run_in_executor(None, host.unload_model, "m", False)

    run(scenario)


def test_a_model_on_the_event_loop_cannot_wait_for_the_server(tmp_path):
    async def scenario():
        async with explicit(tmp_path) as engine:
            with pytest.raises(SlipwayError, match="runs on the event loop"):
                EngineHost(engine.inside(""), engine.metrics).load_model("m", None, {})

    run(scenario)


def test_a_reloaded_model_leaves_nothing_behind(tmp_path):
    import gc

    from slipway.core.statistics import ModelStatistics
    from slipway.engine.model import ModelVersion

    path = identity(tmp_path, "m")

    def things(kind):
        gc.unfreeze()
        gc.collect()
        return [thing for thing in gc.get_objects() if type(thing) is kind]

    earlier = {kind: things(kind) for kind in (ModelVersion, ModelStatistics)}  # objects that earlier tests still hold

    def alive(kind):
        return len(things(kind)) - len(earlier[kind])

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            for turn in range(20):
                await answer(engine, "m")
                text = (path / "config.pbtxt").read_text()
                (path / "config.pbtxt").write_text(text + f"# {turn}\n")
                await engine.load_model("m", None, {})
            await engine._lifecycle._retirement.finished()
            assert alive(ModelVersion) == 1
            assert alive(ModelStatistics) == 1
            assert [family.name for family in engine.metrics.families()] == ["input_byte_size_counter"]
            await engine.unload_model("m", False)
            await until(lambda: rows(engine, "m") == ["1 UNAVAILABLE unloaded"])
            await engine._lifecycle._retirement.finished()
            assert alive(ModelVersion) == 0
            assert engine.metrics.families() == []

    run(scenario)
