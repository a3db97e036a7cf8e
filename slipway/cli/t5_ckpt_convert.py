"""`slipway t5_ckpt_convert`: a Hugging Face T5 to a FasterTransformer checkpoint as its first release wrote it, in
fp32, with the options of the converter of this name."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.cli.huggingface_t5_ckpt_convert import convert_t5
from slipway.cli.parser import CommandParser


def run(arguments: Sequence[str]) -> int:
    """Write `<saved_dir>/<N>-gpu`, saying with which arguments and how long it took; 0 on success."""
    options = _parser().parse_args(arguments)
    convert_t5(options, WriteOptions(ways=options.infer_gpu_num, beta=True))
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(prog="slipway t5_ckpt_convert", description=__doc__, allow_abbrev=False)
    parser.add_argument("-saved_dir", "-o", required=True, metavar="DIR", help="where <N>-gpu is made")
    parser.add_argument("-in_file", "-i", required=True, metavar="SOURCE", help="Hugging Face directory or hub id")
    parser.add_argument("-infer_gpu_num", "-i_g", type=int, required=True, metavar="N", help="GPUs to split it over")
    return parser
