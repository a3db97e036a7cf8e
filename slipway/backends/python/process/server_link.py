"""The server's end of the socket and the child process at the other end: sends packed frames, passes received ones on.

Nothing here waits: data that the socket does not accept is kept and sent later. A process that sends something other
than messages is killed, because nothing that follows can be understood. Knows nothing about batches.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from slipway.backends.python.process.frames import Frame, Frames, LinkError, Packed
from slipway.core.tensor import Raw

_LOG: Final = logging.getLogger("slipway.python")
_SEND_BUFFER: Final = 1 << 20
_JOINED: Final = 64 << 10  # bytes
KILL_AFTER_S: Final = 10.0  # for `finalize`


class ChildProcess:
    """One child, started by `command` with the link's descriptor as its last argument.

    `received(frames)` and `lost()` are called on the loop's thread; `lost` once, when the link ends. `received` raises
    `LinkError` for a message that does not belong there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[list[Frame]], None],
        lost: Callable[[], None],
        *,
        command: Sequence[str],
    ) -> None:
        self._command = command
        self._loop = loop
        self._received = received
        self._lost = lost
        self._frames = Frames()
        self._unsent: deque[Packed] = deque()
        self._socket: socket.socket
        self._process: subprocess.Popen[bytes]
        self._connected = False
        self._waiting = False  # for the socket to accept more
        self._exit = -1  # a descriptor that becomes readable when the process ends

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the process. Call it on the main thread: the child dies with the thread that started it."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            ours.setblocking(False)
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=dict(environment),
                process_group=0,  # Ctrl-C is for the server, which decides when the process ends
            )
        self._socket = ours
        self._connected = True
        self._loop.add_reader(ours.fileno(), self._readable)
        if hasattr(os, "pidfd_open"):  # elsewhere a process that the model forked hides the end of the stream
            self._exit = os.pidfd_open(self._process.pid)
            self._loop.add_reader(self._exit, self._exited)

    @property
    def connected(self) -> bool:
        """Whether the link to the process is open."""
        return self._connected

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def pack(self, message: bytes, blobs: Sequence[Raw]) -> Packed:
        """Return a frame to send, from any thread. Raise OSError when large tensors do not fit into memory."""
        return self._frames.pack(message, blobs)

    def send(self, packed: Packed) -> None:
        """Send a frame, now or when the socket accepts it; drop it if the link has ended."""
        if not self._connected:
            packed.close()
            return
        self._unsent.append(packed)
        if len(self._unsent) == 1 and not self._waiting:
            # At the end of this loop iteration, so that all frames of the iteration go out in one call.
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        unsent = self._unsent
        while unsent and self._connected:
            self._join_small()
            packed = unsent[0]
            try:
                if packed.descriptor < 0:
                    sent = self._socket.send(packed.data)
                else:
                    sent = socket.send_fds(self._socket, [packed.data], [packed.descriptor])
                    packed.close()
            except BlockingIOError:
                if not self._waiting:
                    self._waiting = True
                    self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                return  # the other end is gone: the next read will notice
            if sent < len(packed.data):
                packed.data = packed.data[sent:]
            else:
                unsent.popleft()
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._socket.fileno())

    def _join_small(self) -> None:
        """Join the first frames in the queue that have no descriptor, up to the size of one call."""
        unsent = self._unsent
        if len(unsent) < 2 or unsent[0].descriptor >= 0:
            return
        parts, size = [], 0
        while unsent and unsent[0].descriptor < 0 and size < _JOINED:
            parts.append(unsent.popleft().data)
            size += len(parts[-1])
        unsent.appendleft(Packed(b"".join(parts)))

    def _readable(self) -> None:
        try:
            frames = self._frames.receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            frames = None
        except LinkError as error:
            self._broken(error)
            return
        if frames is not None:
            self._pass_on(frames)
        else:
            self._end()

    def _pass_on(self, frames: list[Frame]) -> None:
        try:
            self._received(frames)
        except LinkError as error:
            self._broken(error)

    def _broken(self, error: LinkError) -> None:
        _LOG.error("process %d is killed, because of what it sent to the server: %s", self.pid, error)
        self._process.kill()
        self._end()

    def _exited(self) -> None:
        """Read what the process sent before it ended; a process that it forked may keep the socket open."""
        frames: list[Frame] | None = []
        while frames is not None and self._connected:
            self._pass_on(frames)
            if not self._connected:
                return
            try:
                frames = self._frames.receive(self._socket)
            except (OSError, LinkError):  # nothing is left, or nothing that can be understood
                frames = None
        self._end()

    def _end(self) -> None:
        if self._connected:
            self.disconnect()
            self._lost()

    def disconnect(self) -> None:
        """Close the link; a child that is still alive then exits by itself."""
        if not self._connected:
            return
        self._connected = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        if self._exit >= 0:
            self._loop.remove_reader(self._exit)
            os.close(self._exit)
        self._frames.close()
        while self._unsent:
            self._unsent.popleft().close()

    async def wait(self, kill_after_s: float = KILL_AFTER_S) -> str:
        """Wait for the process to end, and kill it after a while; return in words how it ended."""
        try:
            code = await asyncio.to_thread(self._process.wait, kill_after_s)
        except subprocess.TimeoutExpired:
            os.kill(self._process.pid, signal.SIGKILL)
            code = await asyncio.to_thread(self._process.wait)
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
