"""`slipway convert-module`: a PyTorch model script and its checkpoint to ONNX, TensorRT and a model repository."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from slipway.cli.parser import CommandParser
from slipway.convert.module.job import ModuleReporter, convert_module
from slipway.convert.module.options import DEFAULT_LENGTH, ModuleOptions, parse_batch_sizes, parse_bytes
from slipway.convert.module.precision import PRECISIONS

_DESCRIPTION: Final = (
    "Convert a PyTorch model, given as a script with its class and a checkpoint, to ONNX and TensorRT, and write a "
    "Triton model repository. It RUNS THE SCRIPT with your rights: use scripts that you trust. Checkpoints are read "
    "without running code, unless --allow-pickle is given. Nothing is written when a stage fails or when the "
    "converted model differs from the original."
)
_IO_EXAMPLE: Final = (
    '\'{"inputs":[{"name":"ids","dtype":"int64","shape":[128]}],'
    '"outputs":[{"name":"y","dtype":"float32","shape":[1]}]}\''
)


def run(arguments: Sequence[str]) -> int:
    """Convert and say what was done and compared; 0 when every stage that was asked for and is possible here is
    done."""
    given = vars(_parser().parse_args(arguments))
    given["memory_pool_limit"] = _whole(given["memory_pool_limit"])
    given["input_size"] = tuple(given["input_size"])
    _apply_precision(given)
    convert_module(ModuleOptions(**given), ModuleReporter(print, _warn))
    return 0


def _apply_precision(given: dict[str, Any]) -> None:
    """Replace --precision by the two switches that the options have for it."""
    precision = given.pop("precision")
    if precision is None:
        return
    if given["use_fp16"] or given["use_int8"]:
        _parser().error("argument --precision: not allowed with --use-fp16 or --use-int8, which it replaces")
    given["use_fp16"], given["use_int8"] = precision == "fp16", precision == "int8"


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _whole(words: Sequence[str] | int) -> int:
    """Return the number of `--memory-pool-limit`, whose expression may come as several words."""
    if isinstance(words, int):
        return words
    try:
        return parse_bytes(" ".join(words))
    except ValueError as error:
        _parser().error(f"argument --memory-pool-limit: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="slipway convert-module", description=_DESCRIPTION)
    _add_files(parser)
    _add_stages(parser)
    _add_sizes(parser)
    _add_serving(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    script = "Python file with the model's class; it is run"
    group.add_argument("--model-script-path", metavar="FILE", type=Path, required=True, help=script)
    group.add_argument(
        "--model-class-name", metavar="NAME", required=True, help="class of the script; it is built without arguments"
    )
    group.add_argument(
        "--ckpt-path", metavar="FILE", type=Path, required=True, help="checkpoint: a PyTorch state_dict or safetensors"
    )
    group.add_argument(
        "--model-io-config",
        metavar="JSON",
        required=True,
        help=f"inputs in the order of forward's arguments, and outputs, without the batch axis, such as {_IO_EXAMPLE}",
    )
    group.add_argument("--model-name", metavar="NAME", required=True, help="models are NAME_onnx and NAME_trt")
    group.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where the model runs during export (default: cpu)"
    )
    group.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read a checkpoint that needs pickle, which RUNS CODE of the file (default: off)",
    )


def _add_stages(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is made")
    group.add_argument("--generate-onnx", action="store_true", help="export the model to --onnx-path (default: off)")
    group.add_argument(
        "--generate-trt", action="store_true", help="build a TensorRT engine of the ONNX model (default: off)"
    )
    group.add_argument("--generate-triton-config", action="store_true", help="write config.pbtxt (default: off)")
    group.add_argument("--onnx-path", metavar="FILE", type=Path, required=True, help="where the ONNX model goes")
    group.add_argument("--engine-path", metavar="FILE", type=Path, required=True, help="where the engine goes")
    group.add_argument(
        "--triton-repo", metavar="DIR", type=Path, required=True, help="model repository that gets copies of both"
    )
    group.add_argument("--overwrite", action="store_true", help="replace files that exist already (default: off)")
    group.add_argument(
        "--precision",
        choices=("fp32", *PRECISIONS),
        help="number type of the engine, or of the ONNX model where no engine is built (default: fp32)",
    )
    group.add_argument("--use-fp16", action="store_true", help="as --precision fp16 (default: off)")
    group.add_argument(
        "--use-int8",
        action="store_true",
        help="as --precision int8; an engine may use both, and takes the faster for each layer (default: off)",
    )


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sizes")
    group.add_argument(
        "--input-size",
        nargs=2,
        metavar=("BATCH", "LENGTH"),
        type=_argument(_size),
        default=(None, DEFAULT_LENGTH),
        help=f"example input: rows, None for one, and what stands for -1 in shapes (default: (None, {DEFAULT_LENGTH}))",
    )
    group.add_argument(
        "--max-batch-size", metavar="ROWS", type=int, default=8, help="largest batch that is served (default: 8)"
    )
    group.add_argument(
        "--memory-pool-limit",
        metavar="BYTES",
        nargs="+",
        default=1 << 30,
        help="workspace of the TensorRT builder, a number or a shift such as 1<<32, quoted (default: 1 << 30)",
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("config.pbtxt")
    group.add_argument("--dynamic-batching", action="store_true", help="batch requests in the server (default: off)")
    group.add_argument(
        "--max-queue-delay",
        metavar="MICROSECONDS",
        type=int,
        default=100,
        help="how long a request may wait for a batch (default: 100)",
    )
    group.add_argument(
        "--preferred-batch-sizes",
        metavar="LIST",
        type=_argument(parse_batch_sizes),
        default=(),
        help="such as 1,8,16 (default: the powers of two between 1 and --max-batch-size)",
    )
    group.add_argument(
        "--triton-inputs", metavar="LIST", default="", help="names of inputs to serve (default: all that are used)"
    )
    group.add_argument(
        "--serve-name",
        metavar="ALIAS",
        default="",
        help="also write an ensemble ALIAS of this one model, for clients that ask for that name (default: none)",
    )


def _size(text: str) -> int | None:
    if text == "None":
        return None
    if not text.isdecimal():
        raise ValueError(f"'{text}' is no size; expected a whole number, or None for a batch of one")
    return int(text)


def _argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return `read` with its ValueError in words that argparse passes on."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
