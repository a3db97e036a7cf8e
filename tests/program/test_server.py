"""Bound models behind a real server: the official clients see models like all others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

import slipway
from slipway import TensorType
from slipway.errors import Code, SlipwayError
from tests.kits.engine import ensemble, identity
from tests.program.bound_models import Recorded, bind_all


@pytest.fixture(scope="module")
def recorded():
    return Recorded()


@pytest.fixture(scope="module")
def server(tmp_path_factory, recorded):
    repository = tmp_path_factory.mktemp("repository")
    identity(repository, "identity")
    ensemble(repository, "quadruple", "double", "double")
    server = slipway.Server(
        repository, http_port=0, grpc_port=0, metrics_port=0, model_control_mode="explicit", load_model="quadruple"
    )
    bind_all(server, recorded)
    with server:
        yield server
    assert len(recorded.closed) == 2  # `close` of both objects of Scaler


@pytest.fixture(scope="module")
def grpc(server):
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def http(server):
    with tritonclient.http.InferenceServerClient(server.http_url.removeprefix("http://"), concurrency=4) as client:
        yield client


def tensor(module, name, array):
    kinds = {"f": "FP32", "i": "INT32", "O": "BYTES"}
    sent = module.InferInput(name, list(array.shape), kinds[array.dtype.kind])
    sent.set_data_from_numpy(array)
    return sent


def ask(client, model, version="", parameters=None, **arrays):
    module = sys.modules[type(client).__module__.rpartition(".")[0]]
    inputs = [tensor(module, name, array) for name, array in arrays.items()]
    return client.infer(model, inputs, model_version=version, parameters=parameters)


def row(*values):
    return np.array(values, np.float32)


def texts(*values):
    return np.array([[value] for value in values], object)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_function_answers_over_both_protocols(request, protocol):
    client = request.getfixturevalue(protocol)
    assert ask(client, "double", INPUT0=row([1, 2])).as_numpy("OUTPUT0").tolist() == [[2, 4]]
    answer = ask(client, "upper", text=texts("straße", "b"), suffix=texts("!", "?")).as_numpy("output")
    assert [each.decode() for each in answer.ravel()] == ["STRASSE!", "B?"]
    assert ask(client, "upper", text=texts("c")).as_numpy("output").tolist() == [[b"C"]]


def test_bound_models_are_in_the_repository_index_with_their_configuration(grpc, http):
    index = {entry["name"]: (entry.get("version"), entry.get("state")) for entry in http.get_model_repository_index()}
    assert index["double"] == ("1", "READY")
    assert index["later"] == ("2", "READY")
    assert index["quadruple"] == ("1", "READY")
    assert index["identity"] == (None, None)  # in the repository, not loaded
    config = grpc.get_model_config("double").config
    assert (config.backend, config.max_batch_size, config.name) == ("function", 8, "double")
    metadata = http.get_model_metadata("upper")
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [
        ("text", "BYTES", [-1, 1]),
        ("suffix", "BYTES", [-1, 1]),
    ]


def test_a_bound_model_is_a_step_of_an_ensemble(grpc):
    assert ask(grpc, "quadruple", INPUT0=row([1, 2])).as_numpy("OUTPUT0").tolist() == [[4, 8]]


def test_requests_that_wait_together_run_together(grpc):
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: ask(grpc, "rows_together", x=row([1])).as_numpy("rows"), range(4)))
    assert [each.tolist() for each in answers] == [[[4]]] * 4


def test_the_error_of_one_request_is_not_that_of_its_batch(grpc):
    def outcome(value):
        try:
            return ask(grpc, "picky", x=row([value])).as_numpy("output").tolist()
        except InferenceServerException as error:
            return error.status(), error.message()

    with ThreadPoolExecutor(4) as threads:
        first, negative, large, last = threads.map(outcome, [1, -1, 101, 2])
    assert (first, last) == ([[2]], [[3]])
    assert negative == ("StatusCode.INTERNAL", "model 'picky' raised ValueError: a row is negative")
    assert large == ("StatusCode.INVALID_ARGUMENT", "a row is larger than 100")


def test_a_blocked_function_keeps_nothing_else_waiting(grpc, recorded):
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(ask, grpc, "blocked", x=row(1))
        assert recorded.blocked.wait(60)
        assert ask(grpc, "double", INPUT0=row([1])).as_numpy("OUTPUT0").tolist() == [[2]]
        assert not waiting.done()
        recorded.unblock.set()
        assert waiting.result().as_numpy("output").tolist() == [1]


def test_an_output_that_is_not_declared_is_an_error(grpc):
    with pytest.raises(InferenceServerException, match=r"model 'wrong' returned output 'output' as FP64, declared is"):
        ask(grpc, "wrong", x=row(1))


def test_each_instance_has_an_object_that_was_set_up(grpc, recorded):
    assert sorted(recorded.setups) == [("Scaler_0_0", 0, "Scaler", 1), ("Scaler_0_1", 1, "Scaler", 1)]
    assert ask(grpc, "Scaler", x=row(1, 2)).as_numpy("output").tolist() == [3, 6]


def test_an_async_function_is_awaited(grpc, http):
    assert ask(grpc, "later", "2", x=row(1)).as_numpy("output").tolist() == [2]
    assert ask(http, "later", x=row(2)).get_response()["model_version"] == "2"


def test_a_function_reads_request_parameters_and_sets_those_of_the_response(grpc):
    response = ask(grpc, "parametrised", parameters={"user": "u", "n": 3}, x=row([1], [2])).get_response()
    values = {key: value.string_param or value.int64_param for key, value in response.parameters.items()}
    assert values == {"user": "u", "n": 3, "rows": 2, "model": "parametrised"}


def streamed(server, model, array):
    """Return the values of a stream, and its error's text."""
    answers = SimpleQueue()
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        inputs = [tensor(tritonclient.grpc, "n", array)]
        client.async_stream_infer(model, inputs, enable_empty_final_response=True)
        values = []
        while True:
            result, error = answers.get(timeout=60)
            if error is not None:
                return values, error.message()
            if result.get_response().parameters["triton_final_response"].bool_param:
                return values, ""
            values.append(result.as_numpy("i").ravel().tolist())


