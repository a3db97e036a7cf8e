"""Both clients against a real server, over gRPC and HTTP: results, errors, streams, deadlines, retries, threads."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event, Thread

import numpy as np
import pytest

import slipway
from slipway import Code, SlipwayError
from tests.kits.certificates import write_certificates
from tests.program.bound_models import Recorded, bind_all


@pytest.fixture(scope="module")
def recorded():
    return Recorded()


@pytest.fixture(scope="module")
def server(recorded):
    server = slipway.Server(http_port=0, grpc_port=0, allow_metrics=False, model_control_mode="explicit")
    bind_all(server, recorded)
    with server:
        yield server


@pytest.fixture(scope="module", params=["grpc", "http"])
def url(request, server):
    return server.grpc_url if request.param == "grpc" else server.http_url


@pytest.fixture(scope="module")
def client(url):
    with slipway.Client(url, timeout=60) as client:
        yield client


def row(*values):
    return np.array([values], np.float32)


def test_arrays_go_in_and_come_out(client):
    result = client.infer("double", {"INPUT0": row(1, 2)}, request_id="7")
    assert result["OUTPUT0"].tolist() == [[2, 4]]
    assert (result.model, result.version, result.id) == ("double", "1", "7")


def test_a_header_of_bytes_is_sent_as_its_text(url):
    with slipway.Client(url, timeout=60, headers={"X-Mark-Bin": "seven"}) as client:
        assert client.infer("double", {"INPUT0": row(1)})["OUTPUT0"].tolist() == [[2]]


def test_lists_and_texts_become_what_the_model_declares(client):
    assert client.infer("double", {"INPUT0": [[1, 2], [3, 4]]})["OUTPUT0"].tolist() == [[2, 4], [6, 8]]
    assert client.infer("upper", {"text": ["a", "b"], "suffix": ["!", "?"]}).texts() == ["A!", "B?"]
    assert client.infer("upper", {"text": "ä"}, outputs=["output"]).texts("output") == ["Ä"]


def test_texts_go_to_the_only_string_input(client):
    with pytest.raises(SlipwayError, match="model 'upper' has 2 string inputs"):
        client.infer_text("upper", ["a"])


def test_a_large_tensor_keeps_every_value(client):
    values = np.random.default_rng(0).random((2, 300_000), np.float32)
    assert np.array_equal(client.infer("double", {"INPUT0": values})["OUTPUT0"], 2 * values)


def test_parameters_go_both_ways(client):
    result = client.infer("parametrised", {"x": row(1)}, parameters={"user": "u", "n": 3})
    assert result.parameters == {"user": "u", "n": 3, "rows": 1, "model": "parametrised"}


@pytest.mark.parametrize(
    ("model", "inputs", "code", "text"),
    [
        ("absent", {"x": row(1)}, Code.NOT_FOUND, "unknown model: 'absent'"),
        ("double", {"INPUT1": row(1)}, Code.INVALID_ARG, "INPUT1"),
        ("double", {"INPUT1": [1]}, Code.INVALID_ARG, "has no input 'INPUT1'; did you mean 'INPUT0'?"),
        ("double", {"INPUT0": row(1).astype(np.float64)}, Code.INVALID_ARG, "FP64"),
        ("wrong", {"x": row(1)[0]}, Code.INTERNAL, "returned output 'output' as FP64"),
        ("", {}, Code.INVALID_ARG, ""),
    ],
)
def test_errors_have_the_servers_code_and_text(client, model, inputs, code, text):
    with pytest.raises(SlipwayError) as caught:
        client.infer(model, inputs)
    assert caught.value.code is code
    assert text in caught.value.message


def test_an_unknown_option_is_refused_with_the_nearest_name(client):
    with pytest.raises(SlipwayError, match="a request has no option 'verson'; did you mean 'version'"):
        client.infer("double", {}, verson="1")
    with pytest.raises(SlipwayError, match="a client has no option 'header'; did you mean 'headers'"):
        slipway.Client("localhost:1", header={})


def test_a_stream_yields_responses_until_the_last(client):
    assert [result["i"].item() for result in client.stream("count", {"n": 4})] == [0, 1, 2, 3]
    assert list(client.stream("count", {"n": 0})) == []


def test_an_error_in_a_stream_comes_after_its_responses(client):
    stream = client.stream("count", {"n": 3})
    assert [next(stream)["i"].item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SlipwayError, match="model 'count' raised ValueError: three is too many"):
        next(stream)


def test_a_closed_stream_is_cancelled_at_the_server(client, recorded):
    recorded.stopped.clear()
    with closing(client.stream("endless", {"n": 1})) as stream:
        assert next(stream)["output"].item() == 1
    assert recorded.stopped.wait(60)


def test_a_deadline_ends_a_call_and_cancels_it(client, recorded):
    recorded.waits.clear()
    recorded.cancelled.clear()
    for seconds in (0.5, 5, 50):  # a busy machine may need longer to take the request up
        with pytest.raises(SlipwayError, match=r"does not answer within") as caught:
            client.infer("waits_forever", {"x": row(1)[0]}, timeout=seconds)
        assert caught.value.code is Code.UNAVAILABLE
        if recorded.waits.is_set():
            break
    assert recorded.cancelled.wait(60)
    assert client.infer("double", {"INPUT0": row(1)})["OUTPUT0"].tolist() == [[2]]


def test_a_deadline_ends_a_stream(client):
    with pytest.raises(SlipwayError, match="does not answer within"):
        for _ in client.stream("endless", {"n": 1}, timeout=0.5):
            pass


def test_threads_share_a_client(client):
    def ask(value):
        return client.infer("double", {"INPUT0": row(value)})["OUTPUT0"].item()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(64))) == [2 * value for value in range(64)]


def test_the_server_and_its_models_are_described(client):
    assert client.is_live()
    assert client.is_ready()
    assert client.is_ready("double", "1")
    assert not client.is_ready("absent")
    client.wait_ready("double", timeout=5)
    assert client.server_info().name == "triton"
    info = client.model_info("double")
    assert (info.name, info.versions, info.platform) == ("double", ("1",), "function")
    assert info.inputs == (slipway.TensorInfo("INPUT0", "FP32", (-1, -1)),)
    config = client.model_config("double")
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (8, [-1])
    assert client.statistics("double")[0]["name"] == "double"
    assert slipway.IndexRow("later", "2", "READY") in client.index(ready_only=True)


def test_models_are_loaded_and_unloaded(client):
    client.unload("Scaler")
    assert not client.is_ready("Scaler")
    client.load("Scaler")
    assert client.is_ready("Scaler")
    with pytest.raises(SlipwayError, match="failed to load 'absent'"):
        client.load("absent")


def test_a_closed_client_says_so(url):
    client = slipway.Client(url)
    assert client.is_live()
    client.close()
    client.close()
    with pytest.raises(SlipwayError, match="the client is closed"):
        client.infer("double", {"INPUT0": row(1)}, timeout=5)


def run(url, use):
    """Run `use(client)` with an `AsyncClient`."""

    async def live():
        async with slipway.AsyncClient(url, timeout=60) as client:
            return await use(client)

    return asyncio.run(live())


def test_asyncio_has_the_same_results(url):
    async def use(client):
        answers = await asyncio.gather(*(client.infer("double", {"INPUT0": row(value)}) for value in range(32)))
        assert [answer["OUTPUT0"].item() for answer in answers] == [2 * value for value in range(32)]
        assert (await client.infer("upper", {"text": ["a", "b"]})).texts() == ["A", "B"]
        assert [result["i"].item() async for result in client.stream("count", {"n": 4})] == [0, 1, 2, 3]
        assert await client.is_ready("double")
        assert (await client.model_info("upper")).inputs[0].name == "text"
        assert (await client.index())[0].name
        with pytest.raises(SlipwayError, match="unknown model"):
            await client.infer("absent", {"x": row(1)})
        with pytest.raises(SlipwayError, match="three is too many"):
            async for _ in client.stream("count", {"n": 3}):
                pass

    run(url, use)


def test_a_cancelled_task_cancels_its_request(url, recorded):
    recorded.waits.clear()
    recorded.cancelled.clear()

    async def use(client):
        call = asyncio.create_task(client.infer("waits_forever", {"x": row(1)[0]}))
        assert await asyncio.to_thread(recorded.waits.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(recorded.cancelled.wait, 60)
        assert (await client.infer("double", {"INPUT0": row(1)}))["OUTPUT0"].item() == 2

    run(url, use)


def test_a_closed_stream_of_asyncio_is_cancelled_at_the_server(url, recorded):
    recorded.stopped.clear()

    async def use(client):
        stream = client.stream("endless", {"n": 1})
        assert (await anext(stream))["output"].item() == 1
        await stream.aclose()
        assert await asyncio.to_thread(recorded.stopped.wait, 60)

    run(url, use)


# Servers that are away, or are not there yet


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_server_that_is_away_is_unavailable(scheme, free_port):
    with slipway.Client(f"{scheme}127.0.0.1:{free_port}", timeout=5, retries=1) as client:
        assert not client.is_live()
        with pytest.raises(SlipwayError) as caught:
            client.infer("m", {"x": row(1)})
        assert caught.value.code is Code.UNAVAILABLE
        assert str(free_port) in caught.value.message

    async def use():
        async with slipway.AsyncClient(f"{scheme}127.0.0.1:{free_port}", timeout=5, retries=1) as client:
            assert not await client.is_live()
            with pytest.raises(SlipwayError, match=str(free_port)):
                await client.infer("m", {"x": row(1)})

    asyncio.run(use())


def test_a_request_is_sent_again_until_the_server_is_there(free_port):
    waiting = Event()

    def ask():
        with slipway.Client(f"http://127.0.0.1:{free_port}", retries=100, timeout=120) as client:
            waiting.set()
            answers.append(client.infer_text("shout", "a").texts())

    answers = []
    thread = Thread(target=ask)
    thread.start()
    assert waiting.wait(60)
    server = slipway.Server(http_port=free_port, allow_grpc=False, allow_metrics=False)
    text = slipway.TensorType(str, name="text")
    server.model(name="shout", inputs=[text], outputs=[slipway.TensorType(str)], max_batch_size=4)(
        lambda text: [each.upper() for each in text]
    )
    with server:
        thread.join(120)
    assert answers == [["A"]]


def test_an_idle_connection_that_the_server_closed_is_replaced(free_port):
    text = slipway.TensorType(str, name="text")
    server = slipway.Server(http_port=free_port, allow_grpc=False, allow_metrics=False)
    server.model(name="echo", inputs=[text], outputs=[slipway.TensorType(str)], max_batch_size=4)(lambda text: text)
    with slipway.Client(f"http://127.0.0.1:{free_port}", retries=0) as client:
        for _ in range(2):
            with server:
                assert client.infer_text("echo", ["a", "b"]).texts() == ["a", "b"]


def test_connections_are_encrypted_and_carry_the_api_key(tmp_path):
    files = write_certificates(tmp_path)
    encrypted = {"server_cert": files / "server.pem", "server_key": files / "server.key", "use_ssl": True}
    server = slipway.Server(
        http_port=0,
        grpc_port=0,
        allow_metrics=False,
        api_key="secret",
        **{f"{front}_{name}": value for front in ("http", "grpc") for name, value in encrypted.items()},
    )
    text = slipway.TensorType(str, name="text")
    server.model(name="echo", inputs=[text], outputs=[slipway.TensorType(str)], max_batch_size=4)(lambda text: text)

    async def ask(url):
        async with slipway.AsyncClient(url, ca_certificate=files / "ca.pem", api_key="secret", timeout=20) as client:
            return (await client.infer_text("echo", "a")).texts()

    with server:
        for url in (server.http_url, server.grpc_url):
            named = url.replace("127.0.0.1", "localhost")  # as the certificate
            with slipway.Client(named, ca_certificate=files / "ca.pem", api_key="secret", timeout=20) as client:
                assert client.infer_text("echo", "a").texts() == ["a"]
            assert asyncio.run(ask(named)) == ["a"]
            with slipway.Client(named, timeout=20, retries=0) as client, pytest.raises(SlipwayError) as caught:
                client.infer_text("echo", "a")
            assert caught.value.code is Code.UNAVAILABLE
        named = server.http_url.replace("127.0.0.1", "localhost")
        with slipway.Client(named, verify=False) as client, pytest.raises(SlipwayError, match="requires an API key"):
            client.infer_text("echo", "a")
