"""How `slipway infer --explain` prints what the server says about a request (`slipway_explain`): a table, or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TextIO

import msgspec
import orjson

from slipway.cli.output import visible
from slipway.errors import invalid
from slipway.foreign_json import parse_foreign

_NONE: Final = "the server did not explain the request: only Slipway knows the parameter slipway_explain"
_US_PER_MS: Final = 1000
_WAITS: Final[Mapping[str, str]] = {
    "batch": "more requests in the batch",
    "instance": "a free instance",
    "resources": "resources of the rate limiter",
    "hand_over": "its instance to begin",
    "preparation": "its instance, which prepared for likely inputs",
    "sequence_slot": "a slot for its sequence",
    "sequence_order": "an earlier request of its sequence",
    "cache": "the response cache",
    "inflight": "other requests to a step",
    "earlier_responses": "earlier responses",
}


class ExplainedWait(msgspec.Struct):
    """What a request waited for, and the setting behind it."""

    wait: str
    us: int
    setting: str = ""
    value: str | int | bool = ""

    def __str__(self) -> str:
        setting = f" ({self.setting} = {self.value})" if self.setting else ""
        return f"waited {_ms(self.us)} for {_WAITS.get(self.wait, self.wait)}{setting}"


class Compute(msgspec.Struct):
    """The three parts of an execution, in microseconds."""

    input: int
    infer: int
    output: int

    def __str__(self) -> str:
        parts = f"input {_ms(self.input)}, infer {_ms(self.infer)}, output {_ms(self.output)}"
        return f"{_ms(self.input + self.infer + self.output)} ({parts})"


class BatchSize(msgspec.Struct):
    """The batch in which a request ran."""

    requests: int
    rows: int

    def __str__(self) -> str:
        return f"{_count(self.requests, 'request')}, {_count(self.rows, 'row')}"


class Padding(msgspec.Struct):
    """The padding tokens of a batch."""

    tokens: int
    share: float

    def __str__(self) -> str:
        return f"{_count(self.tokens, 'token')}, {100 * self.share:.1f} % of the batch"


class InstancePlace(msgspec.Struct):
    """The instance that executed a request, and where it runs."""

    name: str
    threads: int
    kind: str = ""
    device: int | None = None
    cpus: str = ""

    def __str__(self) -> str:
        place = self.kind if self.device is None else f"{self.kind} {self.device}"
        cpus = f", on CPUs {self.cpus}" if self.cpus else ""
        return f"{self.name} ({place}, {_count(self.threads, 'thread')}{cpus})"


class ExplainedRequest(msgspec.Struct):
    """An explanation; an ensemble's has those of its steps."""

    model: str
    version: str = ""
    rows: int = 0
    total_us: int | None = None
    queue_us: int | None = None
    held_by: list[ExplainedWait] = []
    compute_us: Compute | None = None
    executing_us: int | None = None
    executions: int | None = None
    batch: BatchSize | None = None
    padding: Padding | None = None
    instance: InstancePlace | None = None
    engine: dict[str, str] = {}
    cache: str | None = None
    steps: list[ExplainedRequest] = []
    more_steps: int = 0


def write_explanation(stream: TextIO, text: str, *, as_json: bool) -> None:
    """Write an explanation ("" if the server sent none): a line of JSON, or a table. Raise INVALID_ARG for one that is
    not Slipway's."""
    source = "the server sent an explanation that is not Slipway's"
    if not text:
        stream.write(orjson.dumps({"slipway_explain": None}).decode() + "\n" if as_json else f"{_NONE}\n")
        return
    document = parse_foreign(text, source)
    try:
        report = msgspec.convert(document, ExplainedRequest)
    except msgspec.ValidationError as error:
        raise invalid(f"{source}: {error}") from None
    if as_json:
        stream.write(orjson.dumps({"slipway_explain": document}).decode() + "\n")
    else:
        stream.writelines(visible(f"{line}\n") for line in table(report))


def table(report: ExplainedRequest, title: str = "explained") -> Iterator[str]:
    """Yield the lines of the table; steps of an ensemble are below the others, indented."""
    version = f" version {report.version}" if report.version else ""
    size = f", {_count(report.rows, 'row')}" if report.rows else ""
    total = "" if report.total_us is None else f", {_ms(report.total_us)}"
    yield f"{title}: model '{report.model}'{version}{size}{total}"
    rows = {
        "queue": None if report.queue_us is None else _ms(report.queue_us),
        "compute": report.compute_us,
        "executing": None if report.executing_us is None else f"{_ms(report.executing_us)} so far",
        "executed": None if report.executions is None else f"{report.executions} times",
        "batch": report.batch,
        "padding": report.padding,
        "instance": report.instance,
        "engine": " ".join(report.engine.values()) or None,
        "cache": report.cache,
    }
    for name, value in rows.items():
        if value is not None:
            yield f"  {name:<9} {value}"
        if name == "queue":
            yield from (f"            {wait}" for wait in report.held_by)
    for number, step in enumerate(report.steps, 1):
        yield from (f"  {line}" for line in table(step, f"step {number}"))
    if report.more_steps:
        yield f"  and {_count(report.more_steps, 'more step')}"


def _ms(microseconds: int) -> str:
    return f"{microseconds / _US_PER_MS:.3g} ms" if microseconds < 1e6 else f"{microseconds / 1e6:.2f} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
