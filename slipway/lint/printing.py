"""A report as text for people and as one JSON document for programs. Knows no rules and reads no files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from slipway.lint.check import Report
from slipway.lint.finding import Finding, Severity, count
from slipway.lint.fixing import Change

_COLOURS: Final = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.HINT: "36"}


def report_text(report: Report, *, colour: bool) -> str:
    """Return the findings grouped by model, each with its fix, and one line that counts them."""
    lines: list[str] = []
    groups = {name: [each for each in report.findings if each.model == name] for name in ("", *report.models)}
    for name, findings in groups.items():
        if findings:
            title = name or "repository"
            lines += [_paint(title, "1", colour=colour), *_finding_lines(findings, colour=colour), ""]
    return "\n".join([*lines, summary(report)])


def _finding_lines(findings: Iterable[Finding], *, colour: bool) -> Iterator[str]:
    for finding in findings:
        severity = _paint(finding.severity.value, _COLOURS[finding.severity], colour=colour)
        yield f"  {severity} {finding.place} {finding.message} [{finding.rule}]"
        if finding.fix:
            yield f"    fix: {finding.fix}"


def summary(report: Report) -> str:
    """Return the counts in one line."""
    counts = ", ".join(_number(count(report.findings, severity), severity.value) for severity in Severity)
    return f"{_number(len(report.models), 'model')} checked: {counts}"


def report_document(report: Report, changes: Sequence[Change], *, written: bool) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        "repository": str(report.repository),
        "models": list(report.models),
        "findings": [
            {
                "severity": finding.severity.value,
                "rule": finding.rule,
                "model": finding.model,
                "file": str(finding.file),
                "line": finding.line,
                "column": finding.column,
                "message": finding.message,
                "fix": finding.fix,
                "fixable": bool(finding.edits),
            }
            for finding in report.findings
        ],
        "changes": [{"file": str(change.file), "diff": change.diff, "written": written} for change in changes],
        "summary": {f"{severity.value}s": count(report.findings, severity) for severity in Severity},
    }


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _paint(text: str, code: str, *, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
