"""ONNX files, for every wing: trace a torch module, open a file in onnxruntime, convert it to FP16 or INT8."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from slipway.convert.libraries import cause_of
from slipway.errors import invalid

OPSET: Final = 17  # the first with LayerNormalization; supported by all recent versions of onnxruntime and Triton
_PROGRAM_OPSET: Final = 18  # the oldest that torch writes programs in


def trace(
    module: Any,
    arguments: tuple[Any, ...],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    """Write a torch module as ONNX; `axes` names the variable dims of tensors. Errors from torch are not wrapped."""
    import torch

    torch.onnx.export(
        module,
        arguments,
        str(path),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,  # the newer exporter needs onnxscript and takes ten times as long
    )


def export_program(program: Any, path: Path, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write a torch.export program as ONNX with its variable sizes. Needs `onnxscript`; errors from torch are not
    wrapped."""
    import torch

    with quiet_tools():
        torch.onnx.export(
            program,
            (),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=_PROGRAM_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def open_session(path: Path) -> Any:
    """Return an onnxruntime session on the CPU; raise `SlipwayError` if onnxruntime cannot open the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal only: errors are raised anyway
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the error types of onnxruntime are private to its extension module
        raise invalid(f"onnxruntime cannot open '{path}': {cause_of(error)}") from error


def halve(source: Path, target: Path) -> None:
    """Write `source` with FP16 weights and arithmetic; inputs and outputs keep their types."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def quantise(source: Path, target: Path) -> None:
    """Write `source` with INT8 weights, quantised per channel; activations are quantised dynamically."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with (
        _without_weight_shapes(source) as plain,
        quiet_tools(),
    ):  # it recommends a step that only static quantisation needs
        quantize_dynamic(plain, target, weight_type=QuantType.QInt8, per_channel=True)


@contextlib.contextmanager
def _without_weight_shapes(source: Path) -> Iterator[Path]:
    """Yield a file without the shapes that torch's exporter of programs also states for weights: the quantiser
    transposes weights, but not those shapes."""
    import onnx

    model = onnx.load(source, load_external_data=False)
    weights = {weight.name for weight in model.graph.initializer}
    others = [value for value in model.graph.value_info if value.name not in weights]
    if len(others) == len(model.graph.value_info):
        yield source
        return
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    plain = source.with_name(f"plain-{source.name}")  # beside it, where its external data is
    onnx.save(model, plain)
    try:
        yield plain
    finally:
        plain.unlink()


@contextlib.contextmanager
def quiet_tools() -> Iterator[None]:
    """Suppress what quantisers and exporters print and what they log; torch resets the levels of its loggers when it
    loads more of itself, so they are set here, as late as possible."""
    loggers = [logging.getLogger(name) for name in (None, "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