def test_a_generator_is_a_stream(server):
    assert streamed(server, "count", np.array([2], np.int32)) == ([[0], [1]], "")
    assert streamed(server, "count", np.array([0], np.int32)) == ([], "")


def test_an_error_in_a_generator_ends_its_stream(server):
    values, error = streamed(server, "count", np.array([3], np.int32))
    assert values == [[0], [1], [2]]
    assert error == "model 'count' raised ValueError: three is too many"


def test_an_async_generator_is_a_stream_of_batches(server):
    assert streamed(server, "count_later", np.array([[2], [2]], np.int32)) == ([[0, 0], [1, 1]], "")


def test_a_stream_that_nobody_reads_any_more_ends(server, recorded):
    first = SimpleQueue()
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        client.start_stream(lambda result, error: first.put((result, error)))
        client.async_stream_infer("endless", [tensor(tritonclient.grpc, "n", np.array([1], np.int32))])
        assert first.get(timeout=60)[1] is None
        client.stop_stream(cancel_requests=True)
    assert recorded.stopped.wait(60)


def test_a_cancelled_request_cancels_its_coroutine(grpc, recorded):
    call = grpc.async_infer("waits_forever", [tensor(tritonclient.grpc, "x", row(1))], callback=lambda _, __: None)
    assert recorded.waits.wait(60)
    call.cancel()
    assert recorded.cancelled.wait(60)


