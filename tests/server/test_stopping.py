"""A server ends when it is asked to, whatever hangs, and says what was lost."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import grpc
import psutil
import pytest
import tritonclient.grpc
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.kits.calls import infer
from tests.kits.repositories import add_identity, write_config
from tests.kits.signals import interruptible
from tests.server.test_life import ONES

IO = """max_batch_size: 1
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
SECONDS = 40  # in which a server of these tests ends, on a busy machine; the hangs last 1 000

NATIVE_LOOP = """
        import ctypes
        ctypes.CDLL(None).sleep(1000)  # without the interpreter lock, deaf to every signal
"""
HANGS = {
    "import": "__import__('time').sleep(1000)\n\nclass TritonPythonModel:\n    pass\n",
    "initialize": "class TritonPythonModel:\n    def initialize(self, args):{hang}",
    "finalize": "class TritonPythonModel:\n    def finalize(self):{hang}",
    "execute": "class TritonPythonModel:\n    def execute(self, requests):{hang}",
}


def hanging(repository, where, mode):
    mode = f'parameters {{ key: "EXECUTION_MODE" value {{ string_value: "{mode}" }} }}\n'
    version = write_config(repository, "m", f'backend: "python"\n{mode}{IO}')
    touched = version / "hangs"
    code = HANGS[where].replace("{hang}", f"\n        open({str(touched)!r}, 'w').close(){NATIVE_LOOP}")
    if where == "import":
        code = f"open({str(touched)!r}, 'w').close()\n{code}"
    if where != "execute":
        code += "    def execute(self, requests):\n        pass\n"
    (version / "model.py").write_text(code)
    return touched


