"""A soak: the attack suite runs over and over beside good clients, of which no request may be lost.

    python -m benchmarks.soak [--minutes 20] [--grpc-engine native|grpcio] [--results FILE]

Good clients send requests over HTTP (JSON and binary), gRPC, a gRPC stream and generate, on connections that they keep,
and check every answer. The resident memory of the server is read after every round of attacks; how much it grew is
counted from the fifth, because until then the allocator's arenas and the caches of the gRPC library take their size.
Prints and saves what it measured; exit code 1 if a good request was lost, or the memory grew by more than 1 %.
"""

from __future__ import annotations

import argparse
import http.client
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import tritonclient.grpc as grpc_client

from benchmarks.memory import rss_mb
from benchmarks.serving import RunningServer, running_server
from slipway.machine import describe_machine

_PAUSE_S: Final = 0.02  # between two requests of a client
_SETTLE_S: Final = 5.0
_WARM_UP: Final = 5  # rounds
_MOST_GROWTH: Final = 0.01
_LATE_S: Final = 10.0  # a good request that takes longer is lost
_CONFIG: Final = """\
backend: "{backend}"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: {kind} dims: [ {dims} ] }} ]
output [ {{ name: "OUTPUT0" data_type: {kind} dims: [ {dims} ] }} ]
"""
_PYTHON: Final = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUTPUT0", 2 * pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy())]
            )
            for request in requests
        ]
"""
_MODELS: Final = (
    ("fp32", "identity", "TYPE_FP32", "16"),
    ("text", "identity", "TYPE_STRING", "1"),
    ("double", "python", "TYPE_FP32", "16"),
)


@dataclass(slots=True)
class Client:
    """A good client: how many of its requests were answered, and what went wrong with the others."""

    name: str
    answered: int = 0
    worst_s: float = 0.0
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Soak:
    """What a soak found."""

    machine: str
    minutes: float
    rounds: int
    not_held: list[str]
    answered: int
    lost: int
    worst_ms: float
    grpc_engine: str
    rss_mb: list[float]  # after each round
    growth: float


Ask = Callable[[int], bool]


def _http(server: RunningServer, model: str, factor: float) -> Ask:
    """Return a client's request over HTTP: JSON in, JSON out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=_LATE_S)

    def ask(number: int) -> bool:
        values = [float(number + index) for index in range(16)]
        entry = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": values}
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"id": str(number), "inputs": [entry]}))
        document = json.loads(connection.getresponse().read())
        return document["id"] == str(number) and document["outputs"][0]["data"] == [factor * each for each in values]

    return ask


def _generate(server: RunningServer) -> Ask:
    """Return a client's request to the generate endpoint."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=_LATE_S)

    def ask(number: int) -> bool:
        connection.request("POST", "/v2/models/text/generate", json.dumps({"INPUT0": f"text {number}"}))
        return bool(json.loads(connection.getresponse().read())["OUTPUT0"] == f"text {number}")

    return ask


def _given(number: int) -> tuple[np.ndarray, Any]:
    values = np.arange(number, number + 16, dtype=np.float32).reshape(1, 16)
    given = grpc_client.InferInput("INPUT0", [1, 16], "FP32")
    given.set_data_from_numpy(values)
    return values, given


def _grpc(server: RunningServer, model: str, factor: float) -> Ask:
    """Return a client's request over gRPC."""
    client = grpc_client.InferenceServerClient(server.grpc)

    def ask(number: int) -> bool:
        values, given = _given(number)
        result = client.infer(model, [given], client_timeout=_LATE_S)
        return bool(np.array_equal(result.as_numpy("OUTPUT0"), factor * values))

    return ask


def _stream(server: RunningServer) -> Ask:
    """Return a client's request on one gRPC stream, which stays open."""
    client = grpc_client.InferenceServerClient(server.grpc)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))

    def ask(number: int) -> bool:
        values, given = _given(number)
        client.async_stream_infer("fp32", [given])
        result, error = answers.get(timeout=_LATE_S)
        if error is not None:
            raise error
        return bool(np.array_equal(result.as_numpy("OUTPUT0"), values))

    return ask


