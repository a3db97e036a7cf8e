"""GET /ui/models/NAME/report: what `slipway convert` wrote down about a model, or about a step of an ensemble.

Reads report.json in the directory of the model, and no other file; shows the fields that are declared here, so no paths
of the machine that converted, and no commands.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from slipway.engine.api import Dataplane
from slipway.errors import SlipwayError, shown
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.page.files import FRESH
from slipway.rest.response import JSON

_FILE: Final = "report.json"
_LARGEST: Final = 1 << 20  # bytes; a report with 20 candidates has 40 KB
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a link could lead elsewhere, a FIFO wait for ever


class ShownCandidate(msgspec.Struct, frozen=True):
    """A form that was tried: its speeds, and how well it agrees with the source, in the terms of its kind of model."""

    label: str
    status: str = ""
    problems: tuple[str, ...] = ()
    figures: dict[str, Any] | None = None
    agreement: dict[str, Any] | None = None
    speeds: tuple[dict[str, Any], ...] = ()
    tokens: tuple[dict[str, Any], ...] = ()
    bytes: int = 0


class ShownSkip(msgspec.Struct, frozen=True):
    """A form that was not tried, and why."""

    label: str
    reason: str = ""


class ShownReport(msgspec.Struct, frozen=True):
    """The fields of a report that the page shows; the others are left out."""

    task: str
    chosen: str
    why: str = ""
    reference: str = ""
    calibration: str = ""
    machine: str = ""
    created: str = ""
    seconds: float = 0.0
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    candidates: tuple[ShownCandidate, ...] = ()
    skipped: tuple[ShownSkip, ...] = ()


def show_report(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer with the report and the model that it is about, or null for both if there is none."""
    context.dataplane.model_config(target.model, "")  # raises for a model that does not exist
    exchange.run(_show_report(exchange, list(_directories(context.dataplane, target.model))))


async def _show_report(exchange: Exchange, directories: Sequence[tuple[str, Path]]) -> None:
    document = await asyncio.to_thread(_first_report, directories)
    exchange.answer(200, JSON + FRESH, document)


def _directories(dataplane: Dataplane, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the models that may have the report of `name`, with their directories: itself, and its steps."""
    steps = dict.fromkeys(step.model_name for step in dataplane.model_config(name, "").ensemble_scheduling.step)
    for model in (name, *steps):
        try:
            yield model, dataplane.model_files(model, "").parent
        except SlipwayError:  # it has no files, or its name means several models
            continue


def _first_report(directories: Sequence[tuple[str, Path]]) -> bytes:
    for model, directory in directories:
        try:
            data = _read(directory / _FILE)
        except FileNotFoundError:
            continue
        except OSError as error:
            return _document(model, None, f"it cannot be read: {error.strerror or 'input/output error'}")
        try:
            return _document(model, msgspec.json.decode(data, type=ShownReport), "")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _document(model, None, shown(error))
    return _document(None, None, "")


def _document(model: str | None, report: ShownReport | None, problem: str) -> bytes:
    return msgspec.json.encode({"model": model, "report": report, "problem": problem})


def _read(file: Path) -> bytes:
    """Return the contents of a file; raise `OSError` unless it is a regular file of a possible size."""
    descriptor = os.open(file, _FLAGS)
    with open(descriptor, "rb") as opened:  # noqa: PTH123  a descriptor
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise OSError(0, f"it is not a regular file of at most {_LARGEST >> 20} MiB")
        return opened.read(_LARGEST)
