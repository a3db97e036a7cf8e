"""What the linter reports: findings with a rule, a place in a file, a fix in words, and the edits that make it.

Values only; other modules create and print them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from slipway.problems import Rule


class Severity(Enum):
    """How bad a finding is: an error keeps a model from being served as written, the others do not."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters from `start` to `end` of the finding's file with `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `line` and `column` count from 1; 0 where the finding is about a whole file or directory."""

    severity: Severity
    rule: Rule
    model: str  # "" if it belongs to no model
    file: Path
    message: str
    line: int = 0
    column: int = 0
    fix: str = ""  # what to do, in words
    edits: tuple[Edit, ...] = field(default=(), compare=False)  # the fix as safe edits of the file, if there are any

    @property
    def place(self) -> str:
        """The place in the form that editors and terminals recognise."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else str(self.file)


def count(findings: Iterable[Finding], severity: Severity) -> int:
    """Return how many of the findings are of one severity."""
    return sum(finding.severity is severity for finding in findings)
