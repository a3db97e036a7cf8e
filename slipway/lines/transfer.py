"""A run: reads lines, keeps several requests under way, writes the results in the order of the lines.

The window decides what is sent, and bounds what is held; this module waits. A batch that the server refuses is halved
until the refused line is found. What cannot be answered now is tried again until the back-off gives up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.client.endpoint import Endpoint
from slipway.errors import Code, SlipwayError, invalid, unavailable
from slipway.lines.backoff import Backoff
from slipway.lines.connection import Connect, ModelConnection
from slipway.lines.record import LineOutput
from slipway.lines.source import LineSource
from slipway.lines.splitting import Line, LineSplitter, RefusedLine, as_line
from slipway.lines.text_model import DEFAULT_ROWS, TextModel
from slipway.lines.window import LineBatch, Window

_WINDOW_BATCHES: Final = 8  # per connection
_LEAST_WINDOW: Final = 64  # batches, so that stretches do not wait for one another
_WINDOW_BYTES: Final = 64 << 20
_BATCH_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How a run sends lines. `rows` 0 is chosen from the model; `patience` is in seconds; a run stops after `refusals`
    refused lines in a row, 0 for never."""

    rows: int = 0
    connections: int = 8
    patience: float = 60.0
    refusals: int = 100
    max_line_bytes: int = 16 << 20
    strict: bool = True


@dataclass(slots=True)
class TransferState:
    """How far a run is: lines written now and before, and those refused, with the first of them."""

    before: int = 0
    written: int = 0
    refused: int = 0
    first_refused: int = 0
    reason: str = ""
    waiting: str = ""  # why requests are being tried again

    @property
    def done(self) -> int:
        """Lines in the output."""
        return self.before + self.written


class Transfer:
    """One run, from `source` to `output`; `observe` is called whenever lines were written or the server is away."""

    def __init__(
        self,
        model: TextModel,
        endpoint: Endpoint,
        connect: Connect,
        options: TransferOptions,
        observe: Callable[[TransferState], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._endpoint = endpoint
        self._connect = connect
        self._options = options
        self._observe = observe
        rows = request_rows(model, options.rows)
        self._window = Window(
            rows=rows,
            batch_bytes=_BATCH_BYTES,
            max_lines=rows * max(_LEAST_WINDOW, _WINDOW_BATCHES * options.connections),
            max_bytes=_WINDOW_BYTES,
        )
        self._backoff = Backoff(options.patience)
        self._changed = asyncio.Event()
        self._read_all = False
        self._held = 0  # empty lines of refused ones that are not written yet
        self._last_reason = ""
        self.splitter = LineSplitter(options.max_line_bytes, strict=options.strict)
        self.state = TransferState()

    async def run(self, source: LineSource, output: LineOutput) -> TransferState:
        """Send every line after those that the output has already; raise `SlipwayError` if the run cannot go on, with
        everything before written."""
        self.state.before = output.done
        self._observe(self.state)
        tasks = [asyncio.ensure_future(self._read(source))]
        tasks += [asyncio.ensure_future(self._send(output)) for _ in range(self._options.connections)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._write(output, [], ended=True)
        return self.state

    async def _read(self, source: LineSource) -> None:
        skipped = 0
        async for block in source.blocks():
            lines = self.splitter.feed(block)
            if skipped < self.state.before:
                passed = min(self.state.before - skipped, len(lines))
                skipped += passed
                lines = lines[passed:]
            await self._push(lines)
        lines = self.splitter.end()
        await self._push(lines if skipped >= self.state.before else [])
        self._read_all = True
        self._changed.set()

    async def _push(self, lines: Sequence[Line]) -> None:
        while lines:
            lines = lines[self._window.push(lines) :]
            self._changed.set()
            await self._until(lambda: self._window.has_room)

    async def _send(self, output: LineOutput) -> None:
        connection = self._connect(self._endpoint)
        try:
            while True:
                batch = self._window.pop()
                if batch is not None:
                    await self._ask(connection, batch)
                self._write(output, self._window.release())
                if batch is None and not await self._more():
                    return
        finally:
            await connection.close()

    async def _more(self) -> bool:
        """Wait until a batch may be there; return False when all lines are done."""
        if self._read_all and self._window.is_empty:
            self._changed.set()
            return False
        self._changed.clear()
        await self._changed.wait()
        return True

    async def _ask(self, connection: ModelConnection, batch: LineBatch) -> None:
        """Settle a batch, or put it back in halves."""
        try:
            rows = await self._answered(connection, batch)
        except SlipwayError as error:
            if error.code in (Code.UNAVAILABLE, Code.NOT_FOUND):
                raise
            if len(batch.lines) > 1:
                self._window.put_back(batch.halves())
            else:
                self._window.settle(batch, [RefusedLine(error.message)])
        else:
            self._window.settle(batch, [as_line(values) for values in rows])
        self._changed.set()

    async def _answered(self, connection: ModelConnection, batch: LineBatch) -> list[list[bytes]]:
        attempt = 0
        while True:
            try:
                rows = await connection.infer(self._model, batch.lines)
            except SlipwayError as error:
                attempt += 1
                if await self._is_final(connection, error):
                    raise
                await self._wait(attempt, error)
            else:
                self._backoff.succeeded()
                self.state.waiting = ""
                return rows

    async def _is_final(self, connection: ModelConnection, error: SlipwayError) -> bool:
        """Return whether the server can answer but will not: also a refusal may mean that the model is being loaded."""
        if error.code is Code.UNAVAILABLE:
            return False
        try:
            return await connection.is_ready(self._model.name, self._model.version)
        except SlipwayError:
            return False

    async def _wait(self, attempt: int, error: SlipwayError) -> None:
        pause = self._backoff.pause(attempt, time.monotonic())
        if pause is None:
            raise unavailable(f"gave up after {self._options.patience:g} s: {error.message}")
        self.state.waiting = error.message
        self._observe(self.state)
        await asyncio.sleep(pause)

    def _write(self, output: LineOutput, results: Sequence[Line], *, ended: bool = False) -> None:
        """Write results in order. Empty lines for refused ones are written when a later line succeeds or the input
        ends, so that a run against a model that cannot answer leaves nothing to take for results."""
        lines: list[bytes] = []
        for result in results:
            if isinstance(result, RefusedLine):
                self._note(result, self.state.done + len(lines) + self._held + 1)
                self._held += 1
                if self._held == self._options.refusals:
                    break
            else:
                lines += [b""] * self._held
                lines.append(result)
                self._held = 0
        else:
            lines += [b""] * self._held if ended else []
        if lines:
            output.write(lines)
            self.state.written += len(lines)
            self._changed.set()
            self._observe(self.state)
        if self._held and self._held == self._options.refusals:
            raise invalid(f"{self._held} lines in a row were refused, the last with: {self._last_reason}")

    def _note(self, refusal: RefusedLine, number: int) -> None:
        self._last_reason = refusal.reason
        self.state.refused += 1
        if not self.state.first_refused:
            self.state.first_refused, self.state.reason = number, refusal.reason

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self._changed.clear()
            await self._changed.wait()


def request_rows(model: TextModel, asked: int) -> int:
    """Return how many lines a request has: `asked`, or 32, at most what the model accepts."""
    rows = asked or DEFAULT_ROWS
    return min(rows, model.rows) if model.rows else rows
