"""Sequence models through the server, against `transformers` on the same machine in the same run.

T5-base and BERT-base have random weights, because their values do not affect the figures. Turns alternate, so that a
busy machine affects both; each figure is the median of its turns.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import tritonclient.grpc

from benchmarks.memory import rss_mb
from benchmarks.report import Row, table
from benchmarks.serving import running_server
from benchmarks.toys import write_bert_base, write_t5_base, write_trained_toy

SOURCE_TOKENS: Final = 32
NEW_TOKENS: Final = 64
TURNS: Final = 2
CONCURRENCY: Final = 16
MIXED_LENGTHS: Final = tuple(int(length) for length in np.linspace(8, 128, 32))
MEGABYTE: Final = 1e6
END: Final = 1
NO_END: Final = 32127  # an id that random weights do not choose, so that generation runs to its limit


def generation() -> list[Row]:
    """Measure T5-base, BERT-base and their memory."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        rows: list[Row] = []
        for part in (t5, _agreement, bert, _memory):
            rows += (found := part(root))
            print(table(found), flush=True)  # a part takes minutes
        return rows


@dataclass(frozen=True, slots=True)
class _Served:
    """A client of a running server with T5 models, and the server's process id."""

    client: tritonclient.grpc.InferenceServerClient
    pid: int

    def generate(self, model: str, ids: np.ndarray, tokens: int, *, beams: int = 1, end_id: int = NO_END) -> np.ndarray:
        """Return the ids [batch, tokens] of the best hypothesis for each row of `ids` [batch, source]."""
        rows = len(ids)
        column = np.ones((rows, 1), np.uint32)
        inputs = {
            "input_ids": ids.astype(np.uint32),
            "sequence_length": column * ids.shape[1],
            "max_output_len": column * tokens,
            "beam_width": column * beams,
            "end_id": column * end_id,
        }
        if beams > 1:
            inputs["len_penalty"] = np.ones((rows, 1), np.float32)
        answer = self.client.infer(model, [_tensor(name, array) for name, array in inputs.items()])
        return answer.as_numpy("output_ids")[:, 0, :]


def _tensor(name: str, array: np.ndarray) -> tritonclient.grpc.InferInput:
    datatype = {"uint32": "UINT32", "int32": "INT32", "float32": "FP32"}[array.dtype.name]
    tensor = tritonclient.grpc.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


@contextmanager
def _serving(repository: Path) -> Iterator[_Served]:
    with running_server(repository) as server, tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        yield _Served(client, server.pid)


def _write_t5_model(repository: Path, name: str, checkpoint: Path, compute_type: str, count: int = 1) -> None:
    directory = repository / name
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text(
        f'backend: "fastertransformer"\nmax_batch_size: 128\ndynamic_batching {{ }}\n'
        f"instance_group [ {{ count: {count} kind: KIND_CPU }} ]\n"
        + "".join(
            f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
            for key, value in (
                ("model_type", "T5"),
                ("data_type", "fp32"),
                ("COMPUTE_TYPE", compute_type),
                ("model_checkpoint_path", str(checkpoint)),
            )
        )
    )


def t5(root: Path, **settings: int) -> list[Row]:
    """Measure T5-base against `transformers`; `settings` override those of T5Config."""
    import torch

    source, checkpoint = write_t5_base(root, **settings)
    for compute_type in ("float32", "int8"):
        _write_t5_model(root / "t5", compute_type, checkpoint, compute_type)
    import transformers

    model = transformers.T5ForConditionalGeneration.from_pretrained(source).eval()
    ids = np.random.default_rng(1).integers(5, 32_000, (8, SOURCE_TOKENS))

    def reference(rows: int, beams: int) -> np.ndarray:
        given = torch.from_numpy(ids[:rows])
        with torch.inference_mode():
            answer = model.generate(
                given, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, num_beams=beams
            )
        return answer[:, 1:].numpy()

    rows: list[Row] = []
    with _serving(root / "t5") as served:
        for batch, beams, promised in ((1, 1, (1.7, 3.0)), (8, 1, (1.5, 2.2)), (1, 4, (2.0, None))):
            runs = {
                "transformers": lambda: reference(batch, beams),  # noqa: B023  called before the next turn
                "float32": lambda: served.generate("float32", ids[:batch], NEW_TOKENS, beams=beams),  # noqa: B023
                "int8": lambda: served.generate("int8", ids[:batch], NEW_TOKENS, beams=beams),  # noqa: B023
            }
            speeds, answers = _alternate(runs, batch * NEW_TOKENS)
            what = f"T5-base, batch {batch}" + (f", beam {beams}" if beams > 1 else "")
            for kind, at_least in zip(("float32", "int8"), promised, strict=True):
                rows.append(Row(f"{what}, {kind}", speeds[kind], "tok/s", speeds["transformers"], at_least=at_least))
            same = float(np.mean(answers["float32"] == answers["transformers"]))
            rows.append(Row(f"{what}, float32: ids as transformers'", same, "", at_least=1.0))
        rows.append(_mixed(served))
    return rows


