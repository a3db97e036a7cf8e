"""Make the files of one variant: the ONNX graph, its quantised forms, OpenVINO's, TorchScript.

Every engine but pytorch starts from the one ONNX file that was exported. Nothing here judges what was made.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slipway.backends.openvino.library import import_openvino
from slipway.convert.arrays import Arrays
from slipway.convert.encoders.subject import Program, Subject
from slipway.convert.encoders.variants import PARTLY, PLAIN, UNOPTIMISED
from slipway.convert.libraries import cause_of
from slipway.convert.onnx_file import halve, quantise, quiet_tools
from slipway.convert.tensorrt import EngineSettings, build_engine, profiles
from slipway.convert.tensors import IoTensor
from slipway.convert.variants import Variant
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, invalid
from slipway.machine import has_bfloat16

_ALPHA: Final = 0.85  # of SmoothQuant; on MiniLM 0.5, 0.7, 0.85, 0.95 give cosines 0.991, 0.997, 0.9976, 0.9967

# OpenVINO prepares itself for each shape that it has not seen: with MiniLM, 10 ms and 2 MB, and forgets the oldest of
# about 70. Sentences of 4 to 80 tokens at concurrency 16, per second: all lengths 480, steps of 4 480, 8 500, 16 475.
_LENGTH_STEP: Final = 8
_LONGEST: Final = 512  # of an engine's rows, where the source does not say
_WORKSPACE: Final = 1 << 30  # bytes TensorRT may use while it tries kernels


@dataclass(frozen=True, slots=True)
class Built:
    """What a variant needs in its config.pbtxt."""

    backend: str
    platform: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    file: str = ""  # default_model_filename, where it is not the backend's usual one
    graph_level: int = 0  # optimization.graph.level
    on_gpu: bool = False
    length_step: int = 1  # lengths worth telling apart


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """What builders share: the subject, the exported graph, rows to calibrate with; `graph_problem` says why there is
    no graph where engines can do without."""

    subject: Subject
    graph: Path
    calibration: Sequence[Arrays]
    graph_problem: str = ""


Builder = Callable[[BuildInputs, Variant, Path], Built]


def build(inputs: BuildInputs, variant: Variant, directory: Path) -> Built:
    """Write the variant's files into the version directory; raise `SlipwayError` when its tools cannot."""
    try:
        return _BUILDERS[variant.engine](inputs, variant, directory)
    except (OSError, SlipwayError):
        raise
    except Exception as error:  # converters raise types without a common root
        raise invalid(f"{variant.label} cannot be made: {cause_of(error)}") from error


def _onnxruntime(inputs: BuildInputs, variant: Variant, directory: Path) -> Built:
    _require_graph(inputs)
    target = directory / "model.onnx"
    built = Built("onnxruntime", "onnxruntime_onnx")
    if variant.precision == "fp32":
        _link_graph(inputs.graph, directory)
        return Built("onnxruntime", "onnxruntime_onnx", graph_level=2) if variant == UNOPTIMISED else built
    lower = halve if variant.precision == "fp16" else quantise
    lower(inputs.graph, target)
    return built


def _require_graph(inputs: BuildInputs) -> None:
    if inputs.graph_problem:
        raise invalid(inputs.graph_problem)


def _link_graph(graph: Path, directory: Path) -> None:
    """Put the graph and the files of its external data into `directory`, without copying where the disk allows."""
    for file in (each for each in graph.parent.rglob("*") if each.is_file()):
        target = directory / file.relative_to(graph.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)


def _openvino(inputs: BuildInputs, variant: Variant, directory: Path) -> Built:
    openvino = import_openvino()  # without its telemetry, and so before nncf, which has the same
    subject = inputs.subject
    model = subject.openvino_model() if isinstance(subject, Program) else openvino.Core().read_model(inputs.graph)
    if variant.precision == "int8":
        model = _quantise(model, variant, inputs.calibration)
    openvino.save_model(model, directory / "model.xml", compress_to_fp16=variant.precision == "fp16")
    # Said in so many words: left to itself, OpenVINO rounds to bfloat16 wherever the CPU can.
    rounds = variant.precision == "bf16" or (variant.method == PARTLY and has_bfloat16())
    hint = "bf16" if rounds else "f32"
    longest = inputs.subject.interface.longest
    fits = longest > 0 and longest % _LENGTH_STEP == 0  # a longest row must not become longer
    return Built("openvino", parameters={"INFERENCE_PRECISION_HINT": hint}, length_step=_LENGTH_STEP if fits else 1)


def _quantise(model: Any, variant: Variant, rows: Sequence[Arrays]) -> Any:
    nncf = _import_nncf()
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

    alpha = -1.0 if variant.method == PLAIN else _ALPHA  # -1 turns it off
    kept = _narrowing(model) if variant.method == PARTLY else []
    logging.getLogger("nncf").setLevel(logging.CRITICAL)  # its own function would silence the root's handlers too
    with quiet_tools():
        return nncf.quantize(
            model,
            nncf.Dataset(list(rows)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=alpha)
            ),
        )


def _import_nncf() -> Any:
    """Return the module `nncf`; what it makes of every logger that anybody creates from then on is undone."""
    logger_class = logging.getLoggerClass()
    import nncf

    logging.setLoggerClass(logger_class)
    return nncf


def _narrowing(model: Any) -> list[str]:
    """Return the products that make a vector much shorter: the second of a feed-forward block, whose input has the
    outliers that cost 8-bit transformers most of their digits."""
    return [node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "MatMul" and _narrows(node)]


def _narrows(product: Any) -> bool:
    shape = product.input(1).get_partial_shape()
    if not shape.is_static or len(shape) != 2:
        return False
    first, second = shape.to_shape()
    transposed = product.get_attributes().get("transpose_b")
    inner, outer = (second, first) if transposed else (first, second)
    return bool(inner > 2 * outer)


def _pytorch(inputs: BuildInputs, variant: Variant, directory: Path) -> Built:
    if not isinstance(inputs.subject, Program):
        inputs.subject.export_torch(directory / "model.pt", variant.precision)
        return Built("pytorch", "pytorch_libtorch")
    if variant.precision != "fp32":
        raise invalid("a torch.export program keeps the number types that it was exported with: ask for fp32")
    return Built("pytorch", file=inputs.subject.copy_program(directory))


def _tensorrt(inputs: BuildInputs, variant: Variant, directory: Path) -> Built:
    _require_graph(inputs)
    interface = inputs.subject.interface
    if not interface.max_batch_size:
        raise invalid("a TensorRT engine needs a batch dimension, and this model has none")
    tensors = [IoTensor(spec.name, BY_NAME[spec.datatype], spec.dims) for spec in interface.inputs]
    shapes = profiles(tensors, most_rows=interface.max_batch_size, length=interface.longest or _LONGEST)
    settings = EngineSettings(shapes, _WORKSPACE, fp16=variant.precision == "fp16", int8=False, tf32=False)
    build_engine(inputs.graph, directory / "model.plan", settings, ())
    return Built("tensorrt", "tensorrt_plan", on_gpu=True)


_BUILDERS: Final[dict[str, Builder]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "pytorch": _pytorch,
    "tensorrt": _tensorrt,
}
