"""The flags of `tritonc`, and what follows from them: the options of the conversion, and the warnings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.cli.confined.limits import SECONDS, Limits, default_memory, memory_limit, seconds_limit
from slipway.cli.tensor2tensor.flags import AbslCommand, flag
from slipway.config.flags import BOOLEAN, DIRECTORY, TEXT, Kind, choice, whole
from slipway.convert.options import AUTO, CompileSettings, ConvertOptions
from slipway.convert.tensor2tensor.package import INPUTS, outputs
from slipway.convert.token_variants import ENGINES
from slipway.core.signature import TensorSpec
from slipway.errors import invalid

_PRECISIONS: Final = {"FP32": "fp32", "FP16": "fp16", "BF16": "bf16", "INT8": "int8"}
_SHAPE: Final = re.compile(r"\d{1,9}(:\d{1,9})*")
_NODES: Final = "Nodes of the graph, which are recorded"
_RECORDED: Final = (
    "inference_input_dtype",
    "inference_output_dtype",
    "first_batch_timeout",
    "input_node_name",
    "input_node_shape",
    "output_node_name",
    "output_node_shape",
    "output_layer_names",
)


def _read_shape(text: str) -> tuple[int, ...]:
    if text and not _SHAPE.fullmatch(text):
        raise ValueError(f"expected sizes such as 1:1:32768:1, got {text}")
    return tuple(map(int, text.split(":"))) if text else ()


_MEMORY: Final = Kind("SIZE", memory_limit)
_TIME: Final = Kind("N", seconds_limit)
_SIZES: Final = Kind("N:N:...", _read_shape)


@dataclass(frozen=True, slots=True)
class CompilerFlags:
    """The flags of `tritonc`."""

    savedmodel_directory: Path | None = flag(
        None,
        DIRECTORY,
        "export to compile, and the model repository to write; X/export/Servo/N means the newest export of X",
    )
    model_name: str = flag("transformer", TEXT, "name that clients request")
    model_version: int = flag(1, whole(1, 2**31 - 1), "number of the version")
    inference_input_dtype: str = flag("FP32", choice(*_PRECISIONS), "number type of the computation")
    inference_output_dtype: str = flag("FP32", choice(*_PRECISIONS), "recorded: ids are INT32 and scores FP32")
    first_batch_timeout: int = flag(60_000, whole(1), "milliseconds that the first batch may take")
    engine: str = flag(AUTO, choice(AUTO, *ENGINES), "engine; auto is the fastest that decodes exactly")
    verbose: bool = flag(False, BOOLEAN, "show what the libraries print")
    max_memory: int | None = flag(
        default_memory(),
        _MEMORY,
        "memory of the child that compiles, such as 8G, or none (default: the machine's)",
    )
    timeout_secs: float | None = flag(float(SECONDS), _TIME, "longest time from one step to the next, or none")
    in_process: bool = flag(False, BOOLEAN, "work without a child and its limits, for files that you trust")
    input_node_name: str = flag("", TEXT, "input of the graph", section=_NODES)
    input_node_shape: tuple[int, ...] = flag((), _SIZES, "its shape", section=_NODES)
    output_node_name: str = flag("", TEXT, "output of the graph", section=_NODES)
    output_node_shape: tuple[int, ...] = flag((), _SIZES, "its shape", section=_NODES)
    output_layer_names: str = flag("", TEXT, "names of its last layers, separated by commas", section=_NODES)


COMMAND: Final = AbslCommand(
    "tritonc",
    "Compile an export for the server: compare engines with a reference, measure them, and write a model repository.",
    CompilerFlags,
    required=("savedmodel_directory",),
)


def compile_options(
    flags: CompilerFlags, arguments: Sequence[str], *, lost: Mapping[str, str], isolation: str
) -> ConvertOptions:
    """Return the options of the conversion that compiles; `lost` and `isolation` as in a `Job`."""
    directory = flags.savedmodel_directory or Path()
    return ConvertOptions(
        name=flags.model_name,
        repository=directory,
        engine=flags.engine,
        precision=_PRECISIONS[flags.inference_input_dtype],
        overwrite=replaces(flags),
        command=shlex.join(["tritonc", *arguments]),
        verbose=flags.verbose,
        compilation=CompileSettings(flags.model_version, flags.first_batch_timeout / 1000, tuple(_recorded(flags))),
        lost=lost,
        isolation=isolation,
    )


def child_limits(flags: CompilerFlags) -> Limits:
    """Return the limits of the child that compiles."""
    return Limits(flags.max_memory, flags.timeout_secs, in_process=flags.in_process)


def replaces(flags: CompilerFlags) -> bool:
    """Return whether an earlier compilation wrote the model, so that this one may replace it."""
    return ((flags.savedmodel_directory or Path()) / flags.model_name / "report.json").is_file()


def _recorded(flags: CompilerFlags) -> Iterator[tuple[str, str]]:
    for name in _RECORDED:
        value = getattr(flags, name)
        text = ":".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if text:
            yield name, text


def node_warnings(flags: CompilerFlags, settings: DecodeHParams) -> Iterator[str]:
    """Yield what the named nodes do not match; raise INVALID_ARG if one exists with another shape."""
    made = outputs(settings)
    yield from _of_node("input_node", flags.input_node_name, flags.input_node_shape, INPUTS)
    yield from _of_node("output_node", flags.output_node_name, flags.output_node_shape, made)
    known = {spec.name for spec in made}
    missing = [name for name in filter(None, flags.output_layer_names.split(",")) if name not in known]
    if missing:
        yield f"--output_layer_names: the model has no {', '.join(map(repr, missing))}; the names are only recorded"
    if flags.inference_output_dtype != "FP32":
        yield f"--inference_output_dtype={flags.inference_output_dtype} is only recorded: ids are INT32, scores FP32"


def _of_node(which: str, name: str, shape: tuple[int, ...], specs: Sequence[TensorSpec]) -> Iterator[str]:
    if not name:
        if shape:
            yield f"--{which}_shape is only recorded: there is no --{which}_name"
        return
    spec = next((each for each in specs if each.name == name), None)
    if spec is None:
        kind = which.partition("_")[0]
        has = ", ".join(each.name for each in specs)
        yield f"--{which}_name: the model has no {kind} '{name}', only {has}; the name and its shape are only recorded"
        return
    sizes = (-1, *spec.dims)  # the first is the batch
    fits = len(shape) == len(sizes) and all(own in (-1, size) for own, size in zip(sizes, shape, strict=True))
    if shape and not fits:
        raise invalid(
            f"--{which}_shape is {':'.join(map(str, shape))}, but '{name}' has the shape {list(sizes)}, where -1 is any"
        )
