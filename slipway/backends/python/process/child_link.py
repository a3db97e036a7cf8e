"""The child's end of the socket: who reads it, and who waits for what.

Most models never call the server, so the main thread reads the socket itself and executes the batches it reads; a
request then costs no thread switch. Once the model calls the server or asks about cancellation while it executes, a
reader thread takes over for good, and the main thread gets its work from a queue.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from itertools import count
from queue import SimpleQueue
from time import monotonic_ns
from typing import Any, Final

import msgspec

from slipway.backends.python.process import messages
from slipway.backends.python.process.frames import Frame, Frames
from slipway.core.tensor import Raw

Receive = Callable[[messages.ToChild, memoryview], bool]  # returns whether the message is for the main thread


_HOLD_NS: Final = 100_000
_HOLD_FRAMES: Final = 16


class ServerGoneError(Exception):
    """The server closed the socket or died."""


class ChildLink:
    """Sends messages from any thread; `next_work` is for the main thread only.

    A process that the model forks has no link: `forked` is true there, and every call raises `ServerGoneError`.
    """

    def __init__(self, connection: socket.socket, receive: Receive) -> None:
        self._connection = connection
        self._receive = receive
        self._frames = Frames()
        self._ready: list[Frame] = []
        self._sending = threading.Lock()
        self._held: list[bytes] = []
        self._held_since = 0
        self._reading = threading.Lock()  # guards the two fields below
        self._main_reads = False
        self._reader: threading.Thread | None = None
        self._wanted = False
        self._work: SimpleQueue[tuple[messages.ToChild, memoryview] | None] = SimpleQueue()
        self._answers: dict[int, SimpleQueue[messages.Returned | None]] = {}
        self._numbers = count(1)
        self.forked = False
        os.register_at_fork(after_in_child=self._leave)

    def _leave(self) -> None:
        """Leave the link to the process that the server started; locks may be held by threads that exist only there."""
        self.forked = True
        self._connection.close()

    def number(self) -> int:
        """Return the number of the next call."""
        return next(self._numbers)

    def send(self, message: msgspec.Struct, blobs: Sequence[Raw] = (), *, more: bool = False) -> None:
        """Send a message with its tensors; raise `ServerGoneError`.

        With `more`, a small message may wait a moment for the next one, so that one system call, and one wake-up of the
        server, carries several.
        """
        if self.forked:
            raise ServerGoneError
        packed = self._frames.pack(messages.encode(message), blobs)
        try:
            with self._sending:
                if packed.descriptor < 0:
                    self._held.append(packed.data)
                    if more and self._holds():
                        return
                    self._send_held()
                else:
                    self._send_held()
                    sent = socket.send_fds(self._connection, [packed.data], [packed.descriptor])
                    self._connection.sendall(packed.data[sent:])
        except OSError as error:
            raise ServerGoneError from error
        finally:
            packed.close()

    def give_back(self) -> None:
        """Return requests that the server lent, if none of their tensors is in use; raise `ServerGoneError`.

        Other pieces may wait for the next message; a large request would cost the server its memory until then.
        """
        if self.forked or not self._frames.owes_request:
            return
        try:
            with self._sending:
                self._held.append(self._frames.pack_returned())
                self._send_held()
        except OSError as error:
            raise ServerGoneError from error

    def _holds(self) -> bool:
        now = monotonic_ns()
        if len(self._held) == 1:
            self._held_since = now
        return now - self._held_since < _HOLD_NS and len(self._held) < _HOLD_FRAMES

    def _send_held(self) -> None:
        if self._held:
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            self._held.clear()
            self._connection.sendall(data)

    @property
    def has_work(self) -> bool:
        """Whether the main thread's next message has already arrived."""
        return bool(self._ready) or not self._work.empty()

    def call(self, make: Callable[[int], msgspec.Struct]) -> float | bool | None:
        """Send the call that `make(number)` returns and wait for its result; raise `SlipwayError`."""
        if self.forked:
            raise ServerGoneError
        number = self.number()
        answer: SimpleQueue[messages.Returned | None] = SimpleQueue()
        self._answers[number] = answer
        self.listen()
        self.send(make(number))
        returned = answer.get()
        if returned is None:
            raise ServerGoneError
        if returned.error is not None:
            raise messages.to_error(returned.error)
        return returned.value

    def returned(self, message: messages.Returned) -> None:
        """Wake the caller."""
        self._answers.pop(message.call).put(message)

    def listen(self) -> None:
        """Make sure that messages are read while the main thread executes."""
        if self.forked:
            return
        with self._reading:
            self._wanted = True
            if not self._main_reads:
                self._start_reader()

    def _start_reader(self) -> None:
        if self._reader is None:
            self._reader = threading.Thread(target=self._read_on, name="server", daemon=True)
            self._reader.start()

    def next_work(self) -> tuple[messages.ToChild, memoryview]:
        """Return the next message for the main thread; raise `ServerGoneError` when the link has ended."""
        if self.forked:
            raise ServerGoneError
        with self._reading:
            self._main_reads = self._reader is None
        if self._main_reads:
            try:
                return self._read()
            finally:
                with self._reading:
                    self._main_reads = False
                    if self._wanted:
                        self._start_reader()
        work = self._work.get()
        if work is None:
            raise ServerGoneError
        return work

    def _read_on(self) -> None:
        try:
            while True:
                self._work.put(self._read())
        except ServerGoneError:
            self._work.put(None)
            for answer in list(self._answers.values()):
                answer.put(None)

    def _read(self) -> tuple[messages.ToChild, memoryview]:
        """Return the next message for the main thread; handle the others on the way."""
        while True:
            while self._ready:
                frame = self._ready.pop(0)
                message: Any = messages.decode_to_child(frame.message)
                if self._receive(message, frame.blob):
                    return message, frame.blob
            self._ready = self._read_frames()

    def _read_frames(self) -> list[Frame]:
        try:
            frames = self._frames.receive(self._connection)
        except OSError as error:
            raise ServerGoneError from error
        if frames is None:
            raise ServerGoneError
        return frames
