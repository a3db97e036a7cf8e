"""Models from a real S3 service, with a proxy in between that disturbs the transfers."""

import asyncio
import logging
import sys
from itertools import count

import pytest

from slipway.config.remote_location import read_location
from slipway.errors import Code, SlipwayError
from tests.kits import web_services
from tests.kits.engine import adder, answer, ensemble, identity, refused, rows, serving
from tests.kits.s3_service import SECRET, VARIABLES, Bucket, s3_service
from tests.kits.web_services import proxy_of

NUMBERS = count(1)


@pytest.fixture(scope="module")
def service():
    with s3_service() as address:
        yield address


@pytest.fixture
def proxy(service):
    with proxy_of(service) as proxy:
        yield proxy


@pytest.fixture
def bucket(service, monkeypatch, tmp_path):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Bucket(service, f"bucket-{next(NUMBERS)}")


def run(scenario):
    asyncio.run(scenario())


def remote(proxy, bucket, *directories, **options):
    """Run an engine on the bucket's folder `models`, through the proxy."""
    location = read_location(f"s3://http://{proxy.address}/{bucket.name}/models")
    return serving(*directories, remote_repositories=(location,), **options)


def polling(proxy, bucket, *directories, **options):
    return remote(proxy, bucket, *directories, model_control_mode="poll", repository_poll_secs=3600, **options)


