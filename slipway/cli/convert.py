"""`slipway convert`: a checkpoint to a verified, optimised entry of a model repository."""

from __future__ import annotations

import shlex
import signal
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from slipway.cli.parser import CommandParser
from slipway.cli.progress import progress_line
from slipway.convert.conversion import Converted, convert
from slipway.convert.directory import Task
from slipway.convert.encoders.variants import ENGINES
from slipway.convert.generation.variants import COMPUTE_TYPES
from slipway.convert.generation.variants import ENGINES as GENERATION_ENGINES
from slipway.convert.options import AUTO, HYPOTHESIS, LENGTHS, ConvertOptions
from slipway.convert.variants import PRECISIONS
from slipway.core.table import render_table
from slipway.errors import invalid

_ALIASES: Final = {AUTO: AUTO, **{compute_type: precision for precision, compute_type in COMPUTE_TYPES.items()}}


def run(arguments: Sequence[str]) -> int:
    """Convert, print what was compared, measured and chosen, and what to type next; 0 on success."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _apply_alias(parser, options)
    signal.signal(signal.SIGTERM, _interrupt)  # what was begun is removed, as on Ctrl-C
    command = shlex.join(["slipway", "convert", *arguments])
    try:
        with progress_line(sys.stderr) as progress:
            conversion = convert(options.source, _options(options, command), progress)
    except KeyboardInterrupt:
        raise invalid("interrupted, nothing was written; the same command starts again") from None
    if options.json:
        sys.stdout.write(conversion.report.json().decode() + "\n")
    else:
        print(_summary(conversion, options.repository))
    return 0


def _apply_alias(parser: CommandParser, options: Namespace) -> None:
    """Read --compute-type, an older option for models that generate text, as --precision, and warn."""
    if options.compute_type is None:
        return
    precision = _ALIASES[options.compute_type]
    if AUTO not in (options.precision, precision) and options.precision != precision:
        parser.error(f"--compute-type {options.compute_type} contradicts --precision {options.precision}")
    print(f"warning: --compute-type is now --precision: write --precision {precision}", file=sys.stderr)
    if precision != AUTO:
        options.precision = precision


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> CommandParser:
    parser = CommandParser(prog="slipway convert", description=__doc__)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a Hugging Face or sentence-transformers directory, the id of a model on the hub, an .onnx file, or a "
        "TorchScript or torch.export file (.pt, .pt2)",
    )
    parser.add_argument(
        "--name",
        required=True,
        help="name to ask for; a text model adds NAME-tokenizer, NAME-model and NAME-answer, one that generates "
        "NAME-tokenizer, NAME-model, NAME-detokenizer and NAME-stream",
    )
    parser.add_argument("--repository", metavar="DIR", type=Path, required=True, help="model repository to write into")
    parser.add_argument(
        "--engine",
        choices=(AUTO, *ENGINES, *GENERATION_ENGINES),
        default=AUTO,
        help="what runs the model (default: auto)",
    )
    parser.add_argument(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        default=AUTO,
        help="number type of every kind of model: auto takes the fastest that passes the gate; fp32 keeps every digit; "
        f"models that generate text have {', '.join(COMPUTE_TYPES)} (default: auto)",
    )
    parser.add_argument(
        "--compute-type",
        choices=tuple(_ALIASES),
        help="number type for text-generation models; replaced by --precision",
    )
    parser.add_argument(
        "--task", type=_task, metavar="TASK", help=f"default: what its head is for; {', '.join(t.value for t in Task)}"
    )
    parser.add_argument(
        "--lengths", type=_lengths, default=LENGTHS, metavar="N,N", help="tokens a row to measure at (default: 32,128)"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="typical input for int8: a text per line, or .npz for a graph"
    )
    parser.add_argument(
        "--sample",
        type=Path,
        metavar="FILE.npz",
        help="typical input of an ONNX or torch file, an array for each of its inputs: what the model is compared and "
        "measured with instead of random values",
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:TYPE:DIMS[:LIMIT]",
        help="input of a TorchScript file, in order, or of a graph that gives it no shape; LIMIT: the first integer "
        "that is too large",
    )
    parser.add_argument(
        "--hypothesis-template", default=HYPOTHESIS, help=f"of zero-shot labels (default: '{HYPOTHESIS}')"
    )
    parser.add_argument("--compare", action="store_true", help="measure the exported graph without optimisation too")
    parser.add_argument(
        "--accept", action="store_true", help="write the named engine and precision even if the gate rejects it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace models of these names")
    parser.add_argument(
        "--dry-run", action="store_true", help="read the source, say what would be tried, write nothing"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _task(text: str) -> Task:
    try:
        return Task(text)
    except ValueError:
        known = ", ".join(task.value for task in Task)
        raise ArgumentTypeError(f"there is no task '{text}', only {known}") from None


def _lengths(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentTypeError(f"expected whole numbers of tokens such as 32,128, not '{text}'")
    return tuple(sorted({int(part) for part in parts}))


def _options(options: Namespace, command: str) -> ConvertOptions:
    return ConvertOptions(
        name=options.name,
        repository=options.repository,
        engine=options.engine,
        precision=options.precision,
        task=options.task,
        lengths=options.lengths,
        calibration=options.calibration,
        sample=options.sample,
        inputs=tuple(options.input),
        hypothesis=options.hypothesis_template,
        accept=options.accept,
        compare=options.compare,
        overwrite=options.overwrite,
        dry_run=options.dry_run,
        command=command,
    )


def _summary(conversion: Converted, repository: Path) -> str:
    report = conversion.report
    lines = [f"{report.source}: {report.task}, compared with {report.reference}"]
    if not conversion.written:
        lines += [f"would try {', '.join(each.label for each in report.candidates)}"]
        lines += [f"would not try {each.label}: {each.reason}" for each in report.skipped]
        return "\n".join([*lines, f"would write {', '.join(conversion.models)} to {repository}"])
    lines.append(render_table(*report.table()))
    lines += [f"{each.label}: {problem}" for each in report.candidates for problem in each.problems]
    lines += [f"not tried: {each.label}: {each.reason}" for each in report.skipped]
    return "\n".join(
        [
            *lines,
            f"chosen: {report.chosen}: {report.why}",
            *([f"scheduling: {report.batching.why}"] if report.batching else []),
            *report.note_lines(),
            f"wrote {', '.join(conversion.models)} to {repository} in {report.seconds:.1f} s",
            f"report: {next(path for path in _reports(repository, conversion.models) if path.is_file())}",
            f"next: slipway check {repository} && slipway serve {repository}",
        ]
    )


def _reports(repository: Path, models: Sequence[str]) -> list[Path]:
    return [repository / name / "report.md" for name in models]
