"""How a converted model is to be scheduled, with the measured rates that say so: values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows per second of batches of `rows` rows of `length` tokens each."""

    length: int
    rows: int
    rows_per_second: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is written into the config. `max_tokens` 0: no batches; `instances` 1 with all threads, or one per core."""

    instances: int
    max_tokens: int
    rates: tuple[Rate, ...] = ()
    instance_rates: tuple[Rate, ...] = ()
    why: str = ""

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the rates as headers and rows: a row for each length, a column for each size of batch."""
        sizes = sorted({rate.rows for rate in self.rates})
        lengths = sorted({rate.length for rate in self.rates})
        rates = {(rate.length, rate.rows): f"{rate.rows_per_second:.0f}" for rate in self.rates}
        together = {rate.length: f"{rate.rows_per_second:.0f}" for rate in self.instance_rates}
        headers = ("tokens", *(f"batch {size}" for size in sizes), *(("an instance per core",) if together else ()))
        rows = [
            (str(length), *(rates[length, size] for size in sizes), *((together[length],) if together else ()))
            for length in lengths
        ]
        return headers, rows
