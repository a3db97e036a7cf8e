"""The tasks of FasterTransformer's client scripts, done by ours: streams, request files, BLEU of a test set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.serving import RunningServer
from slipway.cli.main import main as slipway
from tests.kits import servers
from tests.kits.fastertransformer_models import (
    BETA,
    add_model,
    generate,
    shipped_interface,
    tiny_gpt2,
    tiny_t5,
    write_checkpoint,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "fastertransformer_t5"
SAMPLES = next(
    (
        place
        for place in (ROOT / "shared", ROOT.parent / "shared")
        if (place / "data/fastertransformer/sample_request_single_t5.json").is_file()
    ),
    ROOT,
)
SAMPLES = SAMPLES / "data" / "fastertransformer"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="FasterTransformer's sample requests are not available")


def run_script(name: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of the example's scripts, as a reader would."""
    command = [sys.executable, str(EXAMPLE / name), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=200, check=False)


@dataclass
class Served:
    http: str
    grpc: str
    checkpoint: Path  # of Hugging Face, made by the example

    def params(self, protocol: str, model: str = "fastertransformer", **config: object) -> str:
        url = self.http if protocol == "http" else self.grpc
        return json.dumps({"config": {"protocol": protocol, "url": url, "model_name": model, **config}})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The example's checkpoint with both interfaces, and models with full vocabularies for the sample requests."""
    root = tmp_path_factory.mktemp("clients")
    made = run_script("make_checkpoint.py", "-o", "t5-tiny", "--steps", "20", cwd=root)
    assert made.returncode == 0, made.stderr
    arguments = ["-o", str(root / "out"), "-i", str(root / "t5-tiny")]
    assert slipway(["huggingface_t5_ckpt_convert", *arguments, "-i_g", "1"]) == 0
    checkpoint, repository = str(root / "out" / "1-gpu"), root / "models"
    add_model(repository, "fastertransformer", "T5", shipped_interface(), model_checkpoint_path=checkpoint)
    add_model(repository, "beta", "T5", BETA, model_checkpoint_path=checkpoint, max_decoding_seq_len="32")
    stream = "model_transaction_policy { decoupled: true }\n"
    add_model(repository, "stream", "T5", shipped_interface() + stream, model_checkpoint_path=checkpoint)
    sample = tiny_t5(steps=0, vocab_size=32128)
    write_checkpoint(sample, add_model(repository, "sample", "T5"), root / "sample")
    directory = str(repository / "sample" / "1")
    add_model(repository, "sample_stream", "T5", stream, model_checkpoint_path=directory)
    add_model(repository, "sample_encoder", "T5-Encoder", model_checkpoint_path=directory)
    write_checkpoint(tiny_gpt2(50257), add_model(repository, "sample_gpt", "GPT"), root / "gpt")
    with servers.served(repository) as running:
        yield Served(running.http, running.grpc, root / "t5-tiny")


@pytest.mark.capability("0.15")
def test_a_stream_grows_by_one_token_at_a_time(served):
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    request = served.checkpoint / "request.json"
    params = served.params("grpc", "stream", stream_api=True)
    done = run_script("issue_request.py", str(request), "--params", params, "-t")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line.removeprefix("tokens ")) for line in done.stdout.splitlines()]
    assert [len(line) for line in lines] == list(range(1, len(lines) + 1))
    model = T5ForConditionalGeneration.from_pretrained(served.checkpoint)
    ids = json.loads(request.read_text())["request"][0]["data"][0]
    assert lines[-1] == generate(model, ids, 32)[0]
    assert len(AutoTokenizer.from_pretrained(served.checkpoint)) == model.config.vocab_size


@pytest.mark.capability("0.16")
def test_a_request_file_prints_the_same_over_both_protocols(served):
    request = str(served.checkpoint / "request.json")
    http, grpc = (run_script("issue_request.py", request, "-p", served.params(each)) for each in ("http", "grpc"))
    assert http.returncode == grpc.returncode == 0, http.stderr + grpc.stderr
    assert http.stdout == grpc.stdout
    assert [line for line in http.stdout.splitlines() if line.endswith(":")] == ["output_ids:", "sequence_length:"]


def test_a_missing_request_file_is_named():
    done = run_script("issue_request.py", "nowhere.json")
    assert (done.returncode, done.stderr) == (1, "error: request file 'nowhere.json' does not exist\n")


def answers(text: str) -> dict[str, str]:
    """Return the arrays in a printed response by name."""
    parts: dict[str, str] = {}
    for line in text.splitlines():
        if line.endswith(":"):
            parts[line[:-1]] = ""
        else:
            parts[next(reversed(parts))] += line
    return parts


@needs_samples
@pytest.mark.capability("0.16")
def test_nvidias_sample_request_prints_the_same_over_both_protocols(served):
    request = str(SAMPLES / "sample_request_single_t5.json")
    done = [run_script("issue_request.py", request, "-p", served.params(each, "sample")) for each in ("http", "grpc")]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr + done[1].stderr
    assert done[0].stdout == done[1].stdout
    names = {"output_ids", "sequence_length", "cum_log_probs", "output_log_probs"}
    assert answers(done[0].stdout).keys() == names


