"""What one large or hostile request costs everybody else: the latency of health checks and the server's peak memory
while it runs. Measures; asserts nothing.

    python -m benchmarks.neighbours [--only NAME ...]
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import psutil
from tritonclient.grpc import service_pb2

from benchmarks.serving import RunningServer, running_server

MIB: Final = 1 << 20
_HEALTH_S: Final = 0.002  # between two health checks
_MEMORY_S: Final = 0.01
_CONFIG: Final = """\
backend: "identity"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: {kind} dims: [ {dims} ] }} ]
output [ {{ name: "OUTPUT0" data_type: {kind} dims: [ {dims} ] }} ]
"""
_MODELS: Final = {
    "fp32": ("TYPE_FP32", "-1"),
    "int64": ("TYPE_INT64", "-1"),
    "bytes": ("TYPE_STRING", "-1"),
}
_EIGHT: Final = struct.pack("<I", 8) + b"abcdefgh"
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one probe."""

    name: str
    status: str
    seconds: float
    request_mib: float
    p99_ms: float
    worst_ms: float
    peak_mib: float  # above the memory before the request

    def __str__(self) -> str:
        factor = self.peak_mib / self.request_mib if self.request_mib else 0.0
        return (
            f"{self.name:<28} {self.status:<14} {self.seconds:7.2f} s  health p99 {self.p99_ms:8.1f} ms  worst "
            f"{self.worst_ms:8.1f} ms  request {self.request_mib:6.1f} MiB  peak +{self.peak_mib:7.0f} MiB "
            f"({factor:.1f}x)"
        )


Send = Callable[[RunningServer], tuple[str, int]]  # returns the status and the bytes sent


def _http(model: str, body: bytes, path: str = "infer", **headers: str) -> Send:
    def send(server: RunningServer) -> tuple[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=300)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", f"/v2/models/{model}/{path}", body=body, headers=named)
        response = connection.getresponse()
        while response.read(MIB):
            pass
        connection.close()
        return str(response.status), len(body)

    return send


def _rpc(message: bytes, *, compress: bool = False) -> Send:
    def send(server: RunningServer) -> tuple[str, int]:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(server.grpc, options=options) as channel:
            call = channel.unary_unary(_INFER)
            try:
                call(message, timeout=300, compression=grpc.Compression.Gzip if compress else None)
            except grpc.RpcError as error:
                return error.code().name, len(message)  # type: ignore[attr-defined]
        return "OK", len(message)

    return send


def _document(datatype: str, shape: str, data: str, **parameters: Any) -> bytes:
    tail = f', "parameters": {json.dumps(parameters)}' if parameters else ""
    return (
        f'{{"inputs": [{{"name": "INPUT0", "datatype": "{datatype}", "shape": [{shape}], "data": {data}}}]{tail}}}'
    ).encode()


def _binary(datatype: str, count: int, blob: bytes, **output: Any) -> tuple[bytes, str]:
    document = {
        "inputs": [
            {
                "name": "INPUT0",
                "datatype": datatype,
                "shape": [1, count],
                "parameters": {"binary_data_size": len(blob)},
            }
        ],
        "outputs": [{"name": "OUTPUT0", "parameters": output or {"binary_data": False}}],
    }
    text = json.dumps(document).encode()
    return text + blob, str(len(text))


def _message(datatype: str, count: int, **fields: Any) -> service_pb2.ModelInferRequest:
    model = {"BYTES": "bytes", "FP32": "fp32"}.get(datatype, "int64")
    message = service_pb2.ModelInferRequest(model_name=model, **fields)
    message.inputs.add(name="INPUT0", datatype=datatype, shape=[1, count])
    return message


