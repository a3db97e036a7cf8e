"""`slipway serve SOURCE ...` with real conversions: what is printed works, and a conversion is done once."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from benchmarks.serving import RunningServer, running_server
from tests.convert.graphs import write_encoder_graph
from tests.kits.calls import infer
from tests.kits.encoder_checkpoints import add_sentence_transformers, write_checkpoint
from tests.kits.repositories import add_identity
from tests.kits.signals import interruptible

SECONDS = 240
EXACT = ("--engine=onnxruntime", "--precision=fp32")
PORTS = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")
TEXT = {"text": np.array([["a cat sat on the mat"]], dtype=np.object_)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLIPWAY_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache/converted"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.onnx"
    write_encoder_graph(path)
    return path


def entries(cache: Path) -> list[str]:
    return sorted(path.parent.name for path in cache.glob("*/lock"))


def run_serve(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slipway", "serve", *PORTS, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def until(server: RunningServer, text: str) -> None:
    """Wait until the server has printed or logged a text."""
    deadline = time.monotonic() + SECONDS
    while text not in server.log:
        assert server.process.poll() is None, server.log
        assert time.monotonic() < deadline, server.log
        time.sleep(0.05)


def printed(server: RunningServer) -> list[str]:
    """Return the last lines, from the addresses on, which are written at once."""
    until(server, "\nHTTP ")
    return server.log[server.log.rindex("\nHTTP ") :].splitlines()[1:]


def curls(server: RunningServer) -> list[str]:
    return [line.strip() for line in printed(server) if "curl -s" in line]


# One server with a checkpoint, a graph and a repository, for the tests that only look at it


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    add_sentence_transformers(write_checkpoint(home / "sentences"))
    write_encoder_graph(home / "graph.onnx")
    add_identity(home / "models")
    return home


@pytest.fixture(scope="module")
def start(home: Path) -> Iterator[Callable[..., RunningServer]]:
    """Return what serves the three sources of `home`, as a context manager."""
    words = (home / "sentences", home / "graph.onnx", "--name=first", *EXACT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_CACHE_DIR", str(home / "cache"))
        yield lambda *flags: running_server(home / "models", *map(str, words), *flags)


@pytest.fixture(scope="module")
def first(start) -> Iterator[RunningServer]:
    with start() as server:
        yield server


def test_sources_are_converted_and_served_beside_a_repository(first):
    with tritonclient.http.InferenceServerClient(first.http) as client:
        assert infer(client, "first", TEXT, "embedding").shape == (1, 32)
        assert client.is_model_ready("graph")
        assert client.is_model_ready("identity")
    log = first.log
    assert len(re.findall(r"converted '\S+' in [0-9.]+ s", log)) == 2
    assert "step 1" in log  # without a terminal, the steps are lines of the log


def test_the_last_lines_are_the_addresses_and_a_command_for_each_model(first):
    lines = printed(first)
    assert lines[:4] == [
        f"HTTP     http://{first.http}",
        f"page     http://{first.http}/",
        f"gRPC     {first.grpc}",
        f"metrics  http://{first.metrics}/metrics",
    ]
    heads = [line for line in lines[4:] if line and not line.startswith(" ")]
    assert heads == ["first (onnxruntime fp32)", "graph (onnxruntime fp32)", "identity"]
    assert len(curls(first)) == 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_printed_command_works_when_it_is_pasted(first):
    for command in curls(first):
        answer = json.loads(subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, check=True).stdout)
        assert "error" not in answer
        assert answer["outputs"]


def test_the_second_start_does_not_import_the_converter(first, start, monkeypatch):
    assert first.process.poll() is None  # it uses the same entries
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # each import is a line of the output
    with start() as server:
        assert len(curls(server)) == 3
        log = server.log
    assert log.count("was converted before") == 2
    assert "slipway.server" in log
    assert not re.search(r"\| +(slipway\.convert|torch|transformers|onnx)\b", log)


def test_two_models_of_one_name_are_refused_before_anything_is_converted(home, cache):
    result = run_serve(home / "graph.onnx", home / "models", "--name=identity")
    assert result.returncode == 1
    both = f"'{home / 'models'}' and '{home / 'graph.onnx'}' both have a model 'identity'; --name"
    assert f"error: {both}" in result.stderr
    assert entries(cache) == []


def test_a_port_in_use_is_found_before_anything_is_converted(graph, cache):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run_serve(graph, f"--http-port={taken.getsockname()[1]}")
    assert result.returncode == 1
    assert "Address already in use" in result.stderr
    assert entries(cache) == []


@pytest.mark.usefixtures("cache")
def test_a_model_that_cannot_be_fetched_is_an_error_with_the_nearest_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    add_identity(tmp_path / "models")
    result = run_serve("modles")
    assert result.returncode == 1
    assert (
        "error: 'modles' is not a local file or directory, and fetching it from the model hub failed" in result.stderr
    )
    assert result.stderr.endswith("  there is no 'modles' here; did you mean 'models'?\n")


# Conversions of their own


def test_two_servers_at_the_same_time_convert_once(graph, cache, tmp_path):
    (tmp_path / "empty").mkdir()
    both = threading.Barrier(2)

    def serve() -> str:
        with running_server(tmp_path / "empty", str(graph), *EXACT) as server:
            both.wait(SECONDS)
            return server.log

    with ThreadPoolExecutor(2) as pool:
        logs = [each.result() for each in [pool.submit(serve), pool.submit(serve)]]
    assert sum("converted '" in log for log in logs) == 1
    assert sum("waiting for it" in log or "was converted before" in log for log in logs) == 1
    assert len(entries(cache)) == 1


def test_a_source_that_changed_is_converted_again(graph, cache, tmp_path):
    (tmp_path / "empty").mkdir()
    for count in (1, 2):
        with running_server(tmp_path / "empty", str(graph), *EXACT) as server:
            assert "converted '" in server.log
        assert len(entries(cache)) == count
        write_encoder_graph(graph, seed=count)


@pytest.mark.parametrize("interrupt", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_conversion_leaves_nothing_behind(graph, cache, interrupt):
    command = [sys.executable, "-m", "slipway", "serve", str(graph), *EXACT, *PORTS]
    with interruptible():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + SECONDS
    while not list(cache.glob("*/.slipway-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(interrupt)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + interrupt
    assert errors.endswith("interrupted: nothing of this conversion was kept; the same command starts again\n")
    assert entries(cache) == []


FAILS = ("--engine=onnxruntime", "--precision=int8", "--accuracy=high")


def test_a_conversion_that_fails_ends_the_start_with_its_text(graph, cache):
    result = run_serve(graph, *FAILS)
    assert result.returncode == 1
    assert "error: no candidate passed the gate; nothing was written: onnxruntime int8" in result.stderr
    note = f"  slipway convert {shlex.quote(str(graph))} has more options: slipway convert --help\n"
    assert result.stderr.endswith(note)
    assert entries(cache) == []


# A faster form in the background


def test_a_faster_form_is_swapped_in_without_a_failed_request(graph, cache, tmp_path):
    (tmp_path / "empty").mkdir()
    words = (str(graph), "--fast", "--engine=onnxruntime", "--precision=fp16")
    stopped = threading.Event()

    def ask(address: str) -> int:
        count = 0
        body = json.dumps(sample).encode()
        while not stopped.is_set():
            with urllib.request.urlopen(f"http://{address}/v2/models/graph/infer", body) as response:
                assert response.status == 200
            count += 1
        return count

    with running_server(tmp_path / "empty", *words) as server, ThreadPoolExecutor(2) as pool:
        assert "graph (onnxruntime fp32)" in printed(server)
        sample = json.loads(shlex.split(curls(server)[0])[-1])
        asking = [pool.submit(ask, server.http) for _ in range(2)]
        until(server, "'graph' is served in onnxruntime fp16 now")
        until(server, "successfully unloaded 'graph' version 1")
        stopped.set()
        assert all(each.result() > 0 for each in asking)
    assert len(entries(cache)) == 2
    with running_server(tmp_path / "empty", *words) as server:
        assert "graph (onnxruntime fp16)" in printed(server)
        assert "in the background" not in server.log


def test_a_faster_form_that_fails_is_named_and_the_exact_one_stays(graph, cache, tmp_path):
    (tmp_path / "empty").mkdir()
    with running_server(tmp_path / "empty", str(graph), "--fast", *FAILS) as server:
        until(server, "'graph' stays as it is, in onnxruntime fp32: no candidate passed the gate")
        with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            assert client.is_model_ready("graph")
    assert len(entries(cache)) == 1


def test_the_end_of_the_server_ends_the_conversion_in_the_background(graph, cache, tmp_path):
    (tmp_path / "empty").mkdir()
    words = (str(graph), "--fast", "--engine=onnxruntime", "--precision=fp16")
    with running_server(tmp_path / "empty", *words) as server:
        until(server, "in the background")
        deadline = time.monotonic() + SECONDS
        while not list(cache.glob("*/.slipway-*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(entries(cache)) == 1
