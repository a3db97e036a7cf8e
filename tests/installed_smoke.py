"""What a fresh installation must be able to do, with the base package alone: help, check, serve, answer.

Run by `install_check.py` with the Python of that installation, in an empty directory. Imports nothing of the tests, as
only the wheel is there; writes its models itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpcclient

import slipway

SLIPWAY = Path(sys.executable).with_name("slipway")
ADDRESS = re.compile(r"Started (HTTPService|GRPCInferenceService) at ([\w.]+:\d+)")
CONFIG = """
max_batch_size: 0
input { name: "INPUT0" data_type: TYPE_FP32 dims: -1 }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: -1 }
"""
MODEL_PY = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", 2 * each)]) for each in inputs]
"""
SMALL = np.array([1.5, -2, 3], np.float32)
LARGE = np.arange(100_000, dtype=np.float32)  # travels to a Python model in shared memory


def main() -> None:
    """Run every step; the first that fails ends the script with its traceback."""
    if slipway.__version__ != version("slipway-serving"):
        raise SystemExit(f"slipway {slipway.__version__} is installed as {version('slipway-serving')}")
    if "usage: slipway COMMAND" not in run("--help"):
        raise SystemExit("slipway --help does not show how it is used")
    with tempfile.TemporaryDirectory() as directory:
        repository = Path(directory)
        write_models(repository)
        run("check", str(repository))
        with served(repository) as addresses:
            check_page(addresses["HTTPService"])
            for name, factor in (("same", 1), ("double", 2)):
                for x in (SMALL, LARGE):
                    over_http = ask_http(addresses["HTTPService"], name, x)
                    over_grpc = ask_grpc(addresses["GRPCInferenceService"], name, x)
                    np.testing.assert_array_equal(over_http, factor * x)
                    np.testing.assert_array_equal(over_grpc, factor * x)


def run(*arguments: str) -> str:
    """Return what a slipway command prints; end where it fails."""
    done = subprocess.run([SLIPWAY, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"slipway {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def write_models(repository: Path) -> None:
    """Write a model of the backend identity and one of the backend python."""
    for name, backend in (("same", "identity"), ("double", "python")):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(f'backend: "{backend}"{CONFIG}')
    (repository / "double" / "1" / "model.py").write_text(MODEL_PY)


@contextmanager
def served(repository: Path) -> Iterator[dict[str, str]]:
    """Serve the repository while the block runs; yield the addresses by the names that the log gives them."""
    ports = ("--http-port=0", "--grpc-port=0", "--allow-metrics=false")
    process = subprocess.Popen([SLIPWAY, "serve", repository, *ports], stderr=subprocess.PIPE, text=True)
    try:
        yield addresses(process)
        process.terminate()
        _, log = process.communicate(timeout=40)
        if process.returncode:
            raise SystemExit(f"the server ended with exit code {process.returncode}\n{log}")
    finally:
        process.kill()
        process.communicate()


def addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return where the server listens, as its log says."""
    found: dict[str, str] = {}
    log = []
    for line in process.stderr or ():
        log.append(line)
        found.update(ADDRESS.findall(line))
        if len(found) == 2:
            return found
    raise SystemExit(f"the server ended at start with exit code {process.wait()}\n{''.join(log)}")


def check_page(address: str) -> None:
    """Load the page with everything that it names; end if a file was not installed."""
    left, known = ["/"], set()
    while left:
        path = left.pop()
        known.add(path)
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as response:
            text = response.read().decode()
        named = re.findall(r'(?:from|src=|href=) ?"([./][^"]*)"', text)
        left += {urllib.parse.urljoin(path, each) for each in named} - known - set(left)
    if len(known) < 20:
        raise SystemExit(f"the page consists of {len(known)} files only")


def ask_http(address: str, name: str, x: np.ndarray) -> np.ndarray:
    """Return the answer to a JSON request."""
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": list(x.shape), "data": x.tolist()}
    request = urllib.request.Request(
        f"http://{address}/v2/models/{name}/infer", json.dumps({"inputs": [tensor]}).encode()
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answered = json.load(response)["outputs"][0]
    return np.array(answered["data"], np.float32).reshape(answered["shape"])


def ask_grpc(address: str, name: str, x: np.ndarray) -> np.ndarray:
    """Return the answer to a request of tritonclient."""
    tensor = grpcclient.InferInput("INPUT0", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    with grpcclient.InferenceServerClient(address) as client:
        return client.infer(name, [tensor]).as_numpy("OUTPUT0")


if __name__ == "__main__":
    main()
