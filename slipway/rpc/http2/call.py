"""One gRPC call on an HTTP/2 stream: what it has received, and what is left to send. Its connection does the work."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from slipway.rpc.http2.heads import CallHead
from slipway.rpc.http2.messages import MessageReader


class CallReceiver(Protocol):
    """Who gets what a client sends in a call."""

    @property
    def is_paused(self) -> bool:
        """Whether it cannot take another message now, so that flow control may hold the client."""

    def message(self, payload: bytes, *, is_compressed: bool) -> None:
        """Take a message. Raise `CallRefusedError` to end the call."""

    def end(self) -> None:
        """Take note that the client sends nothing more. Raise `CallRefusedError` to end the call."""

    def cancelled(self) -> None:
        """Take note that nobody waits for an answer any more."""


class CallChannel(Protocol):
    """What a call needs of its connection."""

    def respond(self, call: Call, payload: bytes) -> None:
        """Send the only message of a response and end the call."""

    def send(self, call: Call, payload: bytes) -> None:
        """Send one message of a response, now or when the client has room for it."""

    def end(self, call: Call, status: int, message: str) -> None:
        """End the call behind what was sent."""

    def resume(self, call: Call) -> None:
        """Let the client send more, after a pause."""

    def taken(self, call: Call, size: int) -> None:
        """Give the bytes of a message back to the budget: its receiver passes it on."""

    async def drained(self, call: Call) -> None:
        """Wait until the client has room for another message."""

    @property
    def peer(self) -> str:
        """The client's address, as gRPC writes it."""


class Call:
    """One call. `window` is how many bytes of data the client takes now."""

    __slots__ = (
        "channel",
        "has_begun",
        "head",
        "held",
        "is_arriving_held",
        "is_input_over",
        "is_over",
        "reader",
        "receiver",
        "room",
        "stream",
        "timer",
        "trailers",
        "unreturned",
        "unsent",
        "unsent_held",
        "window",
    )

    receiver: CallReceiver

    def __init__(self, channel: CallChannel, stream: int, head: CallHead, *, window: int, limit: int) -> None:
        self.channel = channel
        self.stream = stream
        self.head = head
        self.window = window
        self.reader = MessageReader(limit)
        self.unsent: deque[memoryview] | None = None
        self.trailers: bytes | None = None  # to be sent behind `unsent`
        self.has_begun = False  # the response
        self.is_input_over = False
        self.is_over = False  # nothing more can be sent
        self.unreturned = 0  # bytes received that the client may not send again yet
        self.held = 0  # bytes of the budget, for large messages until the receiver passes them on
        self.is_arriving_held = False  # the message that arrives is among them
        self.unsent_held = 0  # bytes of the budget, for large messages that wait for the client
        self.room: asyncio.Future[None] | None = None  # somebody waits until `unsent` is empty
        self.timer: asyncio.TimerHandle | None = None  # of its deadline
