"""What a large request costs the server beside its own size, and that models in processes cannot change one another's
inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
import tritonclient.http as triton

from benchmarks.serving import RunningServer, running_server
from slipway.core.shared_bytes import AVAILABLE

SHAPE = (16, 1280, 1024, 3)
MOST = 1.2  # times the size of the request
CONFIG = """\
backend: "python"
max_batch_size: 16
input [ { name: "image" data_type: TYPE_UINT8 dims: [ 1280, 1024, 3 ] } ]
output [ { name: "sums" data_type: TYPE_INT64 dims: [ 1 ] } ]
"""
# It writes to its input, as models may.
MODEL = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        sums = image.sum((1, 2, 3), dtype=np.int64)[:, None]
        image[:, 0] = 0
        return pb_utils.InferenceResponse([pb_utils.Tensor("sums", sums)])
"""
ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 16
input [ { name: "image" data_type: TYPE_UINT8 dims: [ 1280, 1024, 3 ] } ]
output [ { name: "first" data_type: TYPE_INT64 dims: [ 1 ] }, { name: "second" data_type: TYPE_INT64 dims: [ 1 ] } ]
ensemble_scheduling { step [
  { model_name: "one" model_version: -1
    input_map { key: "image" value: "image" } output_map { key: "sums" value: "first" } },
  { model_name: "two" model_version: -1
    input_map { key: "image" value: "image" } output_map { key: "sums" value: "second" } }
] }
"""

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no memfd")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    models = tmp_path_factory.mktemp("models")
    for name in ("one", "two", "both"):
        (models / name / "1").mkdir(parents=True)
        (models / name / "config.pbtxt").write_text(ENSEMBLE if name == "both" else CONFIG)
        if name != "both":
            (models / name / "1" / "model.py").write_text(MODEL)
    with running_server(models) as running:
        yield running


def ask(server: RunningServer, model: str, images: np.ndarray) -> dict[str, list[int]]:
    given = triton.InferInput("image", list(images.shape), "UINT8")
    given.set_data_from_numpy(images)
    with triton.InferenceServerClient(server.http) as client:
        result = client.infer(model, [given])
        return {each["name"]: result.as_numpy(each["name"])[:, 0].tolist() for each in result.get_response()["outputs"]}


def memory(pid: int, field: str) -> int:
    """Return a figure of /proc/PID/status in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def test_a_large_request_to_a_process_costs_the_server_little_more_than_its_size(server: RunningServer) -> None:
    images = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    ask(server, "one", images[:1, :])
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    before = memory(server.pid, "VmRSS")
    assert ask(server, "one", images) == {"sums": images.sum((1, 2, 3), dtype=np.int64).tolist()}
    assert memory(server.pid, "VmHWM") - before < MOST * images.nbytes


def test_a_server_at_rest_does_not_keep_the_last_large_request(server: RunningServer) -> None:
    images = np.zeros(SHAPE, np.uint8)
    ask(server, "one", images)
    deadline = monotonic() + 30
    while memory(server.pid, "RssShmem") > images.nbytes // 4 and monotonic() < deadline:
        sleep(0.05)
    assert memory(server.pid, "RssShmem") <= images.nbytes // 4


def test_what_a_model_writes_to_its_input_no_other_model_sees(server: RunningServer) -> None:
    images = np.full((1, *SHAPE[1:]), 7, np.uint8)
    for _ in range(3):
        assert ask(server, "both", images) == {"first": [7 * images[0].size], "second": [7 * images[0].size]}
