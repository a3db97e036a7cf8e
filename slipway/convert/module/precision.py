"""Reduce the precision of an ONNX file for machines without TensorRT: FP16, or dynamic INT8 quantisation.

Inputs and outputs keep their datatypes, so clients do not have to change.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway.convert import onnx_file
from slipway.errors import invalid


def quantise(source: Path, target: Path) -> None:
    """Write `source` with INT8 weights, after inferring shapes and folding constants."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    with onnx_file.quiet_tools():
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
    onnx_file.quantise(prepared, target)
    prepared.unlink()


PRECISIONS: Final[dict[str, Callable[[Path, Path], None]]] = {"fp16": onnx_file.halve, "int8": quantise}


def lower(source: Path, target: Path, precision: str) -> None:
    """Write `source` in `precision` to `target`; raise INVALID_ARG with the library's reason if that fails."""
    try:
        PRECISIONS[precision](source, target)
    except Exception as error:  # the tools raise errors without a common root
        text = " ".join(str(error).split())
        raise invalid(
            f"onnxruntime cannot convert the model to {precision}: {type(error).__name__}: {text[:300]}"
        ) from error
