"""The work of `slipway convert`: convert, and return what the command prints."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slipway.cli.confined.console import Console
from slipway.cli.confined.messages import Job
from slipway.cli.convert_flags import convert_options, parse
from slipway.cli.output import output_width
from slipway.convert.conversion import Converted, convert
from slipway.core.table import render_table


def work(job: Job, console: Console) -> str:
    """Convert, and return the report as JSON or as text."""
    given = parse(job.words, warn=False)
    command = shlex.join(["slipway", "convert", *job.words])

    @contextmanager
    def stage(repository: Path, names: Sequence[str], *, overwrite: bool) -> Iterator[tuple[Path, Path]]:  # noqa: ARG001
        """Yield the directories that the command made; it knows the repository and whether to overwrite."""
        with console.stage(names) as directory:
            yield directory / "new", directory / "work"

    options = convert_options(given, command, lost=job.lost, isolation=job.isolation)
    conversion = convert(job.source or given.source, options, console.step, origin=job.origin, stage=stage)
    return conversion.report.json().decode() if given.json else _summary(conversion, given.repository)


def _summary(conversion: Converted, repository: Path) -> str:
    report = conversion.report
    lines = [f"{report.source}: {report.task}, compared with {report.reference}"]
    if not conversion.written:
        lines += [f"would try {', '.join(each.label for each in report.candidates)}"]
        lines += [f"would not try {each.label}: {each.reason}" for each in report.skipped]
        return "\n".join([*lines, f"would write {', '.join(conversion.models)} to {repository}"])
    lines.append(render_table(*report.table(), output_width()))
    lines += [f"{each.label}: {problem}" for each in report.candidates for problem in each.problems]
    lines += [f"not tried: {each.label}: {each.reason}" for each in report.skipped]
    return "\n".join(
        [
            *lines,
            f"chosen: {report.chosen}: {report.why}",
            *([f"scheduling: {report.batching.why}"] if report.batching else []),
            *report.note_lines(),
            *report.loss_lines(),
            f"wrote {', '.join(conversion.models)} to {repository} in {report.seconds:.1f} s",
            f"report: {repository / conversion.reported / 'report.md'}",
            f"next: slipway check {repository} && slipway serve {repository}",
        ]
    )
