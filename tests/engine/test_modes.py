import asyncio
import logging
import shutil

import pytest

from slipway.errors import Code
from tests.kits.engine import (
    adder,
    answer,
    ensemble,
    explicit,
    identity,
    onnx_file,
    refused,
    rows,
    serving,
    touch,
    until,
)


def run(scenario):
    asyncio.run(scenario())


def polling(repository):
    """Run an engine in mode `poll` whose timer never fires: the tests poll themselves."""
    return serving(repository, model_control_mode="poll", repository_poll_secs=3600)


def test_mode_none_loads_everything_once(tmp_path):
    identity(tmp_path, "a")
    identity(tmp_path, "b")

    async def scenario():
        async with serving(tmp_path) as engine:
            assert (engine.failed, engine.ready(), engine.live()) == ({}, True, True)
            assert rows(engine, "a") == rows(engine, "b") == ["1 READY"]

    run(scenario)


def test_a_folder_that_is_not_a_model_is_named_in_the_log_and_fails_nothing(tmp_path, caplog):
    identity(tmp_path, "good", versions=("1", "02", "backup"))
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "model ").mkdir()
    (tmp_path / "README.md").write_text("")

    async def scenario():
        with caplog.at_level(logging.WARNING, "slipway.engine"):
            async with serving(tmp_path) as engine:
                assert (engine.failed, engine.ready()) == ({}, True)
                assert [entry.name for entry in engine.repository_index(ready_only=False)] == ["good"]

    run(scenario)
    for name in ("'.ipynb_checkpoints'", "'model '", "version directory '02'", "version directory 'backup'"):
        assert name in caplog.text


def test_a_path_that_is_one_models_directory_is_served_with_one_warning(tmp_path, caplog):
    identity(tmp_path, "m")

    async def scenario():
        async with serving(tmp_path / "m") as engine:
            assert await answer(engine, "m") == [1.0, 2.0]

    run(scenario)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_a_model_in_two_repositories_is_not_unique_and_the_others_serve(tmp_path):
    identity(tmp_path / "one", "m")
    identity(tmp_path / "two", "m")
    identity(tmp_path / "two", "n")

    async def scenario():
        async with serving(tmp_path / "one", tmp_path / "two") as engine:
            assert {name: failure.detail for name, failure in engine.failed.items()} == {
                "m": "not unique across all model repositories"
            }
            assert rows(engine, "m") == ["UNAVAILABLE model appears in two or more repositories"]
            assert await answer(engine, "n") == [1.0, 2.0]
        async with explicit(tmp_path / "one", tmp_path / "two") as engine:
            with refused(Code.INTERNAL, "failed to load 'm', failed to poll from model repository"):
                await engine.load_model("m", None, {})

    run(scenario)


def test_a_model_that_fails_at_start_makes_the_server_unready_but_not_the_others(tmp_path):
    adder(tmp_path, "good", [1])
    adder(tmp_path, "bad", [1])
    (tmp_path / "bad" / "1" / "model.onnx").write_bytes(b"no")

    async def scenario():
        async with serving(tmp_path) as engine:
            assert list(engine.failed) == ["bad"]
            assert not engine.ready()
            assert await answer(engine, "good") == [2.0, 3.0]
        async with serving(tmp_path, strict_readiness=False) as engine:
            assert engine.ready()

    run(scenario)


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_clients_may_not_load_and_unload_unless_the_mode_is_explicit(tmp_path, mode):
    identity(tmp_path, "m")

    async def scenario():
        async with serving(tmp_path, model_control_mode=mode, repository_poll_secs=3600) as engine:
            text = "explicit model load / unload is not allowed if polling is enabled"
            with refused(Code.UNAVAILABLE, text):
                await engine.load_model("m", None, {})
            with refused(Code.UNAVAILABLE, text):
                await engine.unload_model("m", False)

    run(scenario)


def test_mode_explicit_loads_only_requested_models(tmp_path):
    for name in ("a", "b", "c"):
        identity(tmp_path, name)

    async def scenario():
        async with explicit(tmp_path) as engine:
            assert engine.repository_index(ready_only=True) == []
        async with explicit(tmp_path, load_model=("a", "c", "absent")) as engine:
            assert [entry.name for entry in engine.repository_index(ready_only=True)] == ["a", "c"]
            assert engine.failed["absent"].detail == "model not found in any model repository."
        async with explicit(tmp_path, load_model=("*",)) as engine:
            assert [entry.name for entry in engine.repository_index(ready_only=True)] == ["a", "b", "c"]

    run(scenario)


