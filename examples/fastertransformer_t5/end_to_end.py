"""Translates a test set through the server and prints BLEU and tokens/s, as FasterTransformer's
tools/t5_utils/t5_end_to_end_test.py does.

The test set has the form of FasterTransformer's own: one line per sentence, sentencepiece pieces separated by spaces.
The model's metadata shows which of the two interfaces it has.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

PREFIX = "translate English to German: "
PORTS = {"http": 8000, "grpc": 8001}


@dataclass(slots=True)
class Translation:
    """The translated sentences, and the batches, seconds and tokens that they took."""

    sentences: list[str]
    batches: int
    seconds: float
    tokens: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Translate, print, and compare with the threshold; return 1 below it or if nothing could be measured."""
    options = parse(arguments)
    measurable = find_spec("sacrebleu") is not None
    if not measurable and options.BLEU_threshold is not None:
        return fail("BLEU needs the package sacrebleu: pip install sacrebleu")
    try:
        source, target = read_pieces(options.source), read_pieces(options.target)
        if len(source) != len(target):
            return fail(f"{options.source} has {len(source)} lines, {options.target} has {len(target)}")
        source = source[: options.max_ite * options.batch_size]
        translate(source[: options.batch_size], options)  # to warm up
        result = translate(source, options)
    except (InferenceServerException, OSError) as error:
        return fail(str(error))
    bleu = score(result.sentences, target[: len(source)]) if measurable else None
    shown = f"{bleu:.2f}" if bleu is not None else "not measured (pip install sacrebleu)"
    print(
        f"[INFO] ft_triton translates {result.batches} batches taking {result.seconds:.2f} sec to translate "
        f"{result.tokens} tokens, BLEU score: {shown}, {result.tokens / result.seconds:.0f} tokens/sec."
    )
    if bleu is not None and options.BLEU_threshold is not None and bleu < options.BLEU_threshold:
        return fail(f"BLEU score {bleu:.2f} is below the threshold {options.BLEU_threshold:g}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options, which have the original's names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-batch", "--batch_size", type=int, default=1, help="sentences per request (default: 1)")
    parser.add_argument("-max_output_len", "--max_output_len", type=int, default=128, help="in tokens (default: 128)")
    parser.add_argument("--source", type=Path, default=Path("t5-tiny/test.en"), help="default: t5-tiny/test.en")
    parser.add_argument("--target", type=Path, default=Path("t5-tiny/test.de"), help="default: t5-tiny/test.de")
    parser.add_argument("-model", "--model", default="t5-tiny", help="directory with the tokenizer (default: t5-tiny)")
    parser.add_argument("-beam", "--beam_width", type=int, default=1, help="default: 1")
    parser.add_argument("-topk", "--topk", type=int, default=1, help="default: 1")
    parser.add_argument("-topp", "--topp", type=float, default=0.0, help="default: 0.0")
    parser.add_argument("-i", "--protocol", choices=tuple(PORTS), default="http", help="default: http")
    parser.add_argument("-u", "--url", default="", help="host:port (default: localhost:8000, 8001 for gRPC)")
    parser.add_argument("--model_name", default="fastertransformer", help="served model (default: fastertransformer)")
    parser.add_argument("--BLEU_threshold", type=float, help="fail below this score")
    parser.add_argument("-max_ite", "--max_ite", type=int, default=100000, help="maximum batches (default: 100000)")
    return parser.parse_args(arguments)


def fail(message: str) -> int:
    """Print the message on standard error and return 1."""
    print(f"error: {message}", file=sys.stderr)
    return 1


def read_pieces(path: Path) -> list[str]:
    """Return the sentences of a file of pieces: spaces separate pieces, U+2581 is a space in the text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.replace(" ", "").replace("\u2581", " ").strip() for line in lines]


def translate(sentences: Sequence[str], options: argparse.Namespace) -> Translation:
    """Send all sentences in batches, one after another."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    module: Any = getattr(tritonclient, options.protocol)
    answers = []
    with module.InferenceServerClient(options.url or f"localhost:{PORTS[options.protocol]}") as client:
        beta = "INPUT_ID" in input_names(client.get_model_metadata(options.model_name))
        begin = time.perf_counter()
        for batch in batches(sentences, options.batch_size):
            tokens = tokenizer([PREFIX + each for each in batch], padding=True, return_tensors="np")
            ids = tokens.input_ids.astype(np.uint32)
            lengths = tokens.attention_mask.sum(axis=1, keepdims=True).astype(np.uint32)
            arrays = {"INPUT_ID": ids, "REQUEST_INPUT_LEN": lengths} if beta else current(ids, lengths, options)
            result = client.infer(options.model_name, [tensor(module, name, array) for name, array in arrays.items()])
            outputs = ("OUTPUT0", "OUTPUT1") if beta else ("output_ids", "sequence_length")
            answers.append([result.as_numpy(name) for name in outputs])
        seconds = time.perf_counter() - begin
    rows = [(row[0], int(length[0])) for ids, lengths in answers for row, length in zip(ids, lengths, strict=True)]
    texts = [tokenizer.decode(ids[:length].astype(np.int64), skip_special_tokens=True) for ids, length in rows]
    return Translation(texts, len(answers), seconds, sum(length for _, length in rows))


def batches(sentences: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield `size` sentences at a time."""
    for start in range(0, len(sentences), size):
        yield sentences[start : start + size]


def input_names(metadata: Any) -> list[str]:
    """Return the input names of a model's metadata, a dictionary over HTTP and a message over gRPC."""
    if isinstance(metadata, dict):
        return [each["name"] for each in metadata["inputs"]]
    return [each.name for each in metadata.inputs]


def current(ids: np.ndarray, lengths: np.ndarray, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the tensors of the current interface; the first interface has its settings in config.pbtxt."""
    rows = len(ids)
    return {
        "input_ids": ids,
        "sequence_length": lengths,
        "max_output_len": np.full((rows, 1), options.max_output_len, np.uint32),
        "beam_width": np.full((rows, 1), options.beam_width, np.uint32),
        "runtime_top_k": np.full((rows, 1), options.topk, np.uint32),
        "runtime_top_p": np.full((rows, 1), options.topp, np.float32),
        "len_penalty": np.full((rows, 1), 1.0, np.float32),
    }


def tensor(module: Any, name: str, array: np.ndarray) -> Any:
    """Return an input for a client module."""
    made = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def score(sentences: Sequence[str], references: Sequence[str]) -> float:
    """Print the BLEU score of the corpus with its parts, and return it."""
    from sacrebleu import corpus_bleu

    bleu = corpus_bleu(list(sentences), [list(references)], force=True)
    print(f"       bleu score: {bleu.score:6.2f}")
    print(f"       bleu counts: {bleu.counts}")
    print(f"       bleu totals: {bleu.totals}")
    print(f"       bleu precisions: {bleu.precisions}")
    print(f"       bleu sys_len: {bleu.sys_len}; ref_len: {bleu.ref_len}")
    return float(bleu.score)


if __name__ == "__main__":
    sys.exit(main())
