"""Run the gate of a network that sees images on onnxruntime, without measuring and packaging, which take the most
time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slipway.convert.candidates.gate import expectations, judge
from slipway.convert.candidates.opened import OpenedSource
from slipway.convert.flow import GateVerdict
from slipway.convert.libraries import quiet_libraries
from slipway.convert.options import ConvertOptions
from slipway.convert.vision.opening import open_vision_source
from tests.kits.encoder_gate import one_thread


@dataclass(frozen=True)
class GatedVision:
    """A source and its verdict."""

    source: OpenedSource
    verdict: GateVerdict


def gate_vision(source: Path, work: Path, **changes: Any) -> GatedVision:
    """Open, export and judge a directory, in FP32; raise `SlipwayError` as a conversion would."""
    with quiet_libraries(), one_thread():
        opened = open_vision_source(source, ConvertOptions("m", work, **changes))
        work.mkdir(parents=True, exist_ok=True)
        opened.subject.export_onnx(work / "model.onnx")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.log_severity_level = 4
        session = onnxruntime.InferenceSession(work / "model.onnx", settings)
        names = [each.name for each in session.get_outputs()]

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return dict(zip(names, session.run(None, inputs), strict=True))

        verdict = judge(run, expectations(opened.subject), "fp32", opened.subject.interface)
    return GatedVision(opened, verdict)