def of_ours(caplog):
    """Return the server's warnings and errors: moto runs in the same process."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("slipway") and record.levelno > logging.INFO
    ]


def fetched(proxy, bucket):
    """Return the keys that were read since the last call, sorted."""
    prefix = f"/{bucket.name}/models/"
    paths = [asked.path.partition("?")[0] for asked in proxy.asked if asked.method == "GET"]
    proxy.asked.clear()
    return sorted(path.removeprefix(prefix) for path in paths if path.startswith(prefix))


def test_models_are_copied_once_and_served(proxy, bucket, tmp_path):
    adder(tmp_path / "source", "sum", [1, 2], config="version_policy { all { } }")
    identity(tmp_path / "source", "same")
    ensemble(tmp_path / "source", "both", "sum", "same")
    bucket.put_tree(tmp_path / "source", "models")
    bucket.put("models/README.md", b"not a model")
    bucket.put("other/bad/config.pbtxt", b"not here")

    async def scenario():
        async with remote(proxy, bucket) as engine:
            assert (engine.failed, engine.ready()) == ({}, True)
            assert await answer(engine, "sum") == [3.0, 4.0]
            assert await answer(engine, "same") == [1.0, 2.0]
            assert await answer(engine, "both") == [3.0, 4.0]
            assert rows(engine, "sum") == ["1 READY", "2 READY"]
        first = fetched(proxy, bucket)
        assert first == [
            "both/config.pbtxt",
            "same/config.pbtxt",
            "sum/1/model.onnx",
            "sum/2/model.onnx",
            "sum/config.pbtxt",
        ]
        async with remote(proxy, bucket) as engine:
            assert await answer(engine, "sum") == [3.0, 4.0]
        assert fetched(proxy, bucket) == []

    run(scenario)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (web_services.failing, "Internal Server Error"),
        (web_services.half, "Response payload is not completed"),
        (web_services.short, "bytes, but"),
        (web_services.longer, "are listed for it"),
        (web_services.damaged, "checksum"),
    ],
)
def test_a_transfer_that_fails_costs_only_its_model(proxy, bucket, tmp_path, change, reason):
    adder(tmp_path / "source", "bad", [1])
    adder(tmp_path / "source", "good", [1])
    bucket.put_tree(tmp_path / "source", "models")
    proxy.changes["/bad/1/model.onnx"] = change

    async def scenario():
        async with remote(proxy, bucket) as engine:
            assert list(engine.failed) == ["bad"]
            detail = engine.failed["bad"].detail
            assert "bad/1/model.onnx" in detail
            assert reason in detail
            assert await answer(engine, "good") == [2.0, 3.0]
            assert [entry.name for entry in engine.repository_index(ready_only=False)] == ["bad", "good"]
            directory = engine._repositories.mirrors[0].directory("bad")
            assert not directory.exists()

    run(scenario)


@pytest.mark.parametrize("change", [web_services.failing, web_services.nonsense])
def test_a_repository_that_cannot_be_listed_ends_the_start(proxy, bucket, tmp_path, change):
    identity(tmp_path / "source", "m")
    bucket.put_tree(tmp_path / "source", "models")
    proxy.changes["list-type=2"] = change

    async def scenario():
        with pytest.raises(SlipwayError) as caught:
            async with remote(proxy, bucket):
                pass
        assert caught.value.code is Code.INTERNAL
        assert f"listing s3://http://{proxy.address}/{bucket.name}/models" in caught.value.message
        async with polling(proxy, bucket, exit_on_error=False) as engine:
            assert engine.repository_index(ready_only=False) == []
            assert (engine.live(), engine.ready()) == (True, False)
            proxy.changes.clear()
            assert await engine._control.poll() == {}
            assert engine.ready()
            proxy.changes["list-type=2"] = change
            await engine._control.poll()
            assert engine.ready()  # what serves goes on

    run(scenario)


def test_a_path_without_objects_and_a_bucket_that_is_not_there_end_the_start(proxy, bucket):
    async def scenario():
        for name, reason in ((bucket.name, "there is nothing at"), ("no-such-bucket", "does not exist")):
            location = read_location(f"s3://http://{proxy.address}/{name}/models")
            with pytest.raises(SlipwayError, match=reason):
                async with serving(remote_repositories=(location,)):
                    pass

    run(scenario)


def test_polling_copies_what_changed_and_nothing_else(proxy, bucket, tmp_path):
    adder(tmp_path / "source", "kept", [1, 2], config="version_policy { all { } }")
    adder(tmp_path / "source", "removed", [1])
    bucket.put_tree(tmp_path / "source", "models")

    async def scenario():
        async with polling(proxy, bucket) as engine:
            poll = engine._control.poll
            fetched(proxy, bucket)
            assert await poll() == {}
            assert fetched(proxy, bucket) == []
            adder(tmp_path / "more", "kept", [3])
            adder(tmp_path / "more", "added", [1])
            bucket.put_tree(tmp_path / "more", "models")
            bucket.delete("models/removed/1/model.onnx", "models/kept/1/model.onnx")
            assert await poll() == {}
            assert fetched(proxy, bucket) == ["added/1/model.onnx", "kept/3/model.onnx"]
            assert await answer(engine, "kept") == [4.0, 5.0]
            assert await answer(engine, "added") == [2.0, 3.0]
            with refused(Code.NOT_FOUND, "Request for unknown model: 'removed' is not found"):
                await answer(engine, "removed")
            assert await answer(engine, "kept", "2") == [3.0, 4.0]
            copy = engine._repositories.mirrors[0].directory("kept")
            assert sorted(path.name for path in copy.iterdir()) == ["2", "3", "config.pbtxt"]

    run(scenario)


def test_polling_goes_on_after_failures_and_repeats_the_transfer(proxy, bucket, tmp_path, caplog):
    adder(tmp_path / "source", "m", [1])
    bucket.put_tree(tmp_path / "source", "models")
    caplog.set_level(logging.INFO, "slipway")

    async def scenario():
        async with polling(proxy, bucket) as engine:
            poll = engine._control.poll
            adder(tmp_path / "more", "m", [2])
            bucket.put_tree(tmp_path / "more", "models")
            proxy.changes["/m/2/model.onnx"] = web_services.damaged
            assert list(map(str, await poll())) == ["m"]
            caplog.clear()
            assert await poll() == {}
            assert not of_ours(caplog)  # it was said once
            assert await answer(engine, "m") == [2.0, 3.0]
            proxy.changes.clear()
            assert await poll() == {}
            assert await answer(engine, "m") == [3.0, 4.0]
            proxy.changes["list-type=2"] = web_services.failing
            caplog.clear()
            assert await poll() == {}
            assert await poll() == {}
            assert len(of_ours(caplog)) == 1
            assert "cannot be read" in of_ours(caplog)[0]
            assert await answer(engine, "m") == [3.0, 4.0]
            proxy.changes.clear()
            bucket.delete("models/m/1/model.onnx", "models/m/2/model.onnx")
            assert await poll() == {}
            assert await answer(engine, "m") == [3.0, 4.0]  # an empty repository unloads nothing

    run(scenario)


def test_models_are_loaded_on_request_as_they_are_then(proxy, bucket, tmp_path):
    adder(tmp_path / "source", "a", [1])
    adder(tmp_path / "source", "b", [1])
    bucket.put_tree(tmp_path / "source", "models")

    async def scenario():
        async with remote(proxy, bucket, model_control_mode="explicit", load_model=("a",)) as engine:
            assert fetched(proxy, bucket) == ["a/1/model.onnx"]
            assert [entry.name for entry in engine.repository_index(ready_only=False)] == ["a", "b"]
            adder(tmp_path / "more", "a", [2])
            adder(tmp_path / "more", "c", [1])
            bucket.put_tree(tmp_path / "more", "models")
            await engine.load_model("a", None, {})
            await engine.load_model("c", None, {})
            assert fetched(proxy, bucket) == ["a/2/model.onnx", "c/1/model.onnx"]
            assert await answer(engine, "a") == [3.0, 4.0]
            assert {entry.name for entry in engine.repository_index(ready_only=False)} == {"a", "b", "c"}
            with refused(Code.INTERNAL, "failed to load 'd', failed to poll from model repository"):
                await engine.load_model("d", None, {})
            proxy.changes["/b/1/model.onnx"] = web_services.failing
            with refused(Code.INTERNAL, "failed to load 'b', failed to poll from model repository"):
                await engine.load_model("b", None, {})
            proxy.changes.clear()
            await engine.load_model("b", None, {})
            assert await answer(engine, "b") == [2.0, 3.0]

    run(scenario)


def test_directories_serve_on_when_the_service_is_away(proxy, bucket, tmp_path):
    adder(tmp_path / "source", "shared", [1])
    adder(tmp_path / "source", "far", [1])
    bucket.put_tree(tmp_path / "source", "models")
    adder(tmp_path / "near", "shared", [1])
    adder(tmp_path / "near", "near", [1])

    async def scenario():
        async with remote(proxy, bucket, tmp_path / "near") as engine:
            assert {name: failure.detail for name, failure in engine.failed.items()} == {
                "shared": "not unique across all model repositories"
            }
            assert await answer(engine, "far") == await answer(engine, "near") == [2.0, 3.0]
        async with remote(proxy, bucket, tmp_path / "near", model_control_mode="explicit") as engine:
            proxy.changes["list-type=2"] = web_services.failing
            await engine.load_model("near", None, {})
            assert await answer(engine, "near") == [2.0, 3.0]
            with refused(Code.INTERNAL, "failed to load 'far', failed to poll from model repository"):
                await engine.load_model("far", None, {})

    run(scenario)


def test_names_that_would_leave_the_copy_fail_their_model_alone(proxy, bucket, tmp_path):
    adder(tmp_path / "source", "good", [1])
    adder(tmp_path / "source", "bad", [1])
    bucket.put_tree(tmp_path / "source", "models")

    def listed(reply):
        body = reply.body.replace(b"models/bad/1/model.onnx", b"models/bad/../../../../escaped")
        headers = {name: value for name, value in reply.headers.items() if name.lower() != "content-length"}
        return web_services.Reply(reply.status, headers, body)

    proxy.changes["list-type=2"] = listed

    async def scenario():
        async with remote(proxy, bucket) as engine:
            assert list(engine.failed) == ["bad"]
            assert "its name contains '.' or '..'" in engine.failed["bad"].detail
            assert await answer(engine, "good") == [2.0, 3.0]
        assert not any(path.name == "escaped" for path in tmp_path.rglob("*"))

    run(scenario)


def test_objects_in_parts_are_compared_by_their_tag(proxy, bucket, tmp_path):
    adder(tmp_path / "source", "m", [1])
    bucket.put_tree(tmp_path / "source", "models")
    bucket.put_parts("models/m/1/extra.bin", b"x" * (5 << 20), b"tail")

    async def scenario():
        async with remote(proxy, bucket) as engine:
            assert engine.failed == {}
            copy = engine._repositories.mirrors[0].directory("m") / "1" / "extra.bin"
            assert copy.read_bytes() == b"x" * (5 << 20) + b"tail"
        assert proxy.count("extra.bin", "HEAD") == 1

    run(scenario)


def test_credentials_never_reach_the_log(proxy, bucket, tmp_path, caplog):
    identity(tmp_path / "source", "m")
    bucket.put_tree(tmp_path / "source", "models")
    caplog.set_level(logging.DEBUG)

    def talkative(reply):
        text = f"<Error><Code>Denied</Code><Message>{SECRET} of {VARIABLES['AWS_ACCESS_KEY_ID']}</Message></Error>"
        return web_services.Reply(403, {"Content-Type": "application/xml"}, text.encode())

    proxy.changes["/m/config.pbtxt"] = talkative

    async def scenario():
        async with remote(proxy, bucket) as engine:
            assert "*** of ***" in engine.failed["m"].detail

    run(scenario)
    assert "config.pbtxt" in caplog.text
    assert SECRET not in caplog.text
    assert VARIABLES["AWS_ACCESS_KEY_ID"] not in caplog.text


def test_a_missing_library_is_named_with_the_command_that_installs_it(proxy, bucket, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)

    async def scenario():
        with pytest.raises(SlipwayError, match=r"need the package 's3fs': pip install .*cloud"):
            async with remote(proxy, bucket):
                pass

    run(scenario)
