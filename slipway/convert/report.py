"""The report of a conversion: one document, written as JSON for programs and as Markdown for people.

Independent of the wings: the figures and speeds are values of a wing, which formats them with its `Columns`. Imports
no conversion library; versions are read from package metadata.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from slipway import __version__
from slipway.convert.plan import Plan
from slipway.convert.thresholds import Thresholds
from slipway.convert.variants import Skipped, Variant
from slipway.installation import conversion_versions
from slipway.machine import describe_machine

_BLOCK: Final = 1 << 20

CHOSEN: Final = "chosen"
PASSED: Final = "passed"
REFUSED: Final = "refused"
ACCEPTED: Final = "accepted although refused"
COMPARED: Final = "for comparison only"


class Speed(Protocol):
    """The speed of a candidate in one situation, as measured by its wing."""

    @property
    def rate(self) -> float:
        """Return the throughput per second, in the units that the wing counts."""


def mean_rate(speeds: Sequence[Speed]) -> float:
    """Return the geometric mean of the rates; 0 if there are none."""
    return math.prod(speed.rate for speed in speeds) ** (1 / len(speeds)) if speeds else 0.0


@dataclass(slots=True)
class Candidate:
    """A variant that was tried, with its results. `problems` are the gate's criteria that it failed, as text; `figures`
    are the figures of its wing's gate; `speeds` is empty if it was not measured."""

    variant: Variant
    status: str = REFUSED
    problems: tuple[str, ...] = ()
    criteria: Thresholds | None = None
    figures: Any = None  # candidates/gate.py: Figures; agreement.py: Agreement
    speeds: tuple[Any, ...] = ()  # each one a `Speed`, with additional fields per wing
    passes: tuple[float, ...] = ()  # the rate of each measurement
    bytes: int = 0
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """Return the variant's display name."""
        return self.variant.label

    @property
    def rate(self) -> float:
        """Return the geometric mean of the rates; 0 if it was not measured."""
        return mean_rate(self.speeds)


@dataclass(frozen=True, slots=True)
class Columns:
    """How a wing reports figures and speeds: its columns in the table, the cells for a candidate, the fields in
    report.json, the phrase that says how speed was measured, and the accuracy that a candidate lost, "" for none."""

    headers: tuple[str, ...]
    cells: Callable[[Candidate], tuple[str, ...]]
    fields: Callable[[Candidate], dict[str, Any]]
    measured: Callable[[Candidate], str]
    lost: Callable[[Candidate], str] = lambda _: ""


@dataclass(slots=True)
class ConversionReport:
    """All results of a conversion; `notes` lists how the served model differs from the source."""

    columns: Columns
    source: str
    source_sha256: str
    task: str
    reference: str
    models: tuple[str, ...]
    lengths: tuple[int, ...]
    calibration: str
    reproduce: str
    candidates: list[Candidate] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    chosen: str = ""
    why: str = ""
    batching: Plan | None = None
    seconds: float = 0.0
    created: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    versions: dict[str, str] = field(default_factory=lambda: {"slipway": __version__, **conversion_versions()})
    machine: str = field(default_factory=describe_machine)
    notes: list[str] = field(default_factory=list)
    isolation: str = ""  # of the process that opened the source
    parameters: list[tuple[str, str, str]] = field(default_factory=list)  # request parameters: names, type, default

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the table of candidates as headers and rows."""
        rows = [
            (each.label, each.status, *self.columns.cells(each), f"{each.bytes / 1e6:.1f}") for each in self.candidates
        ]
        return ("candidate", "gate", *self.columns.headers, "MB"), rows

    def loss_lines(self) -> list[str]:
        """Return what the chosen candidate lost and how to avoid it; no lines if it lost nothing."""
        chosen = [each for each in self.candidates if each.label == self.chosen]
        lost = [text for each in chosen if (text := self.columns.lost(each))]
        kept = "--precision fp32 loses no accuracy; --accuracy high allows less loss, --accuracy fast more"
        return [f"{self.chosen} is not exact: {text}" for text in lost] + ([kept] if lost else [])

    def note_lines(self) -> list[str]:
        """Return the lines of the notes section, which ends both the printed summary and report.md."""
        return ["", "## Notes", "", *(f"- {note}" for note in self.notes)] if self.notes else []

    def document(self) -> dict[str, Any]:
        """Return the report as values that can be serialised to JSON."""
        document = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "columns"}
        return document | {
            "candidates": [self._candidate(each) for each in self.candidates],
            "lost": self.loss_lines()[:1],
        }

    def _candidate(self, candidate: Candidate) -> dict[str, Any]:
        return {
            "label": candidate.label,
            "engine": candidate.variant.engine,
            "precision": candidate.variant.precision,
            "method": candidate.variant.method,
            "status": candidate.status,
            "problems": candidate.problems,
            "criteria": candidate.criteria,
            **self.columns.fields(candidate),
            "bytes": candidate.bytes,
            "seconds": candidate.seconds,
        }

    def json(self) -> bytes:
        """Return the report as indented JSON."""
        return orjson.dumps(self.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)

    def write(self, directory: Path) -> None:
        """Write report.json and report.md into `directory`."""
        (directory / "report.json").write_bytes(self.json() + b"\n")
        (directory / "report.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """Return the report as Markdown."""
        lines = [
            f"# Conversion of {self.source}",
            "",
            f"**{self.chosen}** was chosen: {self.why}.",
            "",
            f"- task: {self.task}; models: {', '.join(self.models)}",
            f"- compared with: {self.reference}",
            f"- int8 calibration: {self.calibration}",
            f"- scheduling: {self.batching.why if self.batching else 'as in config.pbtxt'}",
            f"- machine: {self.machine}",
            *([f"- converted in {self.isolation}"] if self.isolation else []),
            f"- source SHA-256: `{self.source_sha256}`",
            f"- created {self.created} in {self.seconds:.1f} s with "
            + ", ".join(f"{name} {number}" for name, number in self.versions.items()),
            f"- to reproduce: `{self.reproduce}`",
            "",
            "## Candidates",
            "",
            *_markdown_table(*self.table()),
        ]
        lost = self.loss_lines()
        lines += ["", "## What was lost", "", *(f"- {line}" for line in lost)] if lost else []
        refusals = [f"- {each.label}: {problem}" for each in self.candidates for problem in each.problems]
        lines += ["", *refusals] if refusals else []
        if self.skipped:
            lines += ["", "## Not tried", "", *(f"- {row.label}: {row.reason}" for row in self.skipped)]
        if self.batching and self.batching.rates:
            lines += ["", "## Rows per second by batch size", "", *_markdown_table(*self.batching.table())]
        if self.parameters:
            headers = ("name, other names as a parameter", "type", "default")
            lines += ["", "## Request parameters", "", *_markdown_table(headers, self.parameters)]
        return "\n".join([*lines, *self.note_lines(), ""])


def _markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(headers) + " |",
        "|" + "---|" * len(headers),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def source_hash(path: Path) -> str:
    """Return the SHA-256 of the name and contents of a file, or of all files in a directory, in sorted order."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    for file in files:
        digest.update(file.name.encode() if path.is_file() else str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def directory_bytes(directory: Path) -> int:
    """Return the total size of all files in `directory`."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
