"""What a conversion tells: one document, written as JSON for machines and as Markdown for people.

Knows no library that converts; versions are looked up, nothing is imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson

from slipway import __version__
from slipway.convert.batching import Plan
from slipway.convert.gate import Figures, Thresholds
from slipway.convert.measure import Speed
from slipway.convert.variants import Skipped
from slipway.machine import describe_machine

_PACKAGES: Final = (
    "torch", "transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "nncf", "numpy", "ctranslate2",
)  # fmt: skip
_BLOCK: Final = 1 << 20

CANDIDATE_HEADERS: Final = (
    "candidate", "gate", "difference", "same label", "cosine", "in a batch", "length: ms, rows/s", "MB",
)  # fmt: skip

CHOSEN: Final = "chosen"
PASSED: Final = "passed"
REFUSED: Final = "refused"
ACCEPTED: Final = "accepted although refused"
COMPARED: Final = "for comparison only"


@dataclass(slots=True)
class Candidate:
    """One variant that was tried. `problems` are the gate's, in words; `speeds` are empty where it was not measured."""

    label: str
    engine: str
    precision: str
    method: str = ""
    status: str = REFUSED
    problems: tuple[str, ...] = ()
    criteria: Thresholds | None = None
    figures: Figures | None = None
    speeds: tuple[Speed, ...] = ()
    bytes: int = 0
    seconds: float = 0.0

    def cells(self) -> tuple[str, ...]:
        """Return the candidate as a row of the report's table."""
        return _candidate_row(self)

    @property
    def rows_per_second(self) -> float:
        """Return the geometric mean over the lengths of the rows per second, one at a time."""
        product = 1.0
        for speed in self.speeds:
            product *= speed.rows_per_second
        return product ** (1 / len(self.speeds)) if self.speeds else 0.0


@dataclass(slots=True)
class Report:
    """Everything a conversion found out."""

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
    versions: dict[str, str] = field(default_factory=lambda: dict(_versions()))
    machine: str = field(default_factory=describe_machine)

    headers: ClassVar[tuple[str, ...]] = CANDIDATE_HEADERS

    def lines_after(self) -> list[str]:
        """Return what else the Markdown form has to say, at its end."""
        return []

    def document(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)

    def json(self) -> bytes:
        """Return the report as indented JSON."""
        return orjson.dumps(self.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)

    def write(self, directory: Path) -> None:
        """Write report.json and report.md into `directory`."""
        (directory / "report.json").write_bytes(self.json() + b"\n")
        (directory / "report.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """Return the report for people."""
        lines = [
            f"# Conversion of {self.source}",
            "",
            f"**{self.chosen}** was chosen: {self.why}.",
            "",
            f"- task: {self.task}; models: {', '.join(self.models)}",
            f"- compared with: {self.reference}",
            f"- calibration of int8: {self.calibration}",
            f"- scheduling: {self.batching.why if self.batching else 'as given'}",
            f"- machine: {self.machine}",
            f"- source SHA-256: `{self.source_sha256}`",
            f"- made {self.created} in {self.seconds:.1f} s with "
            + ", ".join(f"{name} {number}" for name, number in self.versions.items()),
            f"- again: `{self.reproduce}`",
            "",
            "## Candidates",
            "",
            *_markdown_table(self.headers, [each.cells() for each in self.candidates]),
        ]
        refusals = [f"- {each.label}: {problem}" for each in self.candidates for problem in each.problems]
        lines += ["", *refusals] if refusals else []
        if self.skipped:
            lines += ["", "## Not tried", "", *(f"- {row.label}: {row.reason}" for row in self.skipped)]
        if self.batching and self.batching.rates:
            lines += ["", "## Rows per second by batch", "", *_markdown_table(*_rate_table(self.batching))]
        return "\n".join([*lines, *self.lines_after(), ""])


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    figures = candidate.figures
    speeds = "; ".join(
        f"{speed.length}: {speed.latency_ms:.1f} ms, {speed.rows_per_second:.0f}/s" for speed in candidate.speeds
    )
    size = f"{candidate.bytes / 1e6:.1f}"
    if figures is None:
        return (candidate.label, candidate.status, "", "", "", "", speeds, size)
    return (
        candidate.label,
        candidate.status,
        f"{figures.difference:.1e}",
        f"{figures.agreement:.1%}" if candidate.criteria and candidate.criteria.agreement else "",
        f"{figures.cosine:.5f} (worst {figures.worst_cosine:.5f})",
        f"{figures.batch_difference:.1e}",
        speeds,
        size,
    )


def _rate_table(plan: Plan) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    sizes = sorted({rate.rows for rate in plan.rates})
    lengths = sorted({rate.length for rate in plan.rates})
    rates = {(rate.length, rate.rows): f"{rate.rows_per_second:.0f}" for rate in plan.rates}
    together = {rate.length: f"{rate.rows_per_second:.0f}" for rate in plan.instance_rates}
    headers = ("tokens", *(f"batch {size}" for size in sizes), *(("an instance per core",) if together else ()))
    rows = [
        (str(length), *(rates[length, size] for size in sizes), *((together[length],) if together else ()))
        for length in lengths
    ]
    return headers, rows


def _markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(headers) + " |",
        "|" + "---|" * len(headers),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _versions() -> Iterable[tuple[str, str]]:
    yield "slipway", __version__
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def source_hash(path: Path) -> str:
    """Return the SHA-256 over the names and contents of a file, or of all files of a directory, in sorted order."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    for file in files:
        digest.update(file.name.encode() if path.is_file() else str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def directory_bytes(directory: Path) -> int:
    """Return the size of all files in `directory`."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