def test_statistics_and_metrics_count_its_requests(server, grpc):
    before = grpc.get_inference_statistics("double").model_stats[0].inference_count
    ask(grpc, "double", INPUT0=row([1], [2]))
    after = grpc.get_inference_statistics("double").model_stats[0].inference_count
    assert after == before + 2
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as page:
        text = page.read().decode()
    assert f'nv_inference_count{{model="double",version="1"}} {after}' in text


def test_a_bound_model_is_unloaded_and_loaded_like_others(server, grpc):
    @server.model(max_batch_size=2, inputs=[TensorType(int, name="x")], outputs=[TensorType(int)])
    def bound_late(x):
        return x + 1

    assert grpc.is_model_ready("bound_late")
    grpc.unload_model("bound_late")
    assert not grpc.is_model_ready("bound_late")
    grpc.load_model("bound_late")
    assert grpc.is_model_ready("bound_late")
    with pytest.raises(InferenceServerException, match="its tensors cannot change"):
        grpc.load_model(
            "bound_late",
            config='{"backend": "function", "input": [{"name": "z", "data_type": "TYPE_INT8", "dims": [1]}], '
            '"output": [{"name": "output", "data_type": "TYPE_INT64", "dims": [1]}]}',
        )


def test_a_name_is_bound_once_per_version(server):
    with pytest.raises(SlipwayError, match="version 1 of model 'double' is bound twice") as caught:
        server.model(name="double", inputs=[TensorType(int, name="x")], outputs=[TensorType(int)])(lambda x: x)
    assert caught.value.code is Code.ALREADY_EXISTS
    with pytest.raises(SlipwayError, match="model 'double': its versions are declared differently"):
        server.model(name="double", version=3, inputs=[TensorType(int, name="x")], outputs=[TensorType(int)])(
            lambda x: x
        )


def test_a_model_that_fails_to_set_up_while_the_server_runs_is_not_bound(server, grpc):
    class Broken:
        def setup(self):
            raise RuntimeError("no weights")

        def __call__(self, x):
            return x

    bind = server.model(inputs=[TensorType(int, name="x")], outputs=[TensorType(int)])
    for _ in range(2):  # the second time, too, the name is free
        with pytest.raises(SlipwayError, match="model 'Broken' raised RuntimeError: no weights"):
            bind(Broken)
    assert not grpc.is_model_ready("Broken")


def test_a_running_server_is_not_started_again(server):
    assert server.is_running
    with pytest.raises(SlipwayError, match="already running"):
        server.start()


# Servers of their own


ECHO = {"inputs": [TensorType(int, 1, name="x")], "outputs": [TensorType(int, 1)]}


def echo_server(**options):
    server = slipway.Server(http_port=0, grpc_port=0, allow_metrics=False, **options)
    server.model(name="echo", inputs=[TensorType(int, name="x")], outputs=[TensorType(int)])(lambda x: x)
    return server


def test_a_server_in_a_coroutine_leaves_its_loop_free_and_starts_again():
    async def live():
        async with echo_server() as server:
            ports = {server.http_port, server.grpc_port}
            with pytest.raises(SlipwayError, match="does not serve Metrics Service"):
                _ = server.metrics_port
            async with tritonclient_aio(server.grpc_url) as client:
                assert await client.is_model_ready("echo")
        assert not server.is_running
        with pytest.raises(SlipwayError, match="the server is not running"):
            _ = server.http_port
        async with server:
            assert len(ports | {server.http_port, server.grpc_port}) > 2
        with pytest.raises(SlipwayError, match="would block the running event loop"):
            server.run()

    asyncio.run(live())


def tritonclient_aio(url):
    import tritonclient.grpc.aio

    return tritonclient.grpc.aio.InferenceServerClient(url)


