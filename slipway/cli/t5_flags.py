"""The flags of the two commands that write a T5 as a FasterTransformer checkpoint, with the names of the originals'."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Final

from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.cli.confined.limits import add_limit_flags
from slipway.cli.parser import CommandParser

CURRENT: Final = "huggingface_t5_ckpt_convert"
BETA: Final = "t5_ckpt_convert"
_DESCRIPTIONS: Final = {
    CURRENT: "Convert a Hugging Face T5 to a FasterTransformer checkpoint, with the options of FasterTransformer 5's "
    "converter of the same name.",
    BETA: "Convert a Hugging Face T5 to a FasterTransformer checkpoint in fp32, in the layout of its first release "
    "(5.0 beta), with the options of the converter of the same name.",
}


def parse(command: str, arguments: Sequence[str]) -> Namespace:
    """Return the parsed flags of a command."""
    parser = CommandParser(prog=f"slipway {command}", description=_DESCRIPTIONS[command], allow_abbrev=False)
    if command == BETA:
        _add_split_flags(parser, "-infer_gpu_num")
    else:
        _add_split_flags(parser, "-inference_tensor_para_size")
        _add_current_flags(parser)
    add_limit_flags(parser)
    return parser.parse_args(arguments)


def write_options(command: str, given: Namespace) -> WriteOptions:
    """Return the options of the checkpoint that the parsed flags specify."""
    if command == BETA:
        return WriteOptions(ways=given.infer_gpu_num, beta=True)
    return WriteOptions(
        ways=given.inference_tensor_para_size, data_type=given.weight_data_type, encoder_only=given.encoder_only
    )


def _add_split_flags(parser: CommandParser, split_flag: str) -> None:
    """Add the flags for source, target and number of GPUs, which is `split_flag` or -i_g."""
    parser.add_argument("-saved_dir", "-o", required=True, metavar="DIR", help="directory in which to create <N>-gpu")
    parser.add_argument("-in_file", "-i", required=True, metavar="SOURCE", help="Hugging Face directory or hub id")
    parser.add_argument(
        split_flag,
        "-i_g",
        type=int,
        required=True,
        metavar="N",
        help="number of GPUs to split the model over",
    )


def _add_current_flags(parser: CommandParser) -> None:
    parser.add_argument(
        "-processes",
        "-p",
        type=int,
        default=4,
        metavar="N",
        help="accepted without effect: arrays are written one at a time to save memory",
    )
    parser.add_argument(
        "-weight_data_type",
        default="fp32",
        choices=("fp32", "fp16", "bf16"),
        help="number type of the files (default: fp32)",
    )
    parser.add_argument("--encoder_only", "-e", action="store_true", help="omit the decoder")
    parser.add_argument("--verbose", action="store_true", help="print the name of each file as it is written")
