"""The capabilities that Slipway takes over from five public systems, one line each, and whether a test shows them.

`python -m tests.capabilities` runs the tests marked `@pytest.mark.capability(id)` and prints `<id> <state> <name>` for
every row: `passed` (all its tests ran and passed), `failed`, or `missing` (it has no test, or none can run here). The
first number of an id is the system:

0. triton-inference-server/fastertransformer_backend with NVIDIA/FasterTransformer: T5, GPT and BERT in Triton
1. bytedance/lightseq with its `examples/triton_backend`
2. tensorflow/tensor2tensor, its models served by Triton
3. NVIDIA/nv-ingest, the guide `docs/dev/triton_models.md` of release 24.10
4. shern2/test-triton-pub: FinBERT in Triton behind a FastAPI proxy
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter, defaultdict

import pytest

NAMES = {
    "0.1": "T5 converter, first command line",
    "0.2": "T5 converter, current command line",
    "0.3": "FasterTransformer axis order",
    "0.4": "gated T5 (v1.1, flan, mT5)",
    "0.5": "path of one model served as a repository",
    "0.6": "parent, relative and absent checkpoint paths",
    "0.7": "first T5 tensor interface",
    "0.8": "current T5 interface, required inputs only",
    "0.9": "beam search equals transformers",
    "0.10": "top-k, top-p, temperature, seed",
    "0.11": "repetition penalty, bad and stop words",
    "0.12": "log probabilities",
    "0.13": "tensor-parallel checkpoints on one CPU",
    "0.14": "rows of unequal length",
    "0.15": "decoupled streaming over gRPC",
    "0.16": "sample requests over HTTP and gRPC",
    "0.17": "T5 encoder alone",
    "0.18": "GPT ensemble text to text",
    "0.19": "IA3 and p-tuning tasks",
    "0.20": "BLEU and tokens/s of a test set",
    "0.21": "T5 tokens/s against transformers",
    "0.22": "T5 instances share weights",
    "1.1": "file beside the config, empty version directory",
    "1.2": "example configs load unchanged on a CPU",
    "1.3": "example client unchanged",
    "1.4": "read .pb weights",
    "1.5": "read .hdf5 weights",
    "1.6": "BART export equals transformers",
    "1.7": "BERT export equals transformers",
    "1.8": "GPT-2 generation and perplexity",
    "1.9": "T5, mT5 and ViT exports",
    "1.10": "int8 quantisation golden bytes",
    "1.11": "quantised models load and answer",
    "1.12": "mixture-of-experts gates",
    "1.13": "allowed beam sizes",
    "1.14": "length penalty and diversity",
    "1.15": "top-k and top-p distributions",
    "1.16": "batch and length limits",
    "1.17": "wrong sizes, extensions and model types named",
    "1.18": "metadata reports the real output type",
    "1.19": "exporter command line",
    "1.20": "multilingual request prefix",
    "1.21": "port flags",
    "1.22": "BERT speed against transformers",
    "2.1": "versions of trainer and compiler",
    "2.2": "registry and hyperparameter sets",
    "2.3": "misspelt hyperparameter set tolerated",
    "2.4": "data generation",
    "2.5": "TFRecord files",
    "2.6": "subword goldens",
    "2.7": "vocabulary builder",
    "2.8": "learning-rate schedule",
    "2.9": "training, checkpoint, resume",
    "2.10": "TensorFlow checkpoint import",
    "2.11": "beam search with length penalty",
    "2.12": "decoder command line",
    "2.13": "BLEU command line",
    "2.14": "exporter",
    "2.15": "compile command",
    "2.16": "serve from an export path",
    "2.17": "client in file mode",
    "2.18": "one query from the command line",
    "2.19": "shutdown finishes what is in flight",
    "2.20": "trained model answers sensibly through the server",
    "3.1": "converter command of the guide",
    "3.2": "converter options and defaults",
    "3.3": "generated config",
    "3.4": "generated repository loads and equals torch",
    "3.5": "variable batch axis",
    "3.6": "dynamic batching merges singles",
    "3.7": "repeat and overwrite",
    "3.8": "bad converter input named",
    "3.9": "subset of inputs",
    "3.10": "limits of preferred batch and workspace",
    "3.11": "fp16 and int8 on a CPU",
    "3.12": "model alias",
    "3.13": "caption selection",
    "3.14": "FP32 mask beside INT64 ids on three transports",
    "3.15": "document parser contract",
    "3.16": "63 MB of images over HTTP and gRPC",
    "3.17": "YOLOX before and after the network",
    "3.18": "YOLOX export and serve",
    "3.19": "E5 ensemble ranks the right passage first",
    "3.20": "compose file",
    "3.21": "verify a repository",
    "4.1": "explicit mode loads what is listed",
    "4.2": "TorchScript model on a CPU",
    "4.3": "proxy health",
    "4.4": "unknown model through the proxy",
    "4.5": "tokenizer model on the stock Python API",
    "4.6": "BERT classifier on ONNX equals torch",
    "4.7": "ensemble text to logits",
    "4.8": "texts of several rows and lengths",
    "4.9": "dynamic batching of parallel clients",
    "4.10": "TensorRT model on a CPU host",
    "4.11": "load, unload, index and config",
    "4.12": "instances share weights",
    "4.13": "config from a model file",
    "4.14": "config validation",
    "4.15": "tuned defaults",
    "4.16": "pipeline from a checkpoint in one command",
    "4.17": "notebooks as tests",
    "4.18": "graceful stop",
    "4.19": "metrics count successes",
    "4.20": "proxy logging",
    "4.21": "proxy overhead",
    "4.22": "optimisation comparison",
}


class Outcomes:
    """A pytest plugin that collects the results of the marked tests by capability."""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = {}  # by test
        self._seen: defaultdict[str, set[str]] = defaultdict(set)  # by capability: passed, failed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            self._ids[item.nodeid] = {mark.args[0] for mark in item.iter_markers("capability")}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or (report.when == "call" and report.passed):
            for capability in self._ids.get(report.nodeid, ()):
                self._seen[capability].add(report.outcome)

    def state(self, capability: str) -> str:
        """Return passed, failed or missing."""
        seen = self._seen[capability]
        return "failed" if "failed" in seen else "passed" if seen else "missing"


def main() -> int:
    """Print one line per capability and the totals; return 1 if one failed or a test file could not be read."""
    outcomes = Outcomes()
    with contextlib.redirect_stdout(sys.stderr):  # keep pytest's report out of the list
        code = pytest.main(
            ["-m", "capability", "-q", "--no-header", "--continue-on-collection-errors"], plugins=[outcomes]
        )
    totals = Counter(outcomes.state(capability) for capability in NAMES)
    for capability, name in NAMES.items():
        print(f"{capability} {outcomes.state(capability)} {name}")
    print(
        f"{len(NAMES)} capabilities: {totals['passed']} passed, {totals['failed']} failed, {totals['missing']} missing"
    )
    return 0 if code == pytest.ExitCode.OK else 1


if __name__ == "__main__":
    sys.exit(main())
