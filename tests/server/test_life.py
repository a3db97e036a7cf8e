"""A server's life: what it loads, how it starts or fails to start, how it stops."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.kits.calls import infer
from tests.kits.repositories import add_identity, add_python_identity, write_config

ONES = {"INPUT0": np.ones((1, 4), dtype=np.float32)}


def post(address: str, path: str, body: object = None) -> object:
    request = urllib.request.Request(f"http://{address}{path}", json.dumps(body or {}).encode(), method="POST")
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read() or b"null")


@pytest.mark.capability("4.1")
def test_explicit_mode_loads_only_the_listed_models(serve, tmp_path):
    for name in ("first", "second", "third"):
        add_identity(tmp_path, name)
    server = serve(tmp_path, "--model-control-mode=explicit", "--load-model=first", "--load-model=third")
    with urllib.request.urlopen(f"http://{server.http}/v2/health/ready") as response:
        assert response.status == 200
    index = post(server.http, "/v2/repository/index")
    assert {entry["name"]: entry.get("state") for entry in index} == {
        "first": "READY",
        "second": None,
        "third": "READY",
    }


@pytest.mark.capability("4.11")
def test_models_are_loaded_unloaded_listed_and_described_on_request(serve, tmp_path):
    add_identity(tmp_path, "m")
    server = serve(tmp_path, "--model-control-mode=explicit")
    with tritonclient.http.InferenceServerClient(server.http) as client:
        assert not client.is_model_ready("m")
        client.load_model("m")
        assert client.is_model_ready("m")
        assert client.get_model_config("m")["max_batch_size"] == 16
        assert infer(client, "m", ONES, "OUTPUT0").tolist() == [[1, 1, 1, 1]]
        client.unload_model("m")
        assert not client.is_model_ready("m")
        (entry,) = client.get_model_repository_index()
        while entry["state"] == "UNLOADING":  # as in Triton, the response comes when unloading has begun
            (entry,) = client.get_model_repository_index()
        assert (entry["name"], entry["state"], entry["reason"]) == ("m", "UNAVAILABLE", "unloaded")


@pytest.mark.capability("4.18")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_its_children_with_exit_code_0(serve, tmp_path, stop):
    add_python_identity(tmp_path)
    server = serve(tmp_path)
    with tritonclient.http.InferenceServerClient(server.http) as client:
        infer(client, "python_identity", ONES, "OUTPUT0")
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert family
    server.process.send_signal(stop)
    server.process.send_signal(stop)  # so soon, it has no effect
    assert server.process.wait(40) == 0
    assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.capability("2.19")
def test_requests_in_flight_are_answered_before_the_server_ends(serve, tmp_path):
    add_identity(tmp_path)
    config = tmp_path / "identity" / "config.pbtxt"
    config.write_text(config.read_text() + 'parameters { key: "execute_delay_ms" value { string_value: "700" } }\n')
    server = serve(tmp_path)

    def ask() -> list[list[float]]:
        with tritonclient.http.InferenceServerClient(server.http, network_timeout=30) as client:
            return infer(client, "identity", ONES, "OUTPUT0").tolist()

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask) for _ in range(2)]
        waiting = 'nv_inference_pending_request_count{model="identity",version="1"} 1'
        while waiting not in metrics(server.metrics):  # one is executing, the other is queued
            time.sleep(0.01)
        assert server.stop() == 0
        assert [answer.result() for answer in answers] == [[[1, 1, 1, 1]]] * 2
    with pytest.raises(urllib.error.URLError):
        metrics(server.metrics)


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_requests_that_take_longer_than_the_exit_timeout_are_abandoned(serve, tmp_path, mode):
    version = write_config(
        tmp_path,
        "slow",
        f"""backend: "python"
parameters {{ key: "EXECUTION_MODE" value {{ string_value: "{mode}" }} }}
max_batch_size: 1
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }} ]
""",
    )
    (version / "model.py").write_text(
        """import pathlib
import time


class TritonPythonModel:
    def execute(self, requests):
        pathlib.Path(__file__).with_name("started").touch()
        time.sleep(60)
