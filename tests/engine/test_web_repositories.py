"""Models from a real web server that lists its directories, with a proxy in between that disturbs the transfers."""

import asyncio
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slipway.config.remote_location import read_location
from slipway.errors import Code, SlipwayError
from tests.kits import web_services
from tests.kits.engine import adder, answer, ensemble, identity, refused, serving, touch
from tests.kits.web_services import Reply, proxy_of

pytest.importorskip("aiohttp", reason="the extra 'cloud' is not installed")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "site" / "my models").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with proxy_of(f"127.0.0.1:{server.server_port}") as proxy:
        yield proxy
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def models(tmp_path):
    return tmp_path / "site" / "my models"


def run(scenario):
    asyncio.run(scenario())


def remote(proxy, **options):
    """Run an engine on what the server has in `my models`."""
    location = read_location(f"http://{proxy.address}/my%20models/")
    return serving(remote_repositories=(location,), **options)


def test_models_are_found_by_the_links_of_the_pages(proxy, models):
    adder(models, "sum", [1, 2], config="version_policy { all { } }")
    identity(models, "with space")
    (models / "with space" / "1" / "100%.txt").write_text("odd")
    (models / "notes.txt").write_text("not a model")

    async def scenario():
        async with remote(proxy) as engine:
            assert engine.failed == {}
            assert await answer(engine, "sum", "1") == [2.0, 3.0]
            assert await answer(engine, "with space") == [1.0, 2.0]
            copy = engine._repositories.mirrors[0].directory("with space")
            assert (copy / "1" / "100%.txt").read_text() == "odd"
        proxy.asked.clear()
        async with remote(proxy) as engine:
            assert await answer(engine, "sum") == [3.0, 4.0]
        assert proxy.count("model.onnx") == 0

    run(scenario)


def test_polling_sees_changes_and_explicit_loads_list_anew(proxy, models):
    adder(models, "m", [1])

    async def scenario():
        async with remote(proxy, model_control_mode="poll", repository_poll_secs=3600) as engine:
            poll = engine._control.poll
            adder(models, "m", [2])
            adder(models, "n", [1])
            proxy.asked.clear()
            assert await poll() == {}
            assert await answer(engine, "m") == [3.0, 4.0]
            assert await answer(engine, "n") == [2.0, 3.0]
            assert (proxy.count("m/1/model.onnx"), proxy.count("m/2/model.onnx")) == (0, 1)
        async with remote(proxy, model_control_mode="explicit") as engine:
            adder(models, "o", [1])
            await engine.load_model("o", None, {})
            assert await answer(engine, "o") == [2.0, 3.0]
            for name in ("p", "o%2f..", "..%2fo"):
                with refused(Code.INTERNAL, f"failed to load '{name}', failed to poll from model repository"):
                    await engine.load_model(name, None, {})

    run(scenario)


def changed_headers(**headers):
    return lambda reply: Reply(reply.status, reply.headers | headers, reply.body, reply.sent)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (web_services.failing, "500"),
        (web_services.half, ""),
        (web_services.short, "bytes, but"),
        (web_services.longer, "are listed for it"),
        (changed_headers(**{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}), "it does not have the MD5 checksum"),
    ],
)
def test_a_transfer_that_fails_costs_only_its_model(proxy, models, change, reason):
    adder(models, "bad", [1])
    adder(models, "good", [1])
    gets_only = change in (web_services.failing, web_services.half, web_services.short, web_services.longer)

    def only_content(reply):
        return change(reply) if reply.body or not gets_only else reply

    proxy.changes["bad/1/model.onnx"] = only_content

    async def scenario():
        async with remote(proxy) as engine:
            assert list(engine.failed) == ["bad"]
            assert "bad/1/model.onnx" in engine.failed["bad"].detail
            assert reason in engine.failed["bad"].detail
            assert await answer(engine, "good") == [2.0, 3.0]

    run(scenario)


def test_a_file_that_changes_while_it_is_copied_is_refused(proxy, models):
    path = adder(models, "m", [1]) / "1" / "model.onnx"

    def changing(reply):
        if reply.body:
            touch(path, 10**18)
        return reply

    proxy.changes["m/1/model.onnx"] = changing

    async def scenario():
        async with remote(proxy) as engine:
            assert "it was changed while it was copied" in engine.failed["m"].detail

    run(scenario)


def test_a_file_whose_size_the_server_does_not_report_is_refused(proxy, models):
    adder(models, "m", [1])
    proxy.changes["model.onnx"] = lambda reply: Reply(
        reply.status, {"Transfer-Encoding": "chunked"} if not reply.body else reply.headers, reply.body
    )

    async def scenario():
        async with remote(proxy) as engine:
            assert "its size is not known" in engine.failed["m"].detail

    run(scenario)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(404, {"Content-Type": "text/html"}, b"no"), "404"),
        (Reply(200, {"Content-Type": "application/octet-stream"}, b"bytes"), "is not a page that lists a directory"),
        (Reply(200, {"Content-Type": "text/html"}, b"<p>Welcome</p>"), "there is nothing at"),
        (Reply(200, {"Content-Type": "text/html"}, b'<a href="a/">a</a>'), "nested more than 16 levels deep"),
        (Reply(200, {"Content-Type": "text/html"}, b" " * (9 << 20)), "has more than 8 MiB"),
    ],
)
def test_a_page_that_is_not_a_listing_ends_the_start(proxy, models, reply, reason):
    proxy.changes["/my%20models/"] = lambda _: reply

    async def scenario():
        with pytest.raises(SlipwayError, match=reason):
            async with remote(proxy):
                pass

    run(scenario)


def test_a_remote_repository_is_a_namespace(proxy, models, tmp_path):
    adder(models, "sum", [1])
    adder(tmp_path / "local", "sum", [2])
    ensemble(models, "there", "sum")
    ensemble(tmp_path / "local", "here", "sum")
    location = read_location(f"http://{proxy.address}/my%20models/")
    options = {"remote_repositories": (location,), "model_namespacing": True}

    async def scenario():
        async with serving(tmp_path / "local", **options) as engine:
            assert engine.failed == {}
            assert [await answer(engine, name) for name in ("here", "there")] == [[3.0, 4.0], [2.0, 3.0]]
            spaces = {entry.namespace for entry in engine.repository_index(ready_only=True)}
            assert spaces == {str(tmp_path / "local"), location.text}
        async with serving(
            tmp_path / "local", model_control_mode="explicit", load_model=("there",), **options
        ) as engine:
            assert await answer(engine, "there") == [2.0, 3.0]
            assert [entry.state for entry in engine.repository_index(ready_only=False)] == [
                "",
                "READY",
                "READY",
                "READY",
            ]

    run(scenario)
