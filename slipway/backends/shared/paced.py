"""Send one of several responses of a model from an instance's thread, no faster than their receiver takes them."""

from __future__ import annotations

import logging
from threading import Event
from typing import Final

from slipway.core.pace import LONGEST_HOLD_S
from slipway.core.pending import Pending
from slipway.core.request import InferResponse

_LOG: Final = logging.getLogger("slipway.backends")


def send_paced(pending: Pending, response: InferResponse) -> None:
    """Send a response; if the request has a pace, wait until there is room for the next one after it."""
    pace = pending.request.pace
    if pace is None or response.final:
        pending.send(response)
        return
    room = Event()

    def deliver() -> None:
        pending.deliver(response)
        pace.when_open(room.set)

    pending.loop.call_soon_threadsafe(deliver)
    if not room.wait(LONGEST_HOLD_S):
        _LOG.error("a response waited %d s for room in an ensemble; the model goes on", LONGEST_HOLD_S)
