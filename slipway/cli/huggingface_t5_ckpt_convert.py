"""Convert a Hugging Face T5 to a FasterTransformer checkpoint, with the options of FasterTransformer 5's converter of
the same name."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from slipway.checkpoints.fastertransformer.sections import WriteOptions, t5_configuration
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.parser import CommandParser
from slipway.convert.hub import fetch, is_hub_id
from slipway.errors import invalid, unsupported

_MODEL_TYPES: Final = ("t5", "mt5")


def run(arguments: Sequence[str]) -> int:
    """Write `<saved_dir>/<N>-gpu`; print the arguments and the time taken; return 0 on success."""
    options = _parser().parse_args(arguments)
    if options.verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s [%(levelname)s] %(message)s")
    ways = options.inference_tensor_para_size
    convert_t5(
        options,
        WriteOptions(ways=ways, data_type=options.weight_data_type, encoder_only=options.encoder_only),
    )
    return 0


def convert_t5(given: Namespace, options: WriteOptions) -> None:
    """Convert `given.in_file` to `given.saved_dir/<N>-gpu`, printing the banner and the time as the original does."""
    started = monotonic()
    raise_on_sigterm()  # what was begun is removed, as on Ctrl-C
    print("\n=============== Argument ===============")
    for name, value in vars(given).items():
        print(f"{name}: {value}")
    print("========================================")
    source = _directory(given.in_file)
    checkpoint = read_huggingface(source)
    if checkpoint.model_type not in _MODEL_TYPES:
        raise unsupported(f"'{given.in_file}' is a model of type '{checkpoint.model_type}', expected t5 or mt5")
    if checkpoint.spec.decoder is None and not options.encoder_only:
        raise invalid(
            f"'{given.in_file}' contains only an encoder; use slipway huggingface_t5_ckpt_convert --encoder_only"
        )
    target = Path(given.saved_dir) / f"{options.ways}-gpu"
    write_fastertransformer(checkpoint, target, options, printed=t5_configuration(source))
    print(f"[INFO] wrote {len(list(target.iterdir()))} files to {target}")
    print(f"[INFO] Spend {timedelta(seconds=monotonic() - started)} (h:m:s) to convert the model")


def add_split_arguments(parser: CommandParser, split_flag: str) -> None:
    """Add the options for source, target and number of GPUs, which is `split_flag` or -i_g."""
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


def _directory(source: str) -> Path:
    return fetch(source) if is_hub_id(source) else Path(source)


def _parser() -> CommandParser:
    parser = CommandParser(prog="slipway huggingface_t5_ckpt_convert", description=__doc__, allow_abbrev=False)
    add_split_arguments(parser, "-inference_tensor_para_size")
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
    return parser
