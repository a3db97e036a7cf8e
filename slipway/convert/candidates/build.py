"""Build the files of one variant: ONNX, its quantised versions, OpenVINO, TorchScript or a TensorRT engine.

Every engine except pytorch starts from the same exported ONNX file. The result is judged elsewhere.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slipway.convert.arrays import Arrays
from slipway.convert.candidates.subject import Program, Subject
from slipway.convert.candidates.variants import PARTLY, PLAIN, UNOPTIMISED
from slipway.convert.libraries import cause_of
from slipway.convert.onnx_file import halve, quantise, quiet_tools
from slipway.convert.tensorrt import EngineSettings, build_engine, profiles
from slipway.convert.tensors import IoTensor
from slipway.convert.variants import Variant
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, invalid
from slipway.machine import has_bfloat16
from slipway.openvino_library import import_openvino, kept_signal_stack

_ALPHA: Final = 0.85  # of SmoothQuant; on MiniLM 0.5, 0.7, 0.85, 0.95 yield cosines 0.991, 0.997, 0.9976, 0.9967

# OpenVINO prepares for every new shape, which takes 10 ms and 2 MB with MiniLM, and keeps about 70 of them. Sentences
# per second, with 4 to 80 tokens at concurrency 16: any length 480; multiples of 4: 480, of 8: 500, of 16: 475.
_LENGTH_STEP: Final = 8
_LONGEST: Final = 512  # tokens in a row of a TensorRT engine, if the source sets no limit
_WORKSPACE: Final = 1 << 30  # bytes that TensorRT may use while it tries kernels


@dataclass(frozen=True, slots=True)
class Built:
    """The settings that a built variant needs in its config.pbtxt."""

    backend: str
    platform: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    file: str = ""  # default_model_filename, if it is not the backend's default
    graph_level: int = 0  # optimization.graph.level
    on_gpu: bool = False
    length_step: int = 1  # lengths are rounded up to multiples of this


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """The inputs of all builders: the subject, the exported graph, and rows for calibration. `graph_problem` is why
    there is no graph, if engines can do without."""

    subject: Subject
    graph: Path
    calibration: Sequence[Arrays]
    graph_problem: str = ""


Builder = Callable[[BuildInputs, Variant, Path], Built]


def build(inputs: BuildInputs, variant: Variant, directory: Path) -> Built:
    """Write the variant's files into the version directory; raise `SlipwayError` if its tools fail."""
    try:
        return _BUILDERS[variant.engine](inputs, variant, directory)
    except (OSError, SlipwayError):
        raise
    except Exception as error:  # converters raise types without a common root
        raise invalid(f"{variant.label} cannot be built: {cause_of(error)}") from error


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
    """Put the graph and its external data files into `directory`, as hard links if possible."""
    for file in (each for each in graph.parent.rglob("*") if each.is_file()):
        target = directory / file.relative_to(graph.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)


def _openvino(inputs: BuildInputs, variant: Variant, directory: Path) -> Built:
    openvino = import_openvino()  # disables telemetry; must precede the import of nncf, which has the same
    subject = inputs.subject
    model = subject.openvino_model() if isinstance(subject, Program) else openvino.Core().read_model(inputs.graph)
    if variant.precision == "int8":
        model = _quantise(model, variant, inputs.calibration)
    openvino.save_model(model, directory / "model.xml", compress_to_fp16=variant.precision == "fp16")
    # Explicit, because by default OpenVINO rounds to bfloat16 on every CPU that supports it.
    rounds = variant.precision == "bf16" or (variant.method == PARTLY and has_bfloat16())
    hint = "bf16" if rounds else "f32"
    longest = inputs.subject.interface.longest
    fits = longest > 0 and longest % _LENGTH_STEP == 0  # rounding must not exceed the longest row
    return Built("openvino", parameters={"INFERENCE_PRECISION_HINT": hint}, length_step=_LENGTH_STEP if fits else 1)


def _quantise(model: Any, variant: Variant, rows: Sequence[Arrays]) -> Any:
    nncf = _import_nncf()
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

    alpha = -1.0 if variant.method == PLAIN else _ALPHA  # -1 disables SmoothQuant
    kept = _narrowing(model) if variant.method == PARTLY else []
    logging.getLogger("nncf").setLevel(logging.CRITICAL)  # its own function would silence the root's handlers too
    with quiet_tools(), kept_signal_stack():  # it makes Cores of its own
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
    """Import `nncf` and restore the logger class, which it replaces for the entire process."""
    logger_class = logging.getLoggerClass()
    import nncf

    logging.setLoggerClass(logger_class)
    return nncf


def _narrowing(model: Any) -> list[str]:
    """Return the matrix products that make a vector much shorter, such as the second one in a feed-forward block.

    Outliers in their input cause most of the error of 8-bit transformers.
    """
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
        raise invalid("a torch.export program keeps the number types that it was exported with: use --precision fp32")
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
