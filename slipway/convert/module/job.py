"""Run `slipway convert-module`: do the requested stages in a scratch directory, then put all files in place at once.

Not a `Flow` of the common conversion (convert/flow.py), because there are no competing candidates: the engine is built
from the ONNX model and both are kept, so there is nothing to measure or choose. One refusal ends the conversion, and
existing files are kept individually, at paths that the user chooses on any file system. Shares the other modules with
the wings: comparison, thresholds, ONNX files, TensorRT, configs, library checks.

Reports progress through a given function; prints nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from slipway.backends.onnxruntime.graph import graph_of
from slipway.backends.shared.graph_check import check_config
from slipway.convert import tensorrt
from slipway.convert.configs import config_text
from slipway.convert.libraries import require_libraries
from slipway.convert.module.checkpoint import load_weights
from slipway.convert.module.export import export_onnx
from slipway.convert.module.gate import figures_table, graph_examples, judge, measure, onnx_runner
from slipway.convert.module.graph import served_inputs
from slipway.convert.module.io_config import ModelIo, choose_inputs, parse_model_io
from slipway.convert.module.layout import FILES, ONNX, TENSORRT, alias_config, model_config
from slipway.convert.module.options import ModuleOptions, check_options
from slipway.convert.module.placement import place, scratch_near
from slipway.convert.module.precision import lower
from slipway.convert.module.reference import Example, ReferenceModule
from slipway.convert.module.script import build_module
from slipway.convert.onnx_file import OPSET
from slipway.convert.tensors import IoTensor
from slipway.convert.thresholds import LIMITS
from slipway.errors import invalid, unavailable

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ModuleReporter:
    """Receives progress messages and warnings; tables in them have at most `width` columns."""

    say: Say
    warn: Say
    width: int = 80


@dataclass(slots=True)
class _Work:
    """A conversion in progress: the artefact of each kind, and the files to place at the end (target -> source)."""

    options: ModuleOptions
    io: ModelIo
    listed: tuple[str, ...] | None
    scratch: Path
    reporter: ModuleReporter
    artefacts: dict[str, Path] = field(default_factory=dict)
    files: dict[Path, Path] = field(default_factory=dict)

    def keeps(self, path: Path) -> bool:
        """Return whether an existing file is kept, and report it."""
        if not path.exists() or self.options.overwrite:
            return False
        self.reporter.say(f"kept '{path}': it already exists; --overwrite replaces it")
        return True


def convert_module(
    options: ModuleOptions,
    reporter: ModuleReporter,
    *,
    scratch_at: Callable[[Path], AbstractContextManager[Path]] = scratch_near,
    put: Callable[[Mapping[Path, Path]], None] = place,
) -> None:
    """Run the requested stages; raise `SlipwayError`, with nothing written, if one fails.

    `scratch_at` provides a scratch directory on the file system of a path, and `put` puts files in place.
    """
    io = parse_model_io(options.model_io_config)
    listed = choose_inputs(io, options.triton_inputs)
    check_options(options, io)
    require_libraries(("torch", "onnx"), "convert")
    missing_engine = tensorrt.refusal() if options.generate_trt else ""
    if missing_engine and not (options.generate_onnx or options.generate_triton_config):
        raise unavailable(_no_engine(options, missing_engine))
    with scratch_at(options.triton_repo) as scratch:
        work = _Work(options, io, listed, scratch, reporter)
        _onnx_stage(work, serves_onnx=not options.generate_trt or bool(missing_engine))
        inputs = _inputs(work)
        if missing_engine:
            reporter.warn(f"warning: {_no_engine(options, missing_engine)}")
        else:
            _engine_stage(work, inputs)
        _models(work, inputs)
        put(work.files)
    for target in work.files:
        reporter.say(f"wrote '{target}'")


def _no_engine(options: ModuleOptions, reason: str) -> str:
    name = f"{options.model_name}_{ONNX}"
    return (
        f"no TensorRT engine was built: {reason}. Serve the ONNX model '{name}' with `slipway serve "
        f"{options.triton_repo}`, or make a faster one for this machine with `slipway convert {options.onnx_path} "
        f"--name {options.model_name} --repository {options.triton_repo} --engine openvino`; for an engine, run "
        f"--generate-trt on a machine with an NVIDIA GPU, after `pip install tensorrt`"
    )


# ONNX


def _onnx_stage(work: _Work, *, serves_onnx: bool) -> None:
    """Export the model, or use the existing ONNX file; it stays in fp32 if an engine is built, which sets the
    precision."""
    options = work.options
    if not options.generate_onnx:
        work.reporter.say("ONNX export: not requested")
    elif not work.keeps(options.onnx_path):
        precision = _precision(options) if serves_onnx else "fp32"
        work.artefacts[ONNX] = work.files[options.onnx_path] = _export(work, precision)
        return
    if options.onnx_path.is_file():
        work.artefacts[ONNX] = options.onnx_path


def _precision(options: ModuleOptions) -> str:
    if options.use_fp16 and options.use_int8:
        raise invalid("an ONNX model is either fp16 or int8: specify --use-fp16 or --use-int8, not both")
    return "int8" if options.use_int8 else "fp16" if options.use_fp16 else "fp32"


def _export(work: _Work, precision: str) -> Path:
    options, say = work.options, work.reporter.say
    say(f"running the code of '{options.model_script_path}' to build '{options.model_class_name}'")
    module = build_module(options.model_script_path, options.model_class_name)
    load_weights(module, options.ckpt_path, allow_pickle=options.allow_pickle)
    reference = ReferenceModule(module, work.io, options.device)
    reference.settle_limit(rows=options.rows, length=options.length)
    path = _new_file(work, "fp32", FILES[ONNX])
    export_onnx(reference, work.io, path, rows=options.rows, length=options.length)
    examples = reference.examples(options)
    say(f"exported to ONNX, opset {OPSET}; example integers are below {reference.limit}")
    _pass_gate(work, path, examples, "fp32")
    if precision == "fp32":
        return path
    lowered = _new_file(work, precision, FILES[ONNX])
    lower(path, lowered, precision)
    say(f"{precision}: {path.stat().st_size:,} bytes before, {lowered.stat().st_size:,} bytes after")
    _pass_gate(work, lowered, examples, precision)
    return lowered


def _new_file(work: _Work, folder: str, name: str) -> Path:
    (work.scratch / folder).mkdir()
    return work.scratch / folder / name


def _pass_gate(work: _Work, path: Path, examples: Sequence[Example], precision: str) -> None:
    _, run = onnx_runner(path)
    figures = measure(examples, run)
    work.reporter.say(f"{precision} ONNX compared with PyTorch:\n{figures_table(figures, work.reporter.width)}")
    judge(f"the {precision} ONNX model", figures, LIMITS[precision])


# TensorRT


def _engine_stage(work: _Work, inputs: Sequence[IoTensor]) -> None:
    options = work.options
    if not options.generate_trt:
        work.reporter.say("TensorRT engine: not requested")
    elif not work.keeps(options.engine_path):
        work.artefacts[TENSORRT] = work.files[options.engine_path] = _build(work, inputs)
        return
    if options.engine_path.is_file():
        work.artefacts[TENSORRT] = options.engine_path


def _build(work: _Work, inputs: Sequence[IoTensor]) -> Path:
    options, source = work.options, work.artefacts.get(ONNX)
    if source is None:
        raise invalid(f"--generate-trt starts from '{options.onnx_path}', which does not exist; add --generate-onnx")
    plan = _new_file(work, TENSORRT, FILES[TENSORRT])
    shapes = tensorrt.profiles(inputs, most_rows=options.max_batch_size, length=options.length)
    settings = tensorrt.EngineSettings(shapes, options.memory_pool_limit, options.use_fp16, options.use_int8)
    best = shapes[0].optimal[0]
    examples = graph_examples(source, work.io, rows=sorted({1, best, options.max_batch_size}), length=options.length)
    samples = [each.inputs for each in examples if each.rows == best]
    tensorrt.build_engine(source, plan, settings, samples)
    run = tensorrt.engine_runner(plan, {each.name: each.datatype.numpy for each in work.io.outputs})
    figures = measure(examples, run)
    work.reporter.say(f"TensorRT engine compared with the ONNX model:\n{figures_table(figures, work.reporter.width)}")
    # TF32 is always on and has the same 10-bit mantissa as FP16.
    judge("the TensorRT engine", figures, LIMITS["int8" if options.use_int8 else "fp16"])
    return plan


# The repository


def _inputs(work: _Work) -> tuple[IoTensor, ...]:
    """Return the inputs of the models: those of the graph, if there is one."""
    if ONNX not in work.artefacts:
        return work.io.listed(work.listed) if work.listed else work.io.inputs
    session, _ = onnx_runner(work.artefacts[ONNX])
    graph = graph_of(session, work.artefacts[ONNX])
    inputs = served_inputs(work.io, work.listed, graph)
    vanished = [each.name for each in work.io.inputs if each.name not in graph.inputs]
    if vanished:
        work.reporter.say(f"the model does not use {', '.join(vanished)}, so the exported graph has no such input")
    check_config(model_config(work.options, work.io, ONNX, inputs), graph)
    return inputs


def _models(work: _Work, inputs: Sequence[IoTensor]) -> None:
    """Add the repository files for every artefact."""
    if not work.artefacts:
        raise invalid(
            f"there is nothing to configure: neither '{work.options.onnx_path}' nor '{work.options.engine_path}' "
            f"exists; add --generate-onnx"
        )
    for kind, artefact in work.artefacts.items():
        directory = work.options.triton_repo / f"{work.options.model_name}_{kind}"
        _add(work, directory / "1" / FILES[kind], artefact)
        if work.options.generate_triton_config:
            config = config_text(model_config(work.options, work.io, kind, inputs))
            _add(work, directory / "config.pbtxt", _text(work, f"{kind}.pbtxt", config))
    if not work.options.generate_triton_config:
        work.reporter.say("Triton configuration: not requested")
    elif work.options.serve_name:
        _add_alias(work, inputs)


def _add_alias(work: _Work, inputs: Sequence[IoTensor]) -> None:
    kind = TENSORRT if TENSORRT in work.artefacts else ONNX
    config = alias_config(work.options, work.io, f"{work.options.model_name}_{kind}", inputs)
    directory = work.options.triton_repo / work.options.serve_name
    _add(work, directory / "config.pbtxt", _text(work, "alias.pbtxt", config_text(config)))
    if not (directory / "1").is_dir():  # Triton requires it, and git does not track empty directories
        work.files[directory / "1" / ".gitkeep"] = _text(work, ".gitkeep", "")


def _add(work: _Work, target: Path, source: Path) -> None:
    if not work.keeps(target):
        work.files[target] = source


def _text(work: _Work, name: str, text: str) -> Path:
    path = work.scratch / name
    path.write_text(text)
    return path
