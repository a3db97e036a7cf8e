"""The flags of `slipway convert`, for the command and for the process that does its work."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from slipway.cli.confined.limits import add_limit_flags
from slipway.cli.parser import CommandParser
from slipway.convert.arrays import MAX_BATCH_SIZE
from slipway.convert.candidates.variants import ENGINES
from slipway.convert.directory import Task
from slipway.convert.generation.variants import OFFERED
from slipway.convert.options import AUTO, HYPOTHESIS, LENGTHS, ConvertOptions
from slipway.convert.thresholds import ACCURACY, BALANCED
from slipway.convert.token_variants import COMPUTE_TYPES
from slipway.convert.token_variants import ENGINES as GENERATION_ENGINES
from slipway.convert.variants import PRECISIONS

_DESCRIPTION: Final = "Convert a checkpoint or model file to a verified, optimised model in a model repository."
_NEIGHBOURS: Final = ", ".join(f"{100 * each.neighbours:g}%% {word}" for word, each in ACCURACY.items())
MOST_ROWS: Final = 1024  # of a request
_ALIASES: Final = {AUTO: AUTO, **{COMPUTE_TYPES[precision]: precision for precision in OFFERED}}


def parse(arguments: Sequence[str], *, warn: bool) -> Namespace:
    """Return the parsed flags; with `warn`, print a warning for a deprecated one."""
    parser = convert_parser()
    options = parser.parse_args(arguments)
    _apply_alias(parser, options, warn=warn)
    return options


def _apply_alias(parser: CommandParser, options: Namespace, *, warn: bool) -> None:
    """Read --compute-type, the older option of text-generation models, as --precision."""
    if options.compute_type is None:
        return
    precision = _ALIASES[options.compute_type]
    if AUTO not in (options.precision, precision) and options.precision != precision:
        parser.error(f"--compute-type {options.compute_type} contradicts --precision {options.precision}")
    if warn:
        print(f"warning: --compute-type is deprecated; use --precision {precision}", file=sys.stderr)
    if precision != AUTO:
        options.precision = precision


def convert_parser() -> CommandParser:
    """Return the parser of the options."""
    parser = CommandParser(prog="slipway convert", description=_DESCRIPTION)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="Hugging Face or sentence-transformers directory, hub id, LoRA adapter (PEFT), export or training "
        "directory of tensor2tensor, .gguf or .onnx file, or TorchScript or torch.export file (.pt, .pt2)",
    )
    parser.add_argument(
        "--name",
        required=True,
        help="model name that clients request; a text model adds NAME-tokenizer, NAME-model and NAME-answer, a "
        "text-generation model NAME-tokenizer, NAME-model, NAME-detokenizer, NAME-stream and NAME-completions, a "
        "network that sees images NAME-processor, NAME-model and NAME-answer, a reader of images NAME-processor, "
        "NAME-encoder, NAME-model and NAME-detokenizer, a page-element detector NAME-letterbox, NAME-elements and "
        "NAME-pages",
    )
    parser.add_argument("--repository", metavar="DIR", type=Path, required=True, help="model repository to write to")
    parser.add_argument(
        "--engine",
        choices=(AUTO, *ENGINES, *GENERATION_ENGINES),
        metavar="ENGINE",
        default=AUTO,
        help=f"engine that runs the model: {', '.join((*ENGINES, *GENERATION_ENGINES))}, or auto for the fastest that "
        "passes the gate (default: auto)",
    )
    parser.add_argument(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        default=AUTO,
        help="number type; auto picks the fastest that passes the gate, fp32 keeps full precision; text-generation "
        f"models support {', '.join(OFFERED)} (default: auto)",
    )
    parser.add_argument(
        "--accuracy",
        choices=tuple(ACCURACY),
        default=BALANCED,
        help="limit on the accuracy that a reduced precision may lose; share of sample texts whose embeddings must "
        f"keep their nearest neighbour: {_NEIGHBOURS} (default: {BALANCED})",
    )
    parser.add_argument(
        "--compute-type",
        choices=tuple(_ALIASES),
        help="deprecated; use --precision",
    )
    parser.add_argument(
        "--task",
        type=_task,
        metavar="TASK",
        help=f"task of the model: {', '.join(task.value for task in Task)} (default: detected from its head)",
    )
    parser.add_argument(
        "--lengths",
        type=_lengths,
        default=LENGTHS,
        metavar="N,N",
        help="sequence lengths to measure at, in tokens (default: 32,128)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="PATH",
        help="typical inputs for int8: a file with one text per line, .npz for a graph, or a directory of pictures",
    )
    parser.add_argument(
        "--sample",
        type=Path,
        metavar="FILE.npz",
        help="typical inputs of an ONNX or torch file, one array per input, for comparing and measuring "
        "instead of random values",
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:TYPE:DIMS[:LIMIT]",
        help="input of a TorchScript file, in the order of its arguments, or an input whose shape an ONNX graph omits; "
        "integers stay below LIMIT (repeatable)",
    )
    parser.add_argument(
        "--hypothesis-template",
        metavar="TEMPLATE",
        default=HYPOTHESIS,
        help=f"hypothesis for zero-shot labels, with {{}} for the label (default: '{HYPOTHESIS}')",
    )
    parser.add_argument(
        "--labels",
        type=_labels,
        metavar="NAME,NAME",
        default=(),
        help="classes of a page-element detector, in its order (default: table,chart,title)",
    )
    parser.add_argument(
        "--base",
        metavar="SOURCE",
        default="",
        help="directory or hub id of the model that a LoRA adapter was made for (default: the one that its "
        "adapter_config.json names)",
    )
    parser.add_argument(
        "--source-language",
        metavar="NAME",
        default="",
        help="source language of requests that do not set source_language, such as deu_Latn (NLLB, M2M100, mBART; "
        "default: the tokenizer's own)",
    )
    parser.add_argument(
        "--max-batch-size",
        type=_rows,
        metavar="N",
        help=f"maximum images in a request, for models that read images (default: {MAX_BATCH_SIZE})",
    )
    parser.add_argument("--compare", action="store_true", help="also measure the exported graph without optimisation")
    parser.add_argument(
        "--accept", action="store_true", help="write the named engine and precision even if the gate refuses it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing models of these names")
    parser.add_argument(
        "--dry-run", action="store_true", help="read the source and list what would be tried, but write nothing"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="show what the libraries print and warn of (default: only if the conversion ends unexpectedly)",
    )
    add_limit_flags(parser)
    return parser


def _task(text: str) -> Task:
    try:
        return Task(text)
    except ValueError:
        known = ", ".join(task.value for task in Task)
        raise ArgumentTypeError(f"unknown task '{text}'; expected one of {known}") from None


def _rows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ROWS:
        raise ArgumentTypeError(f"expected a number from 1 to {MOST_ROWS}, not '{text}'")
    return int(text)


def _lengths(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentTypeError(f"expected whole numbers of tokens such as 32,128, not '{text}'")
    return tuple(sorted({int(part) for part in parts}))


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(text.split(","))
    if not all(labels):
        raise ArgumentTypeError(f"expected names such as table,chart,title, not '{text}'")
    return labels


def convert_options(options: Namespace, command: str, *, lost: Mapping[str, str], isolation: str) -> ConvertOptions:
    """Return the options of the conversion that the parsed flags specify."""
    return ConvertOptions(
        name=options.name,
        repository=options.repository,
        engine=options.engine,
        precision=options.precision,
        accuracy=options.accuracy,
        task=options.task,
        lengths=options.lengths,
        calibration=options.calibration,
        sample=options.sample,
        inputs=tuple(options.input),
        hypothesis=options.hypothesis_template,
        labels=options.labels,
        base=options.base,
        source_language=options.source_language,
        max_batch_size=options.max_batch_size,
        accept=options.accept,
        compare=options.compare,
        overwrite=options.overwrite,
        dry_run=options.dry_run,
        command=command,
        verbose=options.verbose,
        lost=lost,
        isolation=isolation,
    )
