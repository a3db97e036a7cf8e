"""Make an ONNX file smaller for a machine without TensorRT: half weights, or dynamically quantised 8-bit ones.

Inputs and outputs keep their datatypes, so that clients need not know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway.errors import invalid


def halve(source: Path, target: Path) -> None:
    """Write `source` with FP16 weights and arithmetic."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def quantise(source: Path, target: Path) -> None:
    """Write `source` with INT8 weights per channel; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, target, weight_type=QuantType.QInt8, per_channel=True)
    prepared.unlink()


PRECISIONS: Final[dict[str, Callable[[Path, Path], None]]] = {"fp16": halve, "int8": quantise}


def lower(source: Path, target: Path, precision: str) -> None:
    """Write `source` in `precision` to `target`; raise INVALID_ARG with the library's reason when it cannot be."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime's tools log advice on the root logger
    try:
        PRECISIONS[precision](source, target)
    except Exception as error:  # the tools raise whatever they trip over
        text = " ".join(str(error).split())
        raise invalid(
            f"onnxruntime cannot turn the model into {precision}: {type(error).__name__}: {text[:300]}"
        ) from error
    finally:
        root.setLevel(level)
