"""The scheduling of a converted model, and the measured rates that justify it: values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows per second for batches of `rows` rows with `length` tokens each."""

    length: int
    rows: int
    rows_per_second: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The scheduling that is written into the config: one instance with all threads, or one instance per core.

    `max_tokens` is the limit of a batch; 0 disables batching."""

    instances: int
    max_tokens: int
    rates: tuple[Rate, ...] = ()
    instance_rates: tuple[Rate, ...] = ()
    why: str = ""

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the rates as headers and rows: one row per length, one column per batch size."""
        sizes = sorted({rate.rows for rate in self.rates})
        lengths = sorted({rate.length for rate in self.rates})
        rates = {(rate.length, rate.rows): f"{rate.rows_per_second:.0f}" for rate in self.rates}
        together = {rate.length: f"{rate.rows_per_second:.0f}" for rate in self.instance_rates}
        headers = ("tokens", *(f"batch {size}" for size in sizes), *(("one instance per core",) if together else ()))
        rows = [
            (str(length), *(rates[length, size] for size in sizes), *((together[length],) if together else ()))
            for length in lengths
        ]
        return headers, rows
