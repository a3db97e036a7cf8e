import asyncio
import json

import pytest

from slipway.errors import Code
from tests.kits.engine import adder, answer, explicit, identity, onnx_file, refused, rows

ALL = json.dumps({"backend": "onnxruntime", "version_policy": {"all": {}}})


def run(scenario):
    asyncio.run(scenario())


def test_an_override_stays_in_force_until_the_model_is_unloaded(tmp_path):
    adder(tmp_path, "m", [1, 2])

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            await engine.load_model("m", ALL, {})
            assert engine.model_metadata("m", "").versions == ("1", "2")
            await engine.load_model("m", None, {})
            assert engine.model_metadata("m", "").versions == ("1", "2")
            await engine.unload_model("m", False)
            await engine.load_model("m", None, {})
            assert engine.model_metadata("m", "").versions == ("2",)

    run(scenario)


def test_a_change_in_the_repository_ends_an_override(tmp_path):
    adder(tmp_path, "m", [1, 2])

    async def scenario():
        async with explicit(tmp_path) as engine:
            await engine.load_model("m", ALL, {})
            adder(tmp_path, "m", [3])
            await engine.load_model("m", None, {})
            assert engine.model_metadata("m", "").versions == ("3",)

    run(scenario)


@pytest.mark.parametrize("config", ["{nope", '{"bogus": 1}', '{"name": "other"}', '{"max_batch_size": "x"}'])
def test_a_bad_override_is_refused_and_changes_nothing(tmp_path, config):
    adder(tmp_path, "m", [1])

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            with refused(Code.INTERNAL, "failed to load 'm', failed to poll from model repository"):
                await engine.load_model("m", config, {})
            assert await answer(engine, "m") == [2.0, 3.0]

    run(scenario)


def test_files_replace_the_models_directory_until_the_repository_copy_is_loaded(tmp_path):
    repository = tmp_path / "repository"
    adder(repository, "m", [1])
    onnx_file(tmp_path / "elsewhere.onnx", add=5)
    files = {"7/model.onnx": (tmp_path / "elsewhere.onnx").read_bytes()}
    config = json.dumps({"backend": "onnxruntime"})

    async def scenario():
        async with explicit(repository, load_model=("m",), allow_model_upload=True) as engine:
            await engine.load_model("m", config, files)
            assert engine.model_metadata("m", "").versions == ("7",)
            assert await answer(engine, "m") == [6.0, 7.0]
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [2.0, 3.0]

    run(scenario)


def test_a_model_may_come_entirely_with_the_request_and_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "repository").mkdir()
    onnx_file(tmp_path / "elsewhere.onnx", add=5)
    files = {"1/model.onnx": (tmp_path / "elsewhere.onnx").read_bytes()}
    config = json.dumps({"backend": "onnxruntime"})

    async def scenario():
        async with explicit(tmp_path / "repository", allow_model_upload=True) as engine:
            await engine.load_model("fresh", config, files)
            assert rows(engine, "fresh") == ["1 READY"]
            with refused(Code.INTERNAL, "failed to load 'fresh', failed to poll from model repository"):
                await engine.load_model("fresh", None, {})
            assert await answer(engine, "fresh") == [6.0, 7.0]
            for bad in ({"../1/model.onnx": b""}, {"1/model.onnx": b"", "x" * 300: b""}):
                with refused(Code.INTERNAL, "failed to load 'fresh', failed to poll from model repository"):
                    await engine.load_model("fresh", config, bad)
            with refused(Code.INTERNAL, "failed to load 'fresh', failed to poll from model repository"):
                await engine.load_model("fresh", None, files)
            with pytest.raises(Exception, match="version 1 is at UNAVAILABLE state"):
                await engine.load_model("fresh", config, {"1/model.onnx": b"not a model"})
            assert await answer(engine, "fresh") == [6.0, 7.0]
            await engine.load_model("fresh", config, files)
            await engine.unload_model("fresh", False)

    run(scenario)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_client_may_not_send_files_unless_the_server_allows_it_and_the_reason_is_in_the_log(tmp_path, caplog):
    adder(tmp_path, "m", [1])
    files = {"1/model.onnx": b"anything"}

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            for name in ("m", "fresh"):
                with refused(Code.INTERNAL, f"failed to load '{name}', failed to poll from model repository"):
                    await engine.load_model(name, json.dumps({"backend": "onnxruntime"}), files)
            assert await answer(engine, "m") == [2.0, 3.0]
            assert rows(engine, "fresh") == []

    run(scenario)
    assert "failed to poll model 'm': loading files that clients send needs --allow-model-upload" in caplog.text


def test_a_custom_config_stands_in_for_the_models_own(tmp_path):
    path = identity(tmp_path, "m", versions=(1, 2))
    text = (path / "config.pbtxt").read_text()
    (path / "configs").mkdir()
    (path / "configs" / "h100.pbtxt").write_text(text + "version_policy { all { } }")

    async def scenario():
        async with explicit(tmp_path, load_model=("m",), model_config_name="h100") as engine:
            assert engine.model_metadata("m", "").versions == ("1", "2")
        async with explicit(tmp_path, load_model=("m",), model_config_name="a100") as engine:
            assert engine.model_metadata("m", "").versions == ("2",)

    run(scenario)
