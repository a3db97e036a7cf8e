"""One run from names to files: opens both ends, asks the server about the model, decides whether an earlier run goes
on, transfers, and marks the output as complete. Prints nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from slipway.client.endpoint import Endpoint
from slipway.errors import Code, SlipwayError, invalid, not_found, unavailable
from slipway.lines.backoff import Backoff
from slipway.lines.connection import Connect, Described, ModelConnection
from slipway.lines.record import LineOutput, RunIdentity
from slipway.lines.source import LineSource, Survey
from slipway.lines.text_model import TextModel, text_model
from slipway.lines.transfer import Transfer, TransferOptions, TransferState

_NAMES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class LinesJob:
    """What to send where. `explain` returns why no inference server answers at the endpoint, "" if one may come."""

    source: str
    output: str
    endpoint: Endpoint
    connect: Connect
    model: str
    version: str = ""
    input_name: str = ""
    output_name: str = ""
    restart: bool = False
    transfer: TransferOptions = field(default_factory=TransferOptions)
    explain: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True)
class SentLines:
    """A finished run: its counts, and the lines whose bytes had to be repaired, with the first of them."""

    state: TransferState
    repaired: int
    first_repaired: int


Observe = Callable[[TransferState, int], None]  # with the number of lines, 0 if it is unknown


async def send_lines(job: LinesJob, observe: Observe = lambda *_: None) -> SentLines:
    """Send every line and return the counts; raise `SlipwayError` or OSError, with every earlier line written."""
    with closing(LineSource.open(job.source)) as source:
        model = await _ask_about(job, observe)
        with closing(LineOutput.open(job.output)) as output:
            if output.is_same_file(source.descriptor):
                raise invalid(f"'{job.output}' is the input: choose another --output_file")
            survey = source.survey() if source.is_file else None
            output.begin(_identity(model, survey), restart=job.restart)
            total = survey.lines if survey else 0
            transfer = Transfer(
                model, job.endpoint, job.connect, job.transfer, observe=lambda state: observe(state, total)
            )
            state = await transfer.run(source, output)
            output.finish()
    return SentLines(state, transfer.splitter.repaired, transfer.splitter.first)


def _identity(model: TextModel, survey: Survey | None) -> RunIdentity | None:
    if survey is None:
        return None
    return RunIdentity(survey, model.name, model.version, model.input_name, model.output_name)


async def _ask_about(job: LinesJob, observe: Observe) -> TextModel:
    """Return how lines fit the model, as soon as a server answers."""
    connection = job.connect(job.endpoint)
    try:
        described = await _described(connection, job, observe)
    finally:
        await connection.close()
    metadata = {**described.metadata, "name": job.model}
    return text_model(
        metadata, described.config, version=job.version, input_name=job.input_name, output_name=job.output_name
    )


async def _described(connection: ModelConnection, job: LinesJob, observe: Observe) -> Described:
    backoff = Backoff(job.transfer.patience)
    state = TransferState()
    attempt = 0
    while True:
        try:
            return await connection.describe(job.model, job.version)
        except SlipwayError as error:
            if error.code is Code.NOT_FOUND:
                raise await _unknown(connection, job, error) from None
            if error.code is not Code.UNAVAILABLE:
                raise
            reason = job.explain()
            if reason:
                raise unavailable(reason) from None
            attempt += 1
            pause = backoff.pause(attempt, time.monotonic())
            if pause is None:
                raise
            state.waiting = error.message
            observe(state, 0)
        await asyncio.sleep(pause)


async def _unknown(connection: ModelConnection, job: LinesJob, error: SlipwayError) -> SlipwayError:
    """Return the server's error, with the names that it does have."""
    try:
        names = await connection.models()
    except SlipwayError:
        names = []
    if not names or job.model in names:
        return error
    close = get_close_matches(job.model, names, 1)
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    advice = f"did you mean '{close[0]}'?" if close else f"its models: {shown}"
    return not_found(f"the server does not have the model '{job.model}': {advice}")