@contextlib.contextmanager
def starting(repository, log, *flags):
    """Start a server without waiting for its ports; yield the process."""
    ports = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")
    command = [sys.executable, "-m", "slipway", "serve", str(repository), *ports, *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(family):
    return [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("mode", ["process", "thread"])
@pytest.mark.parametrize("where", ["import", "initialize"])
def test_a_model_that_hangs_while_it_loads_does_not_keep_the_server(tmp_path, where, mode):
    touched = hanging(tmp_path / "models", where, mode)
    log = tmp_path / "log"
    with starting(tmp_path / "models", log, "--exit-timeout-secs=1") as process:
        wait_until(touched.exists)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)
    assert process.returncode == 0  # no request is lost
    assert "Traceback" not in log.read_text()
    wait_until(lambda: not alive(family))


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_model_whose_finalize_hangs_does_not_keep_the_server(serve, tmp_path, mode):
    hanging(tmp_path, "finalize", mode)
    server = serve(tmp_path, "--exit-timeout-secs=1")
    assert server.stop() == 1
    assert "models are still busy after 1 s: exiting at once, 0 requests are lost" in server.log


@pytest.mark.parametrize("mode", ["process", "thread"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_that_never_ends_is_counted_as_lost(serve, tmp_path, mode, stop):
    touched = hanging(tmp_path, "execute", mode)
    with interruptible(stop):
        server = serve(tmp_path, "--exit-timeout-secs=1")
    family = psutil.Process(server.pid).children(recursive=True)
    caller = threading.Thread(target=_call_in_vain, args=(server.http,))
    caller.start()
    wait_until(touched.exists)
    server.process.send_signal(stop)
    assert server.process.wait(SECONDS) == 1
    caller.join()
    assert ": exiting at once, 1 request is lost" in server.log
    wait_until(lambda: not alive(family))


def test_a_second_signal_ends_the_server_at_once(serve, tmp_path):
    touched = hanging(tmp_path, "execute", "process")
    with interruptible():
        server = serve(tmp_path, "--exit-timeout-secs=1000")
    caller = threading.Thread(target=_call_in_vain, args=(server.http,))
    caller.start()
    wait_until(touched.exists)
    server.process.send_signal(signal.SIGINT)
    wait_until(lambda: "Waiting for in-flight requests" in server.log)
    while server.process.poll() is None:  # those within half a second after the first have no effect
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    caller.join()
    assert server.process.returncode == 1
    assert "a second signal (SIGINT): exiting at once, 1 request is lost" in server.log


def _call_in_vain(address):
    body = b'{"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}'
    with contextlib.suppress(OSError, http.client.HTTPException):  # the connection is cut
        urllib.request.urlopen(f"http://{address}/v2/models/m/infer", body, timeout=SECONDS)


def test_a_server_that_ignores_sighup_is_not_ended_by_it(tmp_path):
    """As under `nohup`: whoever started the server wants it to outlive the terminal."""
    add_identity(tmp_path / "models")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with starting(tmp_path / "models", tmp_path / "log") as process:
            wait_until(lambda: "Started Metrics" in (tmp_path / "log").read_text())
            process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_during_the_drain_delay_requests_are_served_but_the_server_is_not_ready(serve, tmp_path):
    add_identity(tmp_path)
    server = serve(tmp_path, "--drain-delay-secs=3")
    with tritonclient.http.InferenceServerClient(server.http) as client:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not client.is_server_ready())
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{server.http}/v2/health/ready")
        with caught.value as refusal:
            assert refusal.code == 503
        assert infer(client, "identity", ONES, "OUTPUT0").tolist() == [[1, 1, 1, 1]]
        assert client.is_server_live()
    assert server.process.wait(SECONDS) == 0


def test_during_the_drain_delay_grpc_reports_it_too_and_a_second_signal_ends_the_server_at_once(serve, tmp_path):
    add_identity(tmp_path)
    with interruptible():
        server = serve(tmp_path, "--drain-delay-secs=1000")
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client, grpc.insecure_channel(server.grpc) as channel:
        assert client.is_server_ready()
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: not client.is_server_ready())
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert infer(client, "identity", ONES, "OUTPUT0").tolist() == [[1, 1, 1, 1]]
    while server.process.poll() is None:  # those within half a second after the first have no effect
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert server.process.returncode == 1
    assert "a second signal (SIGINT): exiting at once, 0 requests are lost" in server.log


def test_a_supervisor_learns_when_the_server_answers_and_when_it_ends(serve, tmp_path, monkeypatch):
    add_identity(tmp_path / "models")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.settimeout(SECONDS)
        supervisor.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        server = serve(tmp_path / "models")
        assert supervisor.recv(100) == b"READY=1"
        with urllib.request.urlopen(f"http://{server.http}/v2/health/ready", timeout=SECONDS) as ready:
            assert ready.status == 200
        assert server.stop() == 0
        assert supervisor.recv(100) == b"STOPPING=1"


def test_no_request_of_busy_clients_is_lost_when_the_server_stops(serve, tmp_path):
    """Clients send until their connection is closed with a response that says so, or is refused before a request."""
    add_identity(tmp_path)
    server = serve(tmp_path)
    host, port = server.http.split(":")
    outcomes = []

    def work():
        connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        try:
            while True:
                connection.request("GET", "/v2/models/identity/config")
                with connection.getresponse() as answer:
                    answer.read()
                if answer.getheader("Connection") == "close":
                    outcomes.append("told")
                    return
        except (OSError, http.client.HTTPException) as error:
            outcomes.append(repr(error))
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    time.sleep(0.5)
    assert server.stop() == 0
    for worker in workers:
        worker.join()
    assert outcomes == ["told"] * 16


def test_a_client_that_never_finishes_its_request_does_not_delay_the_end(serve, tmp_path):
    add_identity(tmp_path)
    server = serve(tmp_path, "--exit-timeout-secs=1000")
    host, port = server.http.split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(b"G")
        assert server.stop() == 0  # long before the exit timeout


def test_the_reason_of_a_failed_start_is_said_even_if_the_end_hangs(tmp_path):
    hanging(tmp_path / "models", "finalize", "thread")
    write_config(tmp_path / "models", "broken", 'backend: "onnxruntime"\n')
    with starting(tmp_path / "models", tmp_path / "log", "--exit-timeout-secs=1") as process:
        assert process.wait(SECONDS) == 1
    log = (tmp_path / "log").read_text()
    assert "error: creating server: Internal - failed to load all models" in log
    assert "models are still busy after 1 s: exiting at once" in log


HELPER = """
import asyncio, os, sys, threading, uvloop
from slipway.core.large_work import run_large
from slipway.server import _threads_ended

async def main():
    loop = asyncio.get_running_loop()
    if sys.argv[2] == "small":
        loop.run_in_executor(None, threading.Event().wait)
    else:
        large = loop.create_task(run_large(threading.Event().wait))
        await asyncio.sleep(0)
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1
    task = asyncio.ensure_future(tick())
    ended = await _threads_ended(loop.time() + 0.1)
    await asyncio.sleep(0.1)
    print(ended, ticks > 1, flush=True)
    os._exit(0)

(uvloop if sys.argv[1] == "uvloop" else asyncio).run(main())
"""


@pytest.mark.parametrize("work", ["small", "large"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_helper_thread_that_hangs_neither_blocks_the_loop_nor_counts_as_ended(loop, work):
    done = subprocess.run(
        [sys.executable, "-c", HELPER, loop, work], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (0, "False True\n"), done.stderr


@pytest.mark.parametrize("name", ["1/model.py", "labels.txt", "config.pbtxt"])
def test_a_pipe_among_a_models_files_fails_its_load_and_no_other(serve, tmp_path, name):
    add_identity(tmp_path)
    version = write_config(tmp_path, "m", f'backend: "python"\n{IO}')
    path = version.parent / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    server = serve(tmp_path, "--exit-on-error=false", "--strict-readiness=false")
    with tritonclient.http.InferenceServerClient(server.http) as client:
        assert client.is_model_ready("identity")
        assert not client.is_model_ready("m")
    assert f"'{name}' is not a regular file" in server.log
