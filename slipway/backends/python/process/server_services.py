"""Do what a child process asks the server for: BLS requests, model control, metrics, log lines.

All methods run on the event-loop thread; blocking calls run in a thread of their own. When the child is gone, `close`
cancels its requests and releases its metrics.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from slipway.backends.api import Host
from slipway.backends.python.process import messages
from slipway.backends.python.process.frames import LinkError
from slipway.backends.python.server import submit_bls
from slipway.core.metrics import Metric, MetricFamily
from slipway.core.request import InferResponse
from slipway.core.tensor import Raw
from slipway.errors import SlipwayError

Send = Callable[[msgspec.Struct, Sequence[Raw]], None]
SeriesKey = tuple[str, tuple[tuple[str, str], ...]]

_MODEL_LOG: Final = logging.getLogger("slipway.model")


class ChildServices:
    """Serves one child process; `send` sends it a message, `is_unwanted(serial)` returns whether nobody waits any more
    for a batch."""

    def __init__(
        self, host: Host, loop: asyncio.AbstractEventLoop, send: Send, is_unwanted: Callable[[int], bool]
    ) -> None:
        self._host = host
        self._loop = loop
        self._send = send
        self._is_unwanted = is_unwanted
        self._made_for: dict[int, int] = {}  # open call -> batch
        self._cancels: dict[int, Callable[[], None]] = {}
        self._families: dict[str, MetricFamily] = {}
        self._series: dict[SeriesKey, tuple[Metric, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def receive(self, message: Any, blob: memoryview) -> None:
        """Do what the child asks for; raise `LinkError` if it cannot ask for that."""
        try:
            self._serve(message, blob)
        except KeyError as error:
            raise LinkError(f"it names the metric {error}, which it has not opened") from None

    def _serve(self, message: Any, blob: memoryview) -> None:
        match message:
            case messages.Submit():
                self._submit(message, blob)
            case messages.CancelCall():
                cancel = self._cancels.get(message.call)
                if cancel is not None:
                    cancel()
            case messages.Log():
                record = logging.LogRecord(
                    _MODEL_LOG.name, message.level, message.file, message.line, message.message, None, None
                )
                if _MODEL_LOG.isEnabledFor(message.level):
                    _MODEL_LOG.handle(record)
            case messages.ChangeSeries() | messages.ReleaseSeries():
                self._change(message)
            case messages.OpenFamily() | messages.OpenSeries() | messages.ReadSeries():
                self._answer_now(message)
            case messages.LoadModel() | messages.UnloadModel() | messages.IsModelReady():
                task = self._loop.create_task(self._answer_later(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Cancel the child's requests and release its metrics."""
        self._closed = True
        self._made_for.clear()
        cancels, self._cancels = self._cancels, {}
        for cancel in cancels.values():
            cancel()
        for (family, labels), (_, uses) in self._series.items():
            for _ in range(uses):
                self._families[family].release(dict(labels))
        self._series.clear()

    def _submit(self, message: messages.Submit, blob: memoryview) -> None:
        call = message.call

        def deliver(response: InferResponse) -> None:
            if self._closed:
                return
            if response.final:
                self._cancels.pop(call, None)
                self._made_for.pop(call, None)
            blobs: list[Raw] = []
            self._send(messages.Answer(call, messages.answer_head(response, blobs)), blobs)

        self._cancels[call] = _nothing  # a refusal is delivered at once
        request = messages.BlobReader(blob).request(message.request)
        cancel = submit_bls(self._host, request, deliver, decoupled=message.decoupled)
        if call in self._cancels:
            self._cancels[call] = cancel
            if message.serial:
                self._made_for[call] = message.serial
                self.cancel_unwanted(message.serial)

    def cancel_unwanted(self, serial: int) -> None:
        """Cancel the calls of a batch if nobody waits for it any more."""
        calls = [call for call, made_for in self._made_for.items() if made_for == serial]
        if calls and self._is_unwanted(serial):
            for call in calls:
                self._cancels[call]()

    def _answer_now(self, message: Any) -> None:
        value, error = None, None
        try:
            value = self._metric_call(message)
        except SlipwayError as refused:
            error = messages.error_head(refused)
        self._send(messages.Returned(message.call, value, error), ())

    def _metric_call(self, message: Any) -> float | None:
        if isinstance(message, messages.OpenFamily):
            family = self._host.metrics.family(message.name, message.description, message.kind)
            self._families[message.name] = family
            return None
        key = (message.family, tuple(sorted(message.labels.items())))
        if isinstance(message, messages.ReadSeries):
            return self._series[key][0].value
        series = self._families[message.family].metric(message.labels, message.buckets)
        self._series[key] = (series, self._series.get(key, (series, 0))[1] + 1)
        return None

    def _change(self, message: messages.ChangeSeries | messages.ReleaseSeries) -> None:
        key = (message.family, tuple(sorted(message.labels.items())))
        series, uses = self._series[key]
        if isinstance(message, messages.ReleaseSeries):
            self._families[message.family].release(message.labels)
            if uses > 1:
                self._series[key] = (series, uses - 1)
            else:
                del self._series[key]
        elif message.verb == "increment":
            series.increment(message.value)
        elif message.verb == "set":
            series.set(message.value)
        else:
            series.observe(message.value)

    async def _answer_later(self, message: Any) -> None:
        value, error = None, None
        try:
            value = await asyncio.to_thread(self._control, message)
        except SlipwayError as refused:
            error = messages.error_head(refused)
        if not self._closed:
            self._send(messages.Returned(message.call, value, error), ())

    def _control(self, message: Any) -> bool | None:
        """Call the host; blocks."""
        match message:
            case messages.LoadModel():
                self._host.load_model(message.name, message.config, message.files)
            case messages.UnloadModel():
                self._host.unload_model(message.name, message.dependents)
            case messages.IsModelReady():
                return self._host.is_model_ready(message.name, message.version)
        return None


def _nothing() -> None:
    """Cancel a request that was answered at once."""
