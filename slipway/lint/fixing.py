"""Apply the edits of findings to their files, and keep everything around them, including comments.

A file is written completely, then renamed into place, and only if the edits leave fewer mistakes. Knows no rules.
"""

from __future__ import annotations

import difflib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import invalid
from slipway.lint.finding import Edit, Finding
from slipway.lint.syntax import read_text

_SEPARATOR = re.compile(r"[ \t]*[,;]")


@dataclass(frozen=True, slots=True)
class Change:
    """One file before and after its edits."""

    file: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        """The change as a unified diff."""
        name = str(self.file)
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True), self.after.splitlines(keepends=True), name, f"{name} (fixed)"
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def plan_changes(findings: Iterable[Finding]) -> list[Change]:
    """Return the changes that the findings' edits make; files that they would not improve are left out."""
    edits: dict[Path, list[Edit]] = {}
    for finding in findings:
        edits.setdefault(finding.file, []).extend(finding.edits)
    changes = []
    for file, wanted in edits.items():
        if not wanted:
            continue
        before = file.read_text(encoding="utf-8")
        change = Change(file, before, apply_edits(before, wanted))
        if _is_better(change):
            changes.append(change)
    return changes


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return `text` with the edits applied; of overlapping edits only the first is applied."""
    kept: list[Edit] = []
    for edit in sorted(dict.fromkeys(edits), key=lambda each: (each.start, each.end)):
        if not kept or edit.start >= kept[-1].end:
            kept.append(edit)
    for edit in reversed(kept):
        text = _remove(text, edit) if not edit.text else text[: edit.start] + edit.text + text[edit.end :]
    return text


def write_change(change: Change) -> None:
    """Write the changed file."""
    write_text(change.file, change.after)


def write_text(file: Path, text: str) -> None:
    """Write a temporary file and rename it into place, keeping the permissions; raise INVALID_ARG if that fails."""
    temporary = file.with_name(f".slipway-{secrets.token_hex(8)}")
    try:
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.chmod(mode)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise invalid(f"cannot write '{file}': {error.strerror}") from error


def _remove(text: str, edit: Edit) -> str:
    """Return `text` without the edit's span, the comma after it, and the line if nothing else is on it."""
    separator = _SEPARATOR.match(text, edit.end)
    start, end = edit.start, separator.end() if separator else edit.end
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    if line_end >= 0 and not text[line_start:start].strip() and not text[end:line_end].strip():
        return text[:line_start] + text[line_end + 1 :]
    return text[:start] + text[end:].removeprefix(" ")


def _is_better(change: Change) -> bool:
    """Return whether the edited text parses, or has fewer mistakes than before."""
    mistakes, left = (len(read_text(text, "", change.file).findings) for text in (change.before, change.after))
    return change.after != change.before and (left == 0 or left < mistakes)
