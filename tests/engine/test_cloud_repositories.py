"""Models from stand-ins for Google's and Azure's storage, through the real client libraries."""

import asyncio
from types import SimpleNamespace

import pytest

from slipway.config.remote_location import read_location
from slipway.errors import SlipwayError
from tests.kits import web_services
from tests.kits.cloud_fakes import (
    ACCOUNT,
    ACCOUNT_KEY,
    BUCKET,
    Contents,
    azure_storage,
    connection_string,
    google_storage,
)
from tests.kits.engine import adder, answer, identity, serving


@pytest.fixture
def contents():
    return Contents()


@pytest.fixture(params=["gs", "as"])
def service(request, contents, monkeypatch, tmp_path):
    """A service, with the location of the repository `models` in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=lambda _: asyncio.sleep(0)))
    for name in ("TRITON_CLOUD_CREDENTIAL_PATH", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_KEY"):
        monkeypatch.delenv(name, raising=False)
    make = google_storage if request.param == "gs" else azure_storage
    with make(contents) as running:
        if request.param == "gs":
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{running.address}")
            running.location = read_location(f"gs://{BUCKET}/models")
        else:
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string(running))
            running.location = read_location(f"as://{ACCOUNT}/{BUCKET}/models")
        yield running


def put_tree(contents, directory):
    for path in directory.rglob("*"):
        key = f"models/{path.relative_to(directory).as_posix()}"
        if path.is_file():
            contents[key] = path.read_bytes()


def polling(service, **options):
    return serving(
        remote_repositories=(service.location,), model_control_mode="poll", repository_poll_secs=3600, **options
    )


def run(scenario):
    asyncio.run(scenario())


def test_models_are_served_and_followed(service, contents, tmp_path):
    adder(tmp_path / "source", "sum", [1])
    identity(tmp_path / "source", "same")
    (tmp_path / "source" / "same" / "1" / "empty").write_bytes(b"")
    put_tree(contents, tmp_path / "source")
    contents.composite = {"models/sum/1/model.onnx"}
    contents["models/bare/config.pbtxt"] = contents["models/same/config.pbtxt"]
    contents["models/bare/1/"] = contents["models/sum/1/"] = contents["models/"] = b""

    async def scenario():
        async with polling(service) as engine:
            assert engine.failed == {}
            assert await answer(engine, "sum") == [2.0, 3.0]
            assert await answer(engine, "same") == await answer(engine, "bare") == [1.0, 2.0]
            adder(tmp_path / "more", "sum", [2])
            put_tree(contents, tmp_path / "more")
            del contents["models/same/config.pbtxt"], contents["models/same/1/empty"]
            service.asked.clear()
            assert await engine._control.poll() == {}
            assert await answer(engine, "sum") == [3.0, 4.0]
            assert [entry.name for entry in engine.repository_index(ready_only=True)] == ["bare", "sum"]
            assert service.count("model.onnx") + service.count("model%2Eonnx") == service.count("2/model.onnx") + (
                service.count("2%2Fmodel.onnx")
            )

    run(scenario)


@pytest.mark.parametrize("change", [web_services.half, web_services.damaged])
def test_a_transfer_that_fails_costs_only_its_model(service, contents, tmp_path, change):
    adder(tmp_path / "source", "bad", [1])
    adder(tmp_path / "source", "good", [1])
    put_tree(contents, tmp_path / "source")

    def content_only(reply):
        is_content = reply.headers.get("Content-Type") == "application/octet-stream" and reply.body
        return change(reply) if is_content else reply

    service.changes["bad"] = content_only

    async def scenario():
        async with polling(service) as engine:
            assert list(engine.failed) == ["bad"]
            assert "bad/1/model.onnx" in engine.failed["bad"].detail
            assert await answer(engine, "good") == [2.0, 3.0]

    run(scenario)


def test_a_service_that_refuses_is_named_without_its_key(service, contents, caplog):
    contents["models/m/config.pbtxt"] = b""
    body = f"not with {ACCOUNT_KEY}".encode()
    service.changes[BUCKET] = lambda _: web_services.Reply(403, {"Content-Type": "text/plain"}, body)

    async def scenario():
        with pytest.raises(SlipwayError) as caught:
            async with polling(service):
                pass
        assert service.location.text in caught.value.message
        assert ACCOUNT_KEY not in caught.value.message or service.location.scheme == "gs"

    run(scenario)
    if service.location.scheme == "as":
        assert ACCOUNT_KEY not in caplog.text
