"""The flags of `slipway convert-module`, for the command and for the process that does its work."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from slipway.cli.confined.limits import FLAGS, add_limit_flags
from slipway.cli.parser import CommandParser
from slipway.convert.module.options import DEFAULT_LENGTH, ModuleOptions, parse_batch_sizes, parse_bytes
from slipway.convert.module.precision import PRECISIONS

_DESCRIPTION: Final = (
    "Convert a PyTorch model, given as a script with its class and a checkpoint, to ONNX and TensorRT, and write a "
    "Triton model repository. This RUNS THE SCRIPT with your permissions: use only scripts that you trust. "
    "Checkpoints are read without running code unless --allow-pickle is given. Nothing is written if a stage fails or "
    "the converted model differs from the original."
)
_IO_EXAMPLE: Final = (
    '\'{"inputs": [{"name": "ids", "dtype": "int64", "shape": [128]}], '
    '"outputs": [{"name": "y", "dtype": "float32", "shape": [1]}]}\''
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed flags."""
    return _parser().parse_args(arguments)


def module_options(options: argparse.Namespace) -> ModuleOptions:
    """Return the options of the conversion that the parsed flags specify."""
    given = {name: value for name, value in vars(options).items() if name not in FLAGS}
    given["memory_pool_limit"] = _whole(given["memory_pool_limit"])
    given["input_size"] = tuple(given["input_size"])
    _apply_precision(given)
    return ModuleOptions(**given)


def _apply_precision(given: dict[str, Any]) -> None:
    """Translate --precision into the two switches of the options."""
    precision = given.pop("precision")
    if precision is None:
        return
    if given["use_fp16"] or given["use_int8"]:
        _parser().error("argument --precision: not allowed with --use-fp16 or --use-int8, which it replaces")
    given["use_fp16"], given["use_int8"] = precision == "fp16", precision == "int8"


def _whole(words: Sequence[str] | int) -> int:
    """Return the value of `--memory-pool-limit`, whose expression may arrive as several words."""
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
    add_limit_flags(parser, network=True)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    script = "Python file that defines the model's class; it is executed"
    group.add_argument("--model-script-path", metavar="FILE", type=Path, required=True, help=script)
    group.add_argument(
        "--model-class-name", metavar="NAME", required=True, help="class in the script, constructed without arguments"
    )
    group.add_argument(
        "--ckpt-path",
        metavar="FILE",
        type=Path,
        required=True,
        help="checkpoint, a PyTorch state_dict or safetensors file",
    )
    group.add_argument(
        "--model-io-config",
        metavar="JSON",
        required=True,
        help="inputs in the order of forward's arguments, and outputs; shapes omit the batch axis, such as "
        f"{_IO_EXAMPLE}",
    )
    group.add_argument(
        "--model-name", metavar="NAME", required=True, help="base name of the models NAME_onnx and NAME_trt"
    )
    group.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="device that runs the model during export (default: cpu)",
    )
    group.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read checkpoints that need pickle, which RUNS CODE FROM THE FILE (default: off)",
    )


def _add_stages(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stages and files")
    group.add_argument("--generate-onnx", action="store_true", help="export the model to --onnx-path (default: off)")
    group.add_argument(
        "--generate-trt", action="store_true", help="build a TensorRT engine from the ONNX model (default: off)"
    )
    group.add_argument("--generate-triton-config", action="store_true", help="write config.pbtxt (default: off)")
    group.add_argument("--onnx-path", metavar="FILE", type=Path, required=True, help="file for the ONNX model")
    group.add_argument("--engine-path", metavar="FILE", type=Path, required=True, help="file for the TensorRT engine")
    group.add_argument(
        "--triton-repo", metavar="DIR", type=Path, required=True, help="model repository to copy both to"
    )
    group.add_argument("--overwrite", action="store_true", help="replace existing files (default: off)")
    group.add_argument(
        "--precision",
        choices=("fp32", *PRECISIONS),
        help="number type of the engine, or of the ONNX model if no engine is built (default: fp32)",
    )
    group.add_argument("--use-fp16", action="store_true", help="same as --precision fp16 (default: off)")
    group.add_argument(
        "--use-int8",
        action="store_true",
        help="same as --precision int8; with both, an engine uses the faster type for each layer (default: off)",
    )


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sizes")
    group.add_argument(
        "--input-size",
        nargs=2,
        metavar=("BATCH", "LENGTH"),
        type=_argument(_size),
        default=(None, DEFAULT_LENGTH),
        help="size of the sample input: rows, None for one, and the size used for -1 in shapes "
        f"(default: (None, {DEFAULT_LENGTH}))",
    )
    group.add_argument(
        "--max-batch-size", metavar="ROWS", type=int, default=8, help="maximum rows per batch (default: 8)"
    )
    group.add_argument(
        "--memory-pool-limit",
        metavar="BYTES",
        nargs="+",
        default=1 << 30,
        help="workspace limit of the TensorRT builder, a number or a quoted shift such as '1<<32' (default: 1 << 30)",
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("config.pbtxt")
    group.add_argument("--dynamic-batching", action="store_true", help="enable dynamic batching (default: off)")
    group.add_argument(
        "--max-queue-delay",
        metavar="MICROSECONDS",
        type=int,
        default=100,
        help="longest time that a request waits for a batch (default: 100)",
    )
    group.add_argument(
        "--preferred-batch-sizes",
        metavar="LIST",
        type=_argument(parse_batch_sizes),
        default=(),
        help="preferred batch sizes, such as 1,8,16 (default: the powers of two between 1 and --max-batch-size)",
    )
    group.add_argument(
        "--triton-inputs", metavar="LIST", default="", help="names of the inputs to serve (default: all that are used)"
    )
    group.add_argument(
        "--serve-name",
        metavar="ALIAS",
        default="",
        help="also write an ensemble ALIAS of this model, for clients that request that name (default: none)",
    )


def _size(text: str) -> int | None:
    if text == "None":
        return None
    if not text.isdecimal():
        raise ValueError(f"'{text}' is not a size; expected a whole number, or None for a batch of one")
    return int(text)


def _argument(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return `read` with its ValueError turned into an error that argparse prints."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