@needs_samples
@pytest.mark.capability("0.15")
def test_nvidias_sample_stream_grows_by_one_token_at_a_time(served):
    request = str(SAMPLES / "sample_request_stream_t5.json")
    params = served.params("grpc", "sample_stream", stream_api=True)
    done = run_script("issue_request.py", request, "-p", params, "-t")
    assert done.returncode == 0, done.stderr
    assert 1 <= len(done.stdout.splitlines()) <= 128


@needs_samples
@pytest.mark.parametrize(
    ("file", "model", "outputs"),
    [
        ("sample_request_single_t5_encoder.json", "sample_encoder", {"output_hidden_state", "output_attentions"}),
        (
            "sample_request.json",
            "sample_gpt",
            {"output_ids", "sequence_length", "response_input_lengths", "cum_log_probs", "output_log_probs"},
        ),
    ],
)
def test_nvidias_other_sample_requests_are_answered(served, file, model, outputs):
    done = run_script("issue_request.py", str(SAMPLES / file), "-p", served.params("http", model))
    assert done.returncode == 0, done.stderr
    assert answers(done.stdout).keys() == outputs


@needs_samples
@pytest.mark.capability("0.19")
def test_nvidias_sample_of_a_task_is_refused_where_there_are_none(served):
    request = str(SAMPLES / "sample_request_single_t5_ia3.json")
    done = run_script("issue_request.py", request, "-p", served.params("http", "sample"))
    assert done.returncode == 1
    assert "the checkpoint has no IA3 tasks" in done.stderr


def end_to_end(served: Served, *more: str) -> subprocess.CompletedProcess[str]:
    folder = served.checkpoint
    files = ["--source", str(folder / "test.en"), "--target", str(folder / "test.de"), "-model", str(folder)]
    return run_script("end_to_end.py", *files, "-max_output_len", "32", *more)


@pytest.mark.capability("0.20")
@pytest.mark.parametrize(("protocol", "model"), [("http", "fastertransformer"), ("grpc", "beta")])
def test_a_test_set_gives_bleu_and_tokens_per_second(served, protocol, model):
    pytest.importorskip("sacrebleu")
    where = ("-i", protocol, "-u", getattr(served, protocol), "--model_name", model)
    done = end_to_end(served, *where, "-batch", "8", "-max_ite", "3")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("[INFO] ft_triton translates 3 batches taking ")
    assert "BLEU score: " in last
    assert last.endswith(" tokens/sec.")


@pytest.mark.capability("0.20")
def test_a_missed_threshold_is_a_failure(served):
    pytest.importorskip("sacrebleu")
    url = ("-u", served.http, "-batch", "20", "-max_ite", "1", "-beam", "2")
    assert end_to_end(served, *url, "--BLEU_threshold", "0").returncode == 0
    missed = end_to_end(served, *url, "--BLEU_threshold", "100.1")
    assert missed.returncode == 1
    assert "below the threshold 100.1" in missed.stderr


def test_a_server_that_is_not_there_is_an_error_and_no_traceback(served):
    done = end_to_end(served, "-u", "127.0.0.1:9", "-i", "grpc")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.capability("0.22")
def test_four_instances_need_little_more_memory_than_one(serve, tmp_path, monkeypatch):
    import psutil
    import tritonclient.http

    monkeypatch.setenv("SLIPWAY_CACHE_DIR", str(tmp_path / "cache"))
    sizes = {}
    weights = tiny_t5(steps=0, d_model=512, d_kv=64, num_heads=8, d_ff=2048, num_layers=4, vocab_size=4000)
    for count in (1, 4):
        repository = tmp_path / str(count)
        groups = f"instance_group [ {{ count: {count} kind: KIND_CPU }} ]\n"
        version = add_model(repository, "t5", "T5", groups)
        write_checkpoint(weights, version, tmp_path / "hf")
        running: RunningServer = serve(repository)
        with tritonclient.http.InferenceServerClient(running.http, concurrency=8) as client:
            pending = [client.async_infer("t5", request_of(20)) for _ in range(8)]
            assert all(each.get_result().as_numpy("output_ids").shape == (1, 1, 20) for each in pending)
        sizes[count] = psutil.Process(running.process.pid).memory_info().rss
        running.stop()
    assert sizes[4] < 1.5 * sizes[1]


def request_of(tokens: int) -> list[object]:
    import numpy as np
    import tritonclient.http

    from tests.kits.calls import tensors

    ids = np.array([[5, 6, 7, 1]], np.uint32)
    lengths, limit = np.array([[4]], np.uint32), np.array([[tokens]], np.uint32)
    return tensors(tritonclient.http, {"input_ids": ids, "sequence_length": lengths, "max_output_len": limit})