"""
    )
    server = serve(tmp_path, "--exit-timeout-secs=1")
    family = psutil.Process(server.process.pid).children(recursive=True)

    def ask() -> np.ndarray:
        with tritonclient.http.InferenceServerClient(server.http) as client:
            return infer(client, "slow", ONES, "OUTPUT0")

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        while not (version / "started").exists():
            time.sleep(0.01)
        started = time.monotonic()
        assert server.stop() == 1
        assert time.monotonic() - started < 30  # of the model's 60
        assert isinstance(answer.exception(), Exception)
    assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def metrics(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        return response.read().decode()


def run_serve(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_with_ports(*arguments)


def run_with_ports(
    *arguments: object, http: int = 0, grpc: int = 0, metrics: int = 0
) -> subprocess.CompletedProcess[str]:
    ports = (f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}")
    command = [sys.executable, "-m", "slipway", "serve", *map(str, arguments), *ports]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_model_that_fails_ends_the_start_with_a_table_and_exit_code_1(tmp_path):
    add_identity(tmp_path)
    write_config(tmp_path, "broken", 'backend: "onnxruntime"\n')
    result = run_serve(tmp_path)
    assert result.returncode == 1
    assert "| broken" in result.stderr
    assert "UNAVAILABLE: " in result.stderr
    assert result.stderr.rstrip().endswith("error: creating server: Internal - failed to load all models")


def test_the_log_goes_to_a_file_in_the_requested_format(tmp_path):
    repository, log = tmp_path / "models", tmp_path / "log"
    write_config(repository, "broken", 'backend: "onnxruntime"\n')
    result = run_serve(repository, "--log-file", log, "--log-format=ISO8601", "--log-info=false")
    assert result.stderr == "error: creating server: Internal - failed to load all models\n"
    lines = log.read_text().splitlines()
    assert lines
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [WE] \d+ \w+\.py:\d+\] \"", line) for line in lines)


def test_a_model_that_fails_does_not_end_the_server_with_exit_on_error_false(serve, tmp_path):
    add_identity(tmp_path)
    write_config(tmp_path, "broken", 'backend: "onnxruntime"\n')
    server = serve(tmp_path, "--exit-on-error=false", "--strict-readiness=false")
    with tritonclient.http.InferenceServerClient(server.http) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("identity")
        assert not client.is_model_ready("broken")


def test_a_missing_repository_ends_the_start(tmp_path):
    result = run_serve(tmp_path / "no")
    assert result.returncode == 1
    assert result.stderr.endswith(f"error: creating server: Internal - failed to stat file {tmp_path / 'no'}\n")


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port", "--metrics-port"])
def test_a_port_in_use_is_found_before_any_model_is_loaded(tmp_path, flag):
    version = write_config(tmp_path, "m", 'backend: "python"\n')
    (version / "model.py").write_text("raise SystemExit('loaded')\n")
    ports = {"--http-port": "0", "--grpc-port": "0", "--metrics-port": "0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[flag] = str(taken.getsockname()[1])
        words = [word for pair in ports.items() for word in pair]
        command = [sys.executable, "-m", "slipway", "serve", str(tmp_path), *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    address = f"127.0.0.1:{ports[flag]}"
    line, last = result.stderr.splitlines()
    name = {"--http-port": "HTTP", "--grpc-port": "GRPC", "--metrics-port": "Metrics"}[flag]
    assert line.startswith("E")
    assert line.endswith(f"] \"failed to start {name} service: Unavailable - Socket '{address}' already in use \"")
    assert last == f"error: creating server: Unavailable - failed to listen on {address}: Address already in use"


def test_two_servers_with_the_flags_share_their_ports(serve, tmp_path):
    for name in ("first", "second"):
        add_identity(tmp_path / name, name)
    first = serve(tmp_path / "first", "--reuse-http-port=true", "--reuse-grpc-port=true")
    shared = (f"--http-port={first.ports.http}", f"--grpc-port={first.ports.grpc}")
    second = serve(tmp_path / "second", "--reuse-http-port=true", "--reuse-grpc-port=true", *shared)
    assert (second.ports.http, second.ports.grpc) == (first.ports.http, first.ports.grpc)
    answered = set()
    while len(answered) < 2:  # the system gives each new connection to one of the two
        with tritonclient.http.InferenceServerClient(first.http) as client:
            answered.add(client.get_model_repository_index()[0]["name"])
    answered.clear()
    while len(answered) < 2:
        arguments = [("grpc.use_local_subchannel_pool", 1)]
        with tritonclient.grpc.InferenceServerClient(first.grpc, channel_args=arguments) as client:
            answered.add(client.get_model_repository_index().models[0].name)
    assert second.stop() == 0
    with tritonclient.http.InferenceServerClient(first.http) as client:
        assert infer(client, "first", ONES, "OUTPUT0").tolist() == [[1, 1, 1, 1]]


def test_a_port_is_not_shared_with_a_server_without_the_flag(serve, tmp_path):
    first = serve(tmp_path)
    result = run_with_ports(tmp_path, "--reuse-http-port=true", http=first.ports.http)
    assert result.returncode == 1
    assert f"Socket '127.0.0.1:{first.ports.http}' already in use" in result.stderr


def test_without_its_repository_a_server_may_stay_up_neither_live_nor_ready(serve, tmp_path):
    server = serve(tmp_path / "no", "--exit-on-error=false")
    with (
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        for client in (http, grpc):
            assert not client.is_server_live()
            assert not client.is_server_ready()
        assert http.get_server_metadata()["name"] == grpc.get_server_metadata().name == "triton"
        with pytest.raises(InferenceServerException, match="Server not ready"):
            http.get_model_repository_index()
        with pytest.raises(InferenceServerException, match="Server not ready"):
            grpc.get_model_metadata("m")
    assert f"failed to stat file {tmp_path / 'no'}" in server.log
    assert server.stop() == 0


def test_a_server_without_models_is_small_and_quick(serve, tmp_path):
    server = serve(tmp_path)
    assert psutil.Process(server.process.pid).memory_info().rss < 130e6