def _probes() -> Iterator[tuple[str, Callable[[], Send]]]:
    def binary_to_json(datatype: str, count: int, blob: bytes, **output: Any) -> Send:
        body, head = _binary(datatype, count, blob, **output)
        model = {"BYTES": "bytes", "FP32": "fp32"}[datatype]
        return _http(model, body, Inference_Header_Content_Length=head)

    floats = np.random.default_rng(0).random(15 * MIB, np.float32)

    def contents(**given: Any) -> Send:
        (name, values), *_ = given.items()
        datatype = {"bytes_contents": "BYTES", "int64_contents": "INT64", "fp32_contents": "FP32"}[name]
        message = _message(datatype, len(values))
        getattr(message.inputs[0].contents, name).extend(values)
        return _rpc(message.SerializeToString())

    def long_version() -> Send:
        message = _message("FP32", 1)
        message.model_version = "1" + "x" * (2 * MIB)
        return _rpc(message.SerializeToString())

    def numbers_json(model: str, datatype: str, element: str, count: int) -> Send:
        return _http(model, _document(datatype, f"1,{count}", "[" + ",".join([element] * count) + "]"))

    def parameters(count: int) -> dict[str, int]:
        return {f"p{number}": number for number in range(count)}

    def raw(datatype: str, count: int, blob: bytes, *, compress: bool = False) -> Send:
        message = _message(datatype, count, raw_input_contents=[blob])
        return _rpc(message.SerializeToString(), compress=compress)

    yield "baseline", lambda: _http("fp32", _document("FP32", "1,2", "[1,2]"))
    yield "100 000 dims", lambda: _http("int64", _document("INT64", ",".join([str(2**63 - 1)] * 100_000), "[1]"))
    yield "empty gzip members", lambda: _http("fp32", gzip.compress(b"") * 300_000, Content_Encoding="gzip")
    yield "gzip bomb", lambda: _http("fp32", gzip.compress(bytes(2000 * MIB), 1), Content_Encoding="gzip")
    yield "60 MiB binary to JSON", lambda: binary_to_json("FP32", floats.size, floats.tobytes())
    yield "NaN to JSON", lambda: binary_to_json("FP32", 4 * MIB, np.full(4 * MIB, np.nan, np.float32).tobytes())
    yield "BYTES binary to JSON", lambda: binary_to_json("BYTES", 10 * MIB, bytes(40 * MIB))
    yield "BYTES text to JSON", lambda: binary_to_json("BYTES", 4 * MIB, _EIGHT * 4 * MIB)
    yield "10 million numbers", lambda: numbers_json("fp32", "FP32", "0.123", 10_000_000)
    yield "20 million small numbers", lambda: numbers_json("int64", "INT64", "1", 20_000_000)
    colon = b'{"id":"a:b","inputs":[{"name":"INPUT0","datatype":"INT64","shape":[1,1],"data":[%b]}]}'
    yield "a colon, 60 MiB of digits", lambda: _http("int64", colon % (b"1" * (60 * MIB)))
    yield "20 million empty strings", lambda: numbers_json("bytes", "BYTES", '""', 20_000_000)
    yield "one string of 60 MiB", lambda: numbers_json("bytes", "BYTES", '"' + "x" * (60 * MIB) + '"', 1)
    yield "7 MiB of NaN", lambda: numbers_json("fp32", "FP32", "NaN", 1_800_000)
    yield "1.9 MiB of NaN", lambda: numbers_json("fp32", "FP32", "NaN", 450_000)
    yield "60 MiB of parameters", lambda: _http("fp32", _document("FP32", "1,1", "[1]", **parameters(3_400_000)))
    yield "generate numbers 60 MiB", lambda: _http("int64", b'{"INPUT0":[%b1]}' % (b"1," * (30 * MIB)), "generate")
    yield "generate text 60 MiB", lambda: _http("bytes", b'{"INPUT0": "%b"}' % (b"x" * (60 * MIB)), "generate")
    yield "generate colons 60 MiB", lambda: _http("bytes", b'{"INPUT0": ":%b"}' % (b"\\n" * (30 * MIB)), "generate")
    yield "generate strings 60 MiB", lambda: _http("bytes", b'{"INPUT0":[%b""]}' % (b'"",' * (20 * MIB)), "generate")
    yield "a million classes", lambda: binary_to_json("FP32", 10**6, floats[: 10**6].tobytes(), classification=10**6)
    yield "gRPC BYTES raw", lambda: raw("BYTES", 10 * MIB, bytes(40 * MIB))
    yield "gRPC bytes_contents", lambda: contents(bytes_contents=[b""] * (10 * MIB))
    yield "gRPC int64_contents", lambda: contents(int64_contents=[1] * (20 * MIB))
    yield "gRPC fp32_contents", lambda: contents(fp32_contents=[1.5] * (15 * MIB))
    yield "gRPC FP32 raw", lambda: raw("FP32", floats.size, floats.tobytes())
    yield "gRPC long version", long_version
    yield "gRPC gzip bomb", lambda: raw("FP32", 2**28, bytes(2**30), compress=True)


def _watch_health(port: int, times: list[float], done: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    while not done.is_set():
        begin = time.monotonic()
        connection.request("GET", "/v2/health/ready")
        connection.getresponse().read()
        times.append(time.monotonic() - begin)
        done.wait(_HEALTH_S)
    connection.close()


def _watch_memory(process: psutil.Process, peak: list[int], done: threading.Event) -> None:
    while not done.is_set():
        peak[0] = max(peak[0], process.memory_info().rss)
        done.wait(_MEMORY_S)


def _measure(server: RunningServer, name: str, send: Send, least_s: float = 0.5) -> Finding:
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    times: list[float] = []
    peak, done = [before], threading.Event()
    watchers = [
        threading.Thread(target=_watch_health, args=(server.ports.http, times, done)),
        threading.Thread(target=_watch_memory, args=(process, peak, done)),
    ]
    for watcher in watchers:
        watcher.start()
    begin = time.monotonic()
    status, sent = send(server)
    seconds = time.monotonic() - begin
    time.sleep(max(0.0, least_s - seconds))
    done.set()
    for watcher in watchers:
        watcher.join()
    p99, worst = np.quantile(times, [0.99, 1.0]) * 1000
    return Finding(name, status, seconds, sent / MIB, float(p99), float(worst), (peak[0] - before) / MIB)


def main() -> int:
    """Run every probe, each against a fresh server, and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of probes")
    parser.add_argument("flags", nargs="*", help="flags of the server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "models"
        for name, (kind, dims) in _MODELS.items():
            (models / name / "1").mkdir(parents=True)
            (models / name / "config.pbtxt").write_text(_CONFIG.format(kind=kind, dims=dims))
        for name, build in _probes():
            if arguments.only and not any(part in name for part in arguments.only):
                continue
            send = build()
            with running_server(models, *arguments.flags) as server:
                sys.stdout.write(f"{_measure(server, name, send)}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
