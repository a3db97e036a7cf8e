"""Carries out requests whose tensors are in clients' shared memory: copies inputs out of it and outputs into it.

The model, its scheduler and the fronts see an ordinary request and an ordinary response. A request is checked before
anything is read, and again once it has been read: what a client writes into a region later changes nothing. A region
that is unregistered meanwhile stays until the last response has been passed on. Large copies are made in the threads
for large work.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from time import monotonic_ns
from typing import Any, Final

from slipway.core.check import check_request
from slipway.core.large_work import LARGE, run_large
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferResponse
from slipway.core.tensor import Tensor
from slipway.engine.dependencies import is_ensemble
from slipway.engine.model import ModelVersion
from slipway.engine.request_log import log_refusal
from slipway.engine.watching import followed, note_inputs, note_refusal
from slipway.errors import SlipwayError, cancelled, unforeseen
from slipway.regions.region import RegionPlace
from slipway.regions.registry import Regions
from slipway.regions.request import PlacedInput, PlacedOutput, PlacedRequest, too_small

_LOG: Final = logging.getLogger("slipway.engine")
_INLINE: Final = 8 << 20  # bytes that are copied on the event loop: it takes 0.6 ms, and a thread 0.1 ms to begin


class PlacedCall:
    """One request, and the places that it uses from `begin` to `end`, which follows the last response.

    With `in_order`, the model needs the requests of a sequence in the order in which they come.
    """

    __slots__ = ("_background", "_copied", "_deliver", "_in_order", "_places", "_regions", "_request", "_waiting")

    def __init__(
        self,
        request: PlacedRequest,
        deliver: Deliver,
        regions: Regions,
        background: set[asyncio.Task[None]],
        *,
        in_order: bool = True,
    ) -> None:
        self._request = request
        self._deliver = deliver
        self._regions = regions
        self._background = background
        self._in_order = in_order
        self._places = tuple(request.all_places())
        self._copied = sum(place.size for place in self._places) - sum(place.size for place in request.places.values())
        self._waiting: deque[InferResponse] = deque()  # a large one that is being written, and those after it

    @property
    def is_large(self) -> bool:
        """Whether reading the inputs is large work. Requests that have to stay in order never wait."""
        if self._request.correlation_id and self._in_order:
            return False
        return self._copied > _INLINE or any(
            isinstance(tensor, PlacedInput) and tensor.datatype == "BYTES" and tensor.size > LARGE
            for tensor in self._request.inputs.values()
        )

    def begin(self) -> None:
        """Take the regions into use, and the memory for copies; raise UNAVAILABLE if there is not enough."""
        self._regions.begin(self._places, self._copied)

    def end(self) -> None:
        """Give back what `begin` took; the second time, nothing."""
        places, self._places = self._places, ()
        copied, self._copied = self._copied, 0
        self._regions.end(places, copied)

    def receive(self, response: InferResponse) -> None:
        """Take a response from the model: write its outputs to their places, then pass it on."""
        if self._waiting:
            self._waiting.append(response)
        elif self._is_large_answer(response):
            self._waiting.append(response)
            run_in_background(self._write_waiting(), self._background)
        else:
            self._write(response)
            self._pass_on(response)

    def _is_large_answer(self, response: InferResponse) -> bool:
        """Return whether writing the outputs is large work. One that is known to fail is not: a failure counts in the
        model's statistics only if it is found at once."""
        places = self._request.places
        size = 0
        for tensor in response.outputs:
            place = places.get(tensor.name)
            if place is not None and tensor.is_large_to_pack:
                return True
            if place is not None:
                size += tensor.byte_size
                if tensor.byte_size > place.size or not place.exists():
                    return False
        return size > _INLINE

    async def _write_waiting(self) -> None:
        while self._waiting:
            response = self._waiting[0]
            await run_large(self._write, response)
            self._waiting.popleft()
            self._pass_on(response)

    def _write(self, response: InferResponse) -> None:
        """Write the outputs that have a place; if one cannot be written, the response becomes an error."""
        if response.error is not None:
            return
        places = self._request.places
        try:
            for tensor in response.outputs:
                if tensor.name in places:
                    _check_fits(tensor, places[tensor.name])
            response.outputs = [_put(tensor, places.get(tensor.name)) for tensor in response.outputs]
        except SlipwayError as error:
            response.error = error.without_frames()
        except Exception as error:  # noqa: BLE001  a model may return anything
            _LOG.exception("the response of model '%s' cannot be written", response.model_name)
            response.error = unforeseen(error)
        if response.error is not None:
            response.outputs = []

    def _pass_on(self, response: InferResponse) -> None:
        try:
            self._deliver(response)
        finally:
            if response.final:
                self.end()


