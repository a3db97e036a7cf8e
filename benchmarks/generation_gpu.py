"""Sequence models on a GPU: T5-base in bfloat16 against `transformers` in bfloat16, on the same device and run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.reference import CannotRunError
from benchmarks.report import Row
from benchmarks.toys import write_t5_base
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.transformer.engines import open_engine
from slipway.transformer.generation import Decoding, Search, collect
from slipway.transformer.generation import SequenceRequest as Sequence
from slipway.transformer.options import EngineOptions

SOURCE_TOKENS: Final = 32
NEW_TOKENS: Final = 64
TURNS: Final = 5
NO_END: Final = 32127


def generation_gpu() -> list[Row]:
    """Measure greedy search at batch sizes 1, 8 and 32 and beam width 4, with the name of the device in every row."""
    import torch
    from transformers import T5ForConditionalGeneration

    if not torch.cuda.is_available():
        raise CannotRunError("no CUDA device")
    device = torch.cuda.get_device_name()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        source, _ = write_t5_base(Path(scratch))
        checkpoint = read_huggingface(source)
        options = EngineOptions(engine="torch", compute_type="bfloat16", device="cuda")
        engine = open_engine(checkpoint.spec, checkpoint.weights, options, name="t5-base")
        model = T5ForConditionalGeneration.from_pretrained(source, dtype=torch.bfloat16).cuda().eval()
        ids = np.random.default_rng(1).integers(5, 32_000, (32, SOURCE_TOKENS))
        for batch, beams in ((1, 1), (8, 1), (32, 1), (1, 4), (8, 4)):
            search = Search.SAMPLE if beams == 1 else Search.HUGGING_FACE
            decoding = Decoding(NEW_TOKENS, end_id=NO_END, search=search, beam_width=beams, length_penalty=1.0)
            given = [Sequence(row, decoding) for row in ids[:batch]]

            def reference(batch: int = batch, beams: int = beams) -> None:
                with torch.inference_mode():
                    model.generate(
                        torch.from_numpy(ids[:batch]).cuda(),
                        max_new_tokens=NEW_TOKENS,
                        min_new_tokens=NEW_TOKENS,
                        do_sample=False,
                        num_beams=beams,
                    )
                torch.cuda.synchronize()

            def ours(given: list[Sequence] = given) -> None:
                collect(engine, given)

            ours_speed, reference_speed = (batch * NEW_TOKENS / seconds for seconds in _alternate(ours, reference))
            what = f"{device}: T5-base bfloat16, batch {batch}" + (f", beam {beams}" if beams > 1 else "")
            rows.append(Row(what, ours_speed, "tok/s", reference_speed))
        engine.close()
    return rows


def _alternate(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float]:
    """Return the median seconds of each, in alternating turns; the first turn is only a warm-up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 1):
        for run, times in zip((first, second), seconds, strict=True):
            started = time.perf_counter()
            run()
            if turn:
                times.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
