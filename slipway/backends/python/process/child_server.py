"""The server as seen by a model in a child process: every call is a message. Implements `backends.python.server`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Final

from slipway.backends.python.process import messages
from slipway.backends.python.process.child_link import ChildLink
from slipway.backends.python.server import Cancel
from slipway.core.pending import Deliver
from slipway.core.request import InferRequest
from slipway.core.tensor import Raw

# The batch that is executed, by which the server knows for whom a call is made. Coroutines inherit it, threads that the
# model starts do not.
SERIAL: Final[ContextVar[int]] = ContextVar("SERIAL", default=0)


class ChildSeries:
    """One labelled series, which the server keeps."""

    def __init__(self, link: ChildLink, family: str, labels: dict[str, str]) -> None:
        self._link = link
        self._family = family
        self._labels = labels

    @property
    def value(self) -> float:
        """The value of a counter or gauge."""
        value = self._link.call(lambda call: messages.ReadSeries(call, self._family, self._labels))
        return float(value or 0)

    def increment(self, amount: float) -> None:
        """Add to a counter or gauge."""
        self._link.send(messages.ChangeSeries(self._family, self._labels, "increment", amount))

    def set(self, value: float) -> None:
        """Replace a gauge's value."""
        self._link.send(messages.ChangeSeries(self._family, self._labels, "set", value))

    def observe(self, value: float) -> None:
        """Count a value in a histogram."""
        self._link.send(messages.ChangeSeries(self._family, self._labels, "observe", value))


class ChildFamily:
    """A metric family, which the server keeps."""

    def __init__(self, link: ChildLink, name: str) -> None:
        self._link = link
        self._name = name

    def metric(self, labels: Mapping[str, str], buckets: Iterable[float] = ()) -> ChildSeries:
        """Return the series of `labels`."""
        given, bounds = dict(labels), tuple(buckets)
        self._link.call(lambda call: messages.OpenSeries(call, self._name, given, bounds))
        return ChildSeries(self._link, self._name, given)

    def release(self, labels: Mapping[str, str]) -> None:
        """Release one use of a series."""
        self._link.send(messages.ReleaseSeries(self._name, dict(labels)))


class ChildMetrics:
    """The families that models define."""

    def __init__(self, link: ChildLink) -> None:
        self._link = link

    def family(self, name: str, description: str, kind: str) -> ChildFamily:
        """Return the family `name`, created on first use."""
        self._link.call(lambda call: messages.OpenFamily(call, name, description, kind))
        return ChildFamily(self._link, name)


class ChildServer:
    """What a model may ask of the server. `answered` passes the answers to BLS requests to their callers."""

    def __init__(self, link: ChildLink) -> None:
        self._link = link
        self.metrics = ChildMetrics(link)
        self._calls: dict[int, Deliver] = {}

    def submit(self, request: InferRequest, deliver: Deliver, *, decoupled: bool) -> Cancel:
        """Run a BLS request; every answer, even a refusal, goes to `deliver`. Return a function that cancels it."""
        call = self._link.number()
        self._calls[call] = deliver
        self._link.listen()
        blobs: list[Raw] = []
        head = messages.request_head(request, blobs)
        head.model_name, head.model_version = request.model_name, request.model_version
        self._link.send(messages.Submit(call, head, decoupled, SERIAL.get()), blobs)
        return partial(self._cancel, call)

    def _cancel(self, call: int) -> None:
        if call in self._calls:
            self._link.send(messages.CancelCall(call))

    def answered(self, message: messages.Answer, blob: memoryview) -> None:
        """Deliver an answer to a BLS request."""
        answer = messages.BlobReader(blob).answer(message.answer)
        deliver = self._calls.pop(message.call) if answer.final else self._calls[message.call]
        deliver(answer)

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load a model and wait for it. Raise `SlipwayError`."""
        self._link.call(lambda call: messages.LoadModel(call, name, config, dict(files)))

    def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Unload a model. Raise `SlipwayError`."""
        self._link.call(lambda call: messages.UnloadModel(call, name, unload_dependents))

    def is_model_ready(self, name: str, version: str) -> bool:
        """Return whether the model is ready."""
        return bool(self._link.call(lambda call: messages.IsModelReady(call, name, version)))
