"""Send one of several responses of a model from an instance's thread, no faster than their receiver takes them."""

from __future__ import annotations

import logging
from functools import partial
from threading import Event
from typing import Final

from slipway.core.pace import LONGEST_HOLD_S, Pace, never_waits
from slipway.core.pending import Pending
from slipway.core.request import InferResponse

_LOG: Final = logging.getLogger("slipway.backends")


def send_paced(pending: Pending, response: InferResponse) -> None:
    """Send a response; if the request has a pace, wait until there is room for the next one after it.

    A thread that must not wait (`core.pace.never_waiting`) leaves it to the event loop to deliver the response when
    there is room; what lies there is limited by the length of what the model generates.
    """
    pace = pending.request.pace
    if pace is None:
        pending.send(response)
        return
    if never_waits() or pace.backlog:
        pending.loop.call_soon_threadsafe(_queue, pending, response, pace)
        return
    if response.final:
        pending.send(response)
        return
    room = Event()

    def deliver() -> None:
        pending.deliver(response)
        pace.when_open(room.set)

    pending.loop.call_soon_threadsafe(deliver)
    if not room.wait(LONGEST_HOLD_S):
        _LOG.error("a response waited %d s for room in an ensemble; the model goes on", LONGEST_HOLD_S)


def _queue(pending: Pending, response: InferResponse, pace: Pace) -> None:
    """Deliver a response after those before it, when there is room (event-loop thread)."""
    pace.backlog.append(lambda: pending.deliver(response))
    if len(pace.backlog) == 1:
        pace.when_open(partial(_deliver_soon, pending, pace))


def _deliver_soon(pending: Pending, pace: Pace) -> None:
    pending.loop.call_soon_threadsafe(_deliver_next, pending, pace)


def _deliver_next(pending: Pending, pace: Pace) -> None:
    pace.backlog[0]()  # still first, so that none that comes meanwhile is delivered before it
    pace.backlog.popleft()
    if pace.backlog:
        pace.when_open(partial(_deliver_soon, pending, pace))
