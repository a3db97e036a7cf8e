"""What the jobs that convert share: the directories that the command made, and the text that it prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slipway.cli.confined.console import Console
from slipway.cli.output import output_width
from slipway.convert.conversion import Converted
from slipway.convert.staging import Stager
from slipway.core.table import render_table


def stager(console: Console) -> Stager:
    """Return what provides the directories to write to: the command makes them, and places what is written."""

    @contextmanager
    def stage(repository: Path, names: Sequence[str], *, overwrite: bool) -> Iterator[tuple[Path, Path]]:  # noqa: ARG001
        """Yield the directories that the command made; it knows the repository and whether to overwrite."""
        with console.stage(names) as directory:
            yield directory / "new", directory / "work"

    return stage


def summary(conversion: Converted, repository: Path) -> str:
    """Return what was compared, measured and chosen, and the next command."""
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
