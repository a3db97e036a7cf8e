"""Run the gate of a text model on onnxruntime, without measuring and packaging, which take the most time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slipway.convert.candidates.gate import expectations, judge
from slipway.convert.candidates.opened import OpenedSource
from slipway.convert.encoders.opening import open_source
from slipway.convert.encoders.tokenizer import encode
from slipway.convert.flow import GateVerdict
from slipway.convert.libraries import quiet_libraries
from slipway.convert.options import ConvertOptions


@dataclass(frozen=True)
class Gated:
    """A source, its verdict, and the exported graph."""

    source: OpenedSource
    verdict: GateVerdict
    session: Any
    tokenizer: Any

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
        """Return texts, or pairs of texts, as the served tokenizer encodes them."""
        return encode(self.tokenizer, texts, [each.name for each in self.session.get_inputs()])

    def ask(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return the graph's answers."""
        return self.session.run(None, {each.name: inputs[each.name] for each in self.session.get_inputs()})


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, which is faster than several for networks this small."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def gate(source: Path, work: Path, **changes: Any) -> Gated:
    """Open, export and judge a directory, in FP32; raise `SlipwayError` as a conversion would."""
    with quiet_libraries(), one_thread():
        opened = open_source(source, ConvertOptions("m", work, **changes))
        work.mkdir(parents=True, exist_ok=True)
        opened.subject.export_onnx(work / "model.onnx")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1  # these networks are too small to share
        session = onnxruntime.InferenceSession(work / "model.onnx", settings)
        names = [each.name for each in session.get_outputs()]

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            given = {each.name: inputs[each.name] for each in session.get_inputs()}
            return dict(zip(names, session.run(None, given), strict=True))

        verdict = judge(run, expectations(opened.subject), "fp32", opened.subject.interface)
    return Gated(opened, verdict, session, opened.subject._tokenizer)
