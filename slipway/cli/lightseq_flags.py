"""The flags of `slipway lightseq export`, for the command and for the process that does its work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slipway.checkpoints.lightseq.conf import GPT_METHODS, SEARCH_METHODS, WIDTHS
from slipway.checkpoints.lightseq.export import SOURCES, ExportOptions
from slipway.cli.confined.limits import FLAGS, add_limit_flags
from slipway.cli.parser import CommandParser, HelpFormatter

_COMMAND: Final = "Export models to LightSeq files, with the options of LightSeq's export scripts."
_OWN: Final = {"repository", "name", "action", *FLAGS}  # of the command, not of the export


class _ListFormatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, which is a list."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed flags."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.repository is None) != (given.name is None):
        parser.error("--repository and --name must be given together")
    return given


def export_options(given: argparse.Namespace) -> ExportOptions:
    """Return the options of the export that the parsed flags specify."""
    return ExportOptions(**{name: value for name, value in vars(given).items() if name not in _OWN})


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="slipway lightseq",
        description=_COMMAND,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="export")
    _add_export(
        actions.add_parser(
            "export",
            description=_description(),
            formatter_class=_ListFormatter,
            help="export a model to a LightSeq file",
        )
    )
    return parser


def _description() -> str:
    sources = [f"  {source.name:<9} {source.summary}, as {source.model_type}" for source in SOURCES.values()]
    return "\n".join(["Export a model to a LightSeq file, .pb or .hdf5. Sources:", "", *sources])


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", choices=tuple(SOURCES), metavar="SOURCE", help="source, one of the above (default: detected)"
    )
    parser.add_argument(
        "--model",
        "-m",
        type=Path,
        metavar="PATH",
        default=Path("checkpoint_best.pt"),
        help="Hugging Face directory or fairseq checkpoint (default: checkpoint_best.pt)",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="FILE",
        help="file to write, .pb or .hdf5 (default: LightSeq's name for the model; the checkpoint's for fairseq)",
    )
    parser.add_argument("--hdf5", "-hdf5", action="store_true", help="write .hdf5 (default: on, except for fairseq)")
    parser.add_argument(
        "--ptq", action="store_true", help="quantise to 8 bits, for Transformer, Bert, Gpt and Vit (default: off)"
    )
    _add_decoding(parser)
    group = parser.add_argument_group("model repository")
    group.add_argument(
        "--repository", type=Path, metavar="DIR", help="model repository to export to, with a config.pbtxt"
    )
    group.add_argument("--name", help="name of the model in the repository")
    add_limit_flags(parser)


def _add_decoding(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("decoding settings in the file (default: those of LightSeq's scripts)")
    methods = tuple(dict.fromkeys([*SEARCH_METHODS, *GPT_METHODS]))
    group.add_argument(
        "--generation-method",
        "--generation_method",
        "-g",
        choices=methods,
        metavar="METHOD",
        help=f"{', '.join(SEARCH_METHODS)}; for hf-gpt2 {', '.join(GPT_METHODS)} "
        "(default: beam_search; topk for hf-gpt2)",
    )
    group.add_argument("--beam-size", type=int, choices=WIDTHS, help="beam width of beam_search and topk_greedy")
    group.add_argument("--max-step", type=int, metavar="N", help="maximum sequence length, in tokens")
    group.add_argument(
        "--extra-decode-length", type=int, metavar="N", help="maximum tokens by which the output exceeds the source"
    )
    group.add_argument(
        "--length-penalty", type=float, metavar="X", help="length penalty; negative for the mean over the tokens"
    )
    group.add_argument(
        "--diverse-lambda", type=float, metavar="X", default=0.0, help="diversity penalty of beams (default: 0)"
    )
    group.add_argument(
        "--topk",
        type=int,
        choices=WIDTHS,
        default=1,
        help="tokens that topk samples from (default: 1, which is greedy)",
    )
    group.add_argument(
        "--topp", type=float, metavar="P", default=0.75, help="probability that topp samples from (default: 0.75)"
    )
    group.add_argument(
        "--activation-clip", type=float, metavar="X", help="clip of 8-bit activations (default: 16; 45 for fairseq)"
    )