def _run(client: Client, ask: Ask, done: threading.Event) -> None:
    number = 0
    while not done.wait(_PAUSE_S):
        number += 1
        begin = time.monotonic()
        try:
            is_right = ask(number)
        except Exception as error:  # noqa: BLE001  whatever it is, the request is lost
            client.lost.append(f"{type(error).__name__}: {error}")
        else:
            client.answered += 1
            if not is_right:
                client.lost.append(f"request {number}: a wrong answer")
        client.worst_s = max(client.worst_s, time.monotonic() - begin)


def _attack(server: RunningServer) -> list[str]:
    """Run the suite once; return the groups that did not hold, each with its first line."""
    command = [sys.executable, "-m", "slipway.attack", f"--url=http://{server.http}", f"--grpc={server.grpc}"]
    found = subprocess.run(
        [*command, "--model=fp32", "--keep-going", "--json"], check=False, capture_output=True, text=True
    )
    if found.returncode > 1:
        raise RuntimeError(f"the attack suite failed: {found.stderr[-2000:]}")
    groups = json.loads(found.stdout)["groups"]
    return [f"{each['name']}: {each['lines'][:1]}" for each in groups if each["result"] == "not held"]


def _settled(server: RunningServer) -> float:
    """Return the resident memory in MB once the attackers' connections are gone."""
    time.sleep(_SETTLE_S)
    return min(rss_mb(server.pid) for _ in range(10) if time.sleep(0.1) is None)


def soak(minutes: float, engine: str) -> tuple[Soak, list[Client]]:
    """Attack a server with that gRPC engine for `minutes` beside good clients, but for more rounds than the warm-up."""
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "models"
        for name, backend, kind, dims in _MODELS:
            (models / name / "1").mkdir(parents=True)
            (models / name / "config.pbtxt").write_text(_CONFIG.format(backend=backend, kind=kind, dims=dims))
        (models / "double" / "1" / "model.py").write_text(_PYTHON)
        with running_server(models, f"--grpc-engine={engine}") as server:
            done = threading.Event()
            asks = {
                "http": _http(server, "fp32", 1),
                "http, model.py": _http(server, "double", 2),
                "generate": _generate(server),
                "grpc": _grpc(server, "fp32", 1),
                "grpc, model.py": _grpc(server, "double", 2),
                "grpc stream": _stream(server),
            }
            clients = [Client(name) for name in asks]
            threads = [
                threading.Thread(target=_run, args=(client, asks[client.name], done), daemon=True) for client in clients
            ]
            for thread in threads:
                thread.start()
            begin = time.monotonic()
            not_held: list[str] = []
            sizes: list[float] = []
            while time.monotonic() - begin < 60 * minutes or len(sizes) <= _WARM_UP:
                not_held += _attack(server)
                sizes.append(round(_settled(server), 1))
                answered = sum(each.answered for each in clients)
                print(f"round {len(sizes)}: {sizes[-1]} MB, {answered} answered", flush=True)
            done.set()
            for thread in threads:
                thread.join(2 * _LATE_S)
    lost = sum(len(client.lost) for client in clients)
    return (
        Soak(
            machine=describe_machine(),
            minutes=round((time.monotonic() - begin) / 60, 1),
            rounds=len(sizes),
            not_held=not_held,
            answered=sum(client.answered for client in clients),
            lost=lost,
            worst_ms=round(1000 * max(client.worst_s for client in clients), 1),
            grpc_engine=engine,
            rss_mb=sizes,
            growth=round(sizes[-1] / sizes[_WARM_UP - 1] - 1, 4),
        ),
        clients,
    )


def main() -> int:
    """Run the soak; print and save what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--grpc-engine", default="native", choices=("native", "grpcio"))
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    arguments = parser.parse_args()
    found, clients = soak(arguments.minutes, arguments.grpc_engine)
    for client in clients:
        print(f"{client.name:16} {client.answered:8} answered, worst {1000 * client.worst_s:.0f} ms")
        for each in client.lost[:5]:
            print(f"    lost: {each}")
    print(json.dumps(asdict(found), indent=2))
    if arguments.results:
        arguments.results.write_text(json.dumps(asdict(found), indent=2) + "\n")
    return 1 if found.lost or found.growth > _MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
