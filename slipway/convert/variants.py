"""A variant is one way to run a model; a conversion selects its candidates from the variant table of its wing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.convert.options import AUTO, ConvertOptions
from slipway.errors import invalid

PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8", "int4")  # values of --precision, in every wing


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a model. `method` distinguishes variants with the same engine and precision; `title` overrides the
    label; a variant with `competes` false is measured for comparison only."""

    engine: str
    precision: str
    method: str = ""
    title: str = ""
    competes: bool = True

    @property
    def label(self) -> str:
        """Return the variant's display name, such as `openvino int8 (smoothed)`."""
        return self.title or f"{self.engine} {self.precision}" + (f" ({self.method})" if self.method else "")

    @property
    def slug(self) -> str:
        """Return the variant's directory name."""
        return "-".join(filter(None, (self.engine, self.precision, self.method.replace(" ", "-"))))


@dataclass(frozen=True, slots=True)
class Skipped:
    """A variant that is not tried, and why."""

    label: str
    reason: str


def select(
    table: Sequence[Variant], options: ConvertOptions, obstacle: Callable[[Variant], str], *, kind: str
) -> tuple[list[Variant], list[Skipped]]:
    """Return the variants of a wing's table to try, and those to skip; `obstacle` returns why one is skipped, or "".

    Raise INVALID_ARG if the requested variant does not exist for this `kind` of model or cannot run on this machine,
    and if --accept would override the gate for more than one engine and precision.
    """
    engine, precision = options.engine, options.precision
    of_engine = [row for row in table if engine in (AUTO, row.engine)]
    asked = [row for row in of_engine if precision in (AUTO, row.precision)]
    if not asked:
        has = ", ".join(dict.fromkeys(row.precision for row in of_engine))
        who = kind if engine == AUTO else f"engine '{engine}'"
        raise invalid(f"{who} does not support precision '{precision}'; supported: {has}")
    reasons = {row: obstacle(row) for row in asked}
    tried = [row for row, reason in reasons.items() if not reason]
    skipped = [Skipped(row.label, reason) for row, reason in reasons.items() if reason]
    if not tried:
        raise invalid(f"no candidate can be tried: {skipped[0].label}: {skipped[0].reason}")
    if options.accept and len(tried) > 1 and AUTO in (engine, precision):
        raise invalid("--accept overrides the gate for a single candidate: specify both --engine and --precision")
    return tried, skipped