def test_two_servers_in_one_process_are_independent():
    with echo_server() as kept:
        with echo_server() as ended:
            assert ended.grpc_port != kept.grpc_port
        large = np.array(["x" * (300 << 10)], object)  # large work has threads that all servers share
        kept.model(name="strings", inputs=[TensorType(str, 1, name="s")], outputs=[TensorType(str, 1)])(lambda s: s)
        with tritonclient.http.InferenceServerClient(kept.http_url.removeprefix("http://")) as client:
            sent = tritonclient.http.InferInput("s", [1], "BYTES")
            sent.set_data_from_numpy(large, binary_data=False)
            assert client.infer("strings", [sent]).as_numpy("output")[0] == large[0].encode()


def test_a_model_that_does_not_load_is_why_the_server_does_not_start():
    server = echo_server()

    @server.model(inputs=[TensorType(int, name="x")], outputs=[TensorType(int)])
    class Broken:
        def setup(self):
            raise RuntimeError("no weights")

        def __call__(self, x):
            return x

    with pytest.raises(SlipwayError, match=r"failed to load all models: model 'Broken': .*RuntimeError: no weights"):
        server.start()
    assert not server.is_running


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (
            lambda server: server.model(name="inner", **ECHO)(lambda x: x),
            "bound in the setup of a model of the same server",
        ),
        (lambda server: server.start(), "start waits for the server's models"),
        (lambda server: server.stop(), "stop waits for the server's models"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_setup_that_would_wait_for_itself_is_an_error(act, text, is_async):
    server = echo_server(exit_timeout_secs=5)

    class Waiting:
        def setup(self):
            return self.in_coroutine() if is_async else act(server)

        async def in_coroutine(self):
            act(server)

        def __call__(self, x):
            return x

    server.model(**ECHO)(Waiting)
    with pytest.raises(SlipwayError, match=text):
        server.start()
    assert not server.is_running


def test_a_model_cannot_stop_its_server_but_another_one_can():
    other = echo_server().start()
    with echo_server() as server, slipway.Client(server.grpc_url) as client:

        @server.model(**ECHO)
        def stops_other(x):
            other.stop()
            return x

        @server.model(**ECHO)
        def stops_itself(x):
            server.stop()
            return x

        assert client.infer("stops_other", {"x": np.array([1])})["output"].tolist() == [1]
        assert not other.is_running
        with pytest.raises(SlipwayError, match="stop waits for the server's models"):
            client.infer("stops_itself", {"x": np.array([1])})


def test_a_port_that_is_taken_is_unavailable():
    with echo_server() as first, pytest.raises(SlipwayError, match="failed to listen") as caught:
        slipway.Server(http_port=first.http_port, allow_grpc=False, allow_metrics=False).start()
    assert caught.value.code is Code.UNAVAILABLE


def test_run_serves_until_a_signal_and_the_program_goes_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, slipway\n"
        "from slipway import TensorType\n"
        "server = slipway.Server(http_port=0, allow_grpc=False, allow_metrics=False)\n"
        "@server.model(inputs=[TensorType(int, name='x')], outputs=[TensorType(int)])\n"
        "class Echo:\n"
        "    def __call__(self, x):\n"
        "        return x\n"
        "    def close(self):\n"
        "        print('closed', flush=True)\n"
        "import threading\n"
        "def announce():\n"
        "    while not server.is_running:\n"
        "        threading.Event().wait(0.01)\n"
        "    print(server.http_url, flush=True)\n"
        "threading.Thread(target=announce).start()\n"
        "server.run()\n"
        "print('after', signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/v2/models/Echo/ready") as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read().splitlines() == ["closed", "after True"]
    assert process.returncode == 0


def test_a_program_that_forgets_to_stop_its_server_ends_without_the_directory_of_its_models(tmp_path):
    program = (
        "import slipway\n"
        "server = slipway.Server(http_port=0, grpc_port=0, metrics_port=0)\n"
        "number = slipway.TensorType(int, name='x')\n"
        "server.model(name='echo', inputs=[number], outputs=[number])(lambda x: x)\n"
        "server.start()\n"
    )
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", program], timeout=120, check=False, env=variables)
    assert ended.returncode == 0
    assert not list(tmp_path.glob("slipway-bound-*"))