def _check_fits(tensor: Tensor, place: RegionPlace) -> None:
    """Raise `SlipwayError` before anything is written, as far as the output itself shows."""
    if tensor.byte_size > place.size:
        raise too_small(tensor.name, place.size, tensor.measure())
    place.check()


def _put(tensor: Tensor, place: RegionPlace | None) -> Tensor:
    if place is None:
        return tensor
    raw = tensor.raw
    if len(raw) > place.size:
        raise too_small(tensor.name, place.size, len(raw))
    place.write(raw)
    return PlacedOutput(tensor)


class PlacedRequests:
    """Every such request of one engine."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._background: set[asyncio.Task[None]] = set()

    def submit(self, model: ModelVersion, request: PlacedRequest, deliver: Deliver, verbose: int) -> Pending:
        """Accept a request for `model`, as `Dataplane.submit` does."""
        loop = asyncio.get_running_loop()
        call = PlacedCall(request, deliver, self._regions, self._background, in_order=_has_sequences(model))
        arrival = monotonic_ns()
        try:
            rows = check_request(request, model.signature)
            call.begin()
        except SlipwayError as error:
            model.statistics.record_failure(monotonic_ns() - arrival, error.reason)
            if verbose:
                log_refusal(request, error)
            raise
        pending = followed(request, model, rows, arrival, loop, call.receive, verbose)
        if call.is_large:
            run_in_background(self._submit_large(model, request, pending), self._background)
            return pending
        try:
            note_inputs(request, _read(model, request))
        except BaseException as error:
            call.end()
            if isinstance(error, SlipwayError):
                model.statistics.record_failure(monotonic_ns() - arrival, error.reason)
                note_refusal(pending, error)
            raise
        try:
            model.scheduler.submit(pending)
        except BaseException as error:
            call.end()
            if isinstance(error, SlipwayError):
                note_refusal(pending, error)
            raise
        return pending

    async def _submit_large(self, model: ModelVersion, request: PlacedRequest, pending: Pending) -> None:
        try:
            inputs = await run_large(_read, model, request)
            _check_wanted(pending)
            note_inputs(request, inputs)
        except SlipwayError as error:
            model.statistics.record_failure(monotonic_ns() - pending.arrival_ns, error.reason)
            _refuse(model, pending, error.without_frames())
        except Exception as error:  # noqa: BLE001  every request gets a response, even after a bug
            _LOG.exception("the inputs of a request to model '%s' cannot be read", model.name)
            _refuse(model, pending, unforeseen(error))
        else:
            try:
                model.scheduler.submit(pending)
            except SlipwayError as error:
                _refuse(model, pending, error.without_frames())


def _has_sequences(model: ModelVersion) -> bool:
    """Return whether a model, or perhaps one of an ensemble's, tells sequences apart: any request may name one."""
    return model.config.HasField("sequence_batching") or is_ensemble(model.config)


def _read(model: ModelVersion, request: PlacedRequest) -> list[Tensor]:
    """Read the inputs, check what could not be checked before, and return what was read."""
    inputs = request.read_inputs()
    check_request(request, model.signature)
    return inputs


def _check_wanted(pending: Pending) -> None:
    """Raise CANCELLED if the client has given up meanwhile."""
    if pending.cancelled:
        raise cancelled()


def _refuse(model: ModelVersion, pending: Pending, error: SlipwayError) -> None:
    pending.deliver(InferResponse(model.name, str(model.version), pending.request.id, error=error))


def run_in_background(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Run `work` in a task that `tasks` keeps alive."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