def _alternate(
    runs: dict[str, Callable[[], np.ndarray]], tokens: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the median tokens/s and the last output of each run; the first turn is only a warm-up."""
    answers = {name: run() for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, run in runs.items():
            started = time.perf_counter()
            answers[name] = run()
            seconds[name].append(time.perf_counter() - started)
    return {name: tokens / statistics.median(times) for name, times in seconds.items()}, answers


def _mixed(served: _Served) -> Row:
    """Measure requests of 8 to 128 tokens, sixteen at a time, against the same requests one after the other."""
    ids = np.random.default_rng(2).integers(5, 32_000, (len(MIXED_LENGTHS), SOURCE_TOKENS))
    order = np.random.default_rng(3).permutation(len(MIXED_LENGTHS))

    def ask(index: int) -> None:
        served.generate("float32", ids[index : index + 1], MIXED_LENGTHS[index])

    def timed(workers: int) -> float:
        with ThreadPoolExecutor(workers) as pool:
            started = time.perf_counter()
            list(pool.map(ask, order))
            return sum(MIXED_LENGTHS) / (time.perf_counter() - started)

    alone, together = timed(1), timed(CONCURRENCY)
    name = f"T5-base, 32 requests of 8-128 tokens, concurrency {CONCURRENCY} against 1"
    return Row(name, together, "tok/s", alone, at_least=1.5)


def _agreement(root: Path) -> list[Row]:
    """Report how many tokens int8 changes in a small model that was trained to do a real task."""
    checkpoint, ids, tokens = write_trained_toy(root)
    for compute_type in ("float32", "int8"):
        _write_t5_model(root / "toy", compute_type, checkpoint, compute_type)
    with _serving(root / "toy") as served:
        exact, rounded = (served.generate(kind, ids, tokens, end_id=END) for kind in ("float32", "int8"))
    return [Row("trained toy T5, int8: tokens as float32's", float(np.mean(exact == rounded)), "")]


def bert(root: Path, **settings: int) -> list[Row]:
    """Measure BERT-base against `transformers`; `settings` override those of BertConfig."""
    import torch

    source, written = write_bert_base(root, **settings)
    for compute_type in ("float32", "int8"):
        directory = root / "bert" / compute_type
        (directory / "1").mkdir(parents=True)
        (directory / "bert.hdf5").hardlink_to(written)
        (directory / "config.pbtxt").write_text(
            'backend: "lightseq"\nmax_batch_size: 8\ndefault_model_filename: "bert.hdf5"\n'
            'parameters { key: "model_type" value { string_value: "Bert" } }\n'
            f'parameters {{ key: "COMPUTE_TYPE" value {{ string_value: "{compute_type}" }} }}\n'
        )
    import transformers

    model = transformers.BertModel.from_pretrained(source, add_pooling_layer=False).eval()
    rows = []
    with _serving(root / "bert") as served:
        for tokens in (32, 128):
            for batch in (1, 8):
                ids = np.random.default_rng(4).integers(1000, 30_000, (batch, tokens))

                def reference(given: np.ndarray = ids) -> np.ndarray:
                    with torch.inference_mode():
                        return model(torch.from_numpy(given)).last_hidden_state.numpy()

                def ours(model: str, given: np.ndarray = ids) -> np.ndarray:
                    answer = served.client.infer(model, [_tensor("token_ids", given.astype(np.int32))])
                    return answer.as_numpy("encoder_output")

                repeats = max(1, 256 // (batch * tokens // 8))
                runs = {
                    "transformers": _repeated(reference, repeats),
                    "float32": _repeated(partial(ours, "float32"), repeats),
                    "int8": _repeated(partial(ours, "int8"), repeats),
                }
                speeds, answers = _alternate(runs, batch * repeats)
                what = f"BERT-base through lightseq, {tokens} tokens, batch {batch}"
                for kind, most in (("float32", 2e-3), ("int8", None)):
                    rows.append(Row(f"{what}, {kind}", speeds[kind], "seq/s", speeds["transformers"], at_least=1.5))
                    difference = float(np.abs(answers[kind] - answers["transformers"]).max())
                    rows.append(Row(f"{what}, {kind}: largest difference", difference, "", at_most=most))
    return rows


def _repeated(run: Callable[[], np.ndarray], times: int) -> Callable[[], np.ndarray]:
    def repeat() -> np.ndarray:
        for _ in range(times - 1):
            run()
        return run()

    return repeat


def _memory(root: Path) -> list[Row]:
    """Measure the memory of several instances against one, and the peak memory of a load against the weights."""
    checkpoint = root / "t5-ft"
    weights = sum(file.stat().st_size for file in checkpoint.rglob("*.bin")) / MEGABYTE
    empty = _peak_and_rss(root, [])[0]
    one_peak, one = _peak_and_rss(root, [("t5", 1)])
    _, four = _peak_and_rss(root, [("t5", 4)])
    return [
        Row("T5-base count 4: resident memory, against count 1", four, "MB", one, at_most=1.5),
        Row("T5-base: largest memory of a load, against the weights", one_peak - empty, "MB", weights, at_most=1.3),
    ]


def _peak_and_rss(root: Path, models: Sequence[tuple[str, int]]) -> tuple[float, float]:
    """Return the peak and current resident memory, in MB, of a server that has used every instance."""
    repository = root / "memory"
    repository.mkdir()
    for name, count in models:
        _write_t5_model(repository, name, root / "t5-ft", "float32", count)
    ids = np.full((1, SOURCE_TOKENS), 7)
    with _serving(repository) as served:
        peak = _status(served.pid, "VmHWM")
        for name, count in models:
            with ThreadPoolExecutor(2 * count) as pool:
                list(pool.map(lambda _, model=name: served.generate(model, ids, 8), range(4 * count)))
        resident = rss_mb(served.pid)
    shutil.rmtree(repository)
    return peak, resident


def _status(pid: int, field: str) -> float:
    values: dict[str, Any] = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return int(values[field].split()[0]) / 1024
