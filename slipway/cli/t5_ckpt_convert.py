"""Convert a Hugging Face T5 to a FasterTransformer checkpoint in fp32, in the layout of its first release (5.0 beta),
with the options of the converter of the same name."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.cli.huggingface_t5_ckpt_convert import add_split_arguments, convert_t5
from slipway.cli.parser import CommandParser


def run(arguments: Sequence[str]) -> int:
    """Write `<saved_dir>/<N>-gpu`; print the arguments and the time taken; return 0 on success."""
    options = _parser().parse_args(arguments)
    convert_t5(options, WriteOptions(ways=options.infer_gpu_num, beta=True))
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(prog="slipway t5_ckpt_convert", description=__doc__, allow_abbrev=False)
    add_split_arguments(parser, "-infer_gpu_num")
    return parser