def test_polling_follows_the_repository(tmp_path):
    adder(tmp_path, "kept", [1])
    adder(tmp_path, "removed", [1])

    async def scenario():
        async with polling(tmp_path) as engine:
            poll = engine._control.poll
            adder(tmp_path, "added", [1])
            adder(tmp_path, "kept", [2])
            shutil.rmtree(tmp_path / "removed")
            assert await poll() == {}
            assert await answer(engine, "added") == [2.0, 3.0]
            assert await answer(engine, "kept") == [3.0, 4.0]
            await until(lambda: rows(engine, "kept") == ["1 UNAVAILABLE unloaded", "2 READY"])
            assert rows(engine, "removed") == []
            with refused(Code.NOT_FOUND, "Request for unknown model: 'removed' is not found"):
                await answer(engine, "removed")
            shutil.rmtree(tmp_path / "kept" / "2")
            await poll()
            assert await answer(engine, "kept") == [2.0, 3.0]
            (tmp_path / "kept" / "config.pbtxt").write_text("max_batch_size: 2")
            await poll()
            assert engine.model_config("kept", "").max_batch_size == 2

    run(scenario)


def test_polling_recovers_after_an_error_and_keeps_the_old_version_meanwhile(tmp_path):
    path = adder(tmp_path, "m", [1])

    async def scenario():
        async with polling(tmp_path) as engine:
            poll = engine._control.poll
            (path / "1" / "model.onnx").write_bytes(b"half a mod")
            assert list(map(str, await poll())) == ["m"]
            assert await answer(engine, "m") == [2.0, 3.0]
            assert await poll() == {}
            (path / "config.pbtxt").write_text("not a config")
            assert list(map(str, await poll())) == ["m"]
            onnx_file(path / "1" / "model.onnx", add=5)
            touch(path / "1" / "model.onnx", 1)
            (path / "config.pbtxt").unlink()
            assert await poll() == {}
            assert await answer(engine, "m") == [6.0, 7.0]

    run(scenario)


def test_a_directory_that_is_being_copied_breaks_nothing(tmp_path):
    adder(tmp_path / "source", "m", [1])
    adder(tmp_path / "repository", "other", [1])
    repository = tmp_path / "repository"

    async def scenario():
        async with polling(repository) as engine:
            poll = engine._control.poll
            (repository / "m").mkdir()
            assert await poll() == {}
            (repository / "m" / "1").mkdir()
            assert list(map(str, await poll())) == ["m"]
            whole = (tmp_path / "source" / "m" / "1" / "model.onnx").read_bytes()
            (repository / "m" / "1" / "model.onnx").write_bytes(whole[: len(whole) // 2])
            assert list(map(str, await poll())) == ["m"]
            assert await answer(engine, "other") == [2.0, 3.0]
            (repository / "m" / "1" / "model.onnx").write_bytes(whole)
            assert await poll() == {}
            assert await answer(engine, "m") == [2.0, 3.0]

    run(scenario)


def test_a_repository_that_cannot_be_read_for_a_while_unloads_nothing(tmp_path):
    identity(tmp_path / "repository", "m")

    async def scenario():
        async with polling(tmp_path / "repository") as engine:
            (tmp_path / "repository").rename(tmp_path / "away")
            assert await engine._control.poll() == {}
            assert await answer(engine, "m") == [1.0, 2.0]
            (tmp_path / "away").rename(tmp_path / "repository")
            await engine._control.poll()
            assert rows(engine, "m") == ["1 READY"]

    run(scenario)


def test_polling_loads_an_ensemble_as_soon_as_its_models_are_there(tmp_path):
    identity(tmp_path, "a")
    ensemble(tmp_path, "e", "a", "b")

    async def scenario():
        async with polling(tmp_path) as engine:
            assert list(engine.failed) == ["b", "e"]
            identity(tmp_path, "b")
            assert await engine._control.poll() == {}
            assert await answer(engine, "e") == [1.0, 2.0]

    run(scenario)


def test_polling_happens_by_itself(tmp_path):
    identity(tmp_path, "a")

    async def scenario():
        async with serving(tmp_path, model_control_mode="poll", repository_poll_secs=1) as engine:
            identity(tmp_path, "b")
            await until(lambda: rows(engine, "b") == ["1 READY"])

    run(scenario)
