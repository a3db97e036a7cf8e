"""The child process that runs one instance of a Python model.

Started as `python -m slipway.backends.python.process.child DESCRIPTOR`. It ends when the server closes its end of the
socket. Output that the model prints goes to the server's own output.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns
from types import ModuleType
from typing import Any, Final

from slipway.backends.python.errors import abandoned, describe_exception
from slipway.backends.python.importing import import_alone
from slipway.backends.python.model import Answer, PythonModel
from slipway.backends.python.process import messages
from slipway.backends.python.process.child_link import ChildLink, ServerGoneError
from slipway.backends.python.process.child_server import SERIAL, ChildServer
from slipway.backends.python.process.frames import SHARED_FROM
from slipway.backends.python.reply import ReplyState
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.surface import build_surface
from slipway.backends.python.tensor import ModelTensor
from slipway.backends.python.translation import server_response
from slipway.core.pace import LONGEST_HOLD_S
from slipway.core.request import InferResponse
from slipway.core.tensor import Raw
from slipway.errors import SlipwayError, internal

_LOG: Final = logging.getLogger("slipway.python")
_PR_SET_PDEATHSIG: Final = 1
_QUICK_NS: Final = 200_000
_QUICK_STREAK: Final = 64


class ForwardingHandler(logging.Handler):
    """Sends log lines to the server, which applies its own format and level; those of a forked process go to standard
    error."""

    def __init__(self, link: ChildLink) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        if self._link.forked:
            sys.stderr.write(f"{text}\n")
            return
        with suppress(ServerGoneError):
            self._link.send(messages.Log(record.levelno, text, record.filename, record.lineno))


class RequestSink:
    """Sends the answers that a model gives to one request through its sender; if the request is `paced`, it waits after
    each until the server has room for the next."""

    __slots__ = ("_child", "_index", "_paced", "_serial")

    def __init__(self, child: Child, serial: int, index: int, paced: bool) -> None:
        self._child = child
        self._serial = serial
        self._index = index
        self._paced = paced

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """Pass one answer on."""
        if response is None:
            self._pass_on(InferResponse(empty=True, final=final))
        else:
            self._pass_on(server_response(response, final=final, copy=False))

    def is_cancelled(self) -> bool:
        """Return whether the client no longer wants the answer."""
        return self._child.is_cancelled(self._serial, self._index)

    def abandon(self) -> None:
        """Answer with an error: the model dropped the request."""
        self._pass_on(InferResponse(error=abandoned(self._child.model_name)))

    def _pass_on(self, response: InferResponse) -> None:
        blobs: list[Raw] = []
        message = messages.Sent(self._serial, self._index, messages.answer_head(response, blobs))
        if response.final:
            self._child.forget(self._serial, self._index)
        key = (self._serial, self._index)
        paced = self._paced and not response.final and not self._child.is_cancelled(*key)
        room = self._child.room_for(key) if paced else None
        with suppress(ServerGoneError):
            self._child.link.send(message, blobs)
        if room is not None and not room.wait(LONGEST_HOLD_S):
            _LOG.error("a response waited %d s for room in an ensemble; the model goes on", LONGEST_HOLD_S)


class Child:
    """One model instance and its link to the server."""

    def __init__(self, connection: socket.socket) -> None:
        self.link = ChildLink(connection, self._receive)
        self.model_name = ""
        self._server = ChildServer(self.link)
        self._cancelled: set[tuple[int, int]] = set()
        self._room: dict[tuple[int, int], threading.Event] = {}  # of paced requests
        self._model: PythonModel
        self._request_type: Any = None
        self._outputs: tuple[str, ...] = ()
        self._decoupled = False
        self._quick = 0  # executions in a row that took less than `_QUICK_NS`

    def run(self) -> None:
        """Load the model and execute batches until the server closes the link."""
        start, _ = self.link.next_work()
        if not isinstance(start, messages.Start) or not self._load(start):
            return
        while True:
            message, blob = self.link.next_work()
            if isinstance(message, messages.Execute):
                self._execute(message, blob)
            else:
                break
            del message, blob
            self.link.give_back()
        self._model.finalize()

    def _load(self, start: messages.Start) -> bool:
        self.model_name = start.model_name
        self._outputs = start.outputs
        self._decoupled = start.decoupled
        logging.basicConfig(level=start.log_level, handlers=[ForwardingHandler(self.link)])
        logging.getLogger("slipway.model").setLevel(logging.DEBUG)  # the server filters: its level may change
        scope = ModelScope(self._server, start.instance_name, start.model_directory, start.version_directory)
        surface = build_surface(scope)
        self._request_type = surface.InferenceRequest
        self._model = PythonModel(scope, start.model_name, start.decoupled, iterative=start.iterative)
        try:
            self._model.start(self._import(start, surface), start.arguments)
        except SlipwayError as error:
            self.link.send(messages.Loaded(error.message))
            return False
        # The objects created by loading live as long as the process; the collector need not visit them again.
        gc.collect()
        gc.freeze()
        if self._model.has_ready_check:
            self.link.listen()  # so that the check is answered while the model executes
        self.link.send(messages.Loaded(None, self._model.has_ready_check))
        return True

    @staticmethod
    def _import(start: messages.Start, surface: ModuleType) -> ModuleType:
        try:
            return import_alone(Path(start.model_file), surface)
        except BaseException as error:  # noqa: BLE001  importing runs user code
            raise internal(describe_exception(error, start.model_directory)) from None

    def is_cancelled(self, serial: int, index: int) -> bool:
        """Return whether the server cancelled the request; from now on, messages are read while the model executes."""
        self.link.listen()
        return (serial, index) in self._cancelled

    def room_for(self, key: tuple[int, int]) -> threading.Event:
        """Return what is set once there is room for the next response to a request (serial, index), or once it has its
        final answer; threads that answer the same request share it."""
        room = self._room.setdefault(key, threading.Event())
        room.clear()
        return room

    def forget(self, serial: int, index: int) -> None:
        """Record that a request has its final answer."""
        self._cancelled.discard((serial, index))
        room = self._room.pop((serial, index), None)
        if room is not None:
            room.set()

    def _receive(self, message: messages.ToChild, blob: memoryview) -> bool:
        """Handle a message on the thread that read it; return whether it is for the main thread instead."""
        if isinstance(message, messages.Answer):
            self._server.answered(message, blob)
        elif isinstance(message, messages.Returned):
            self.link.returned(message)
        elif isinstance(message, messages.Cancel | messages.Continue):
            key = (message.serial, message.index)
            if isinstance(message, messages.Cancel):
                self._cancelled.add(key)
            room = self._room.get(key)
            if room is not None:
                room.set()
        elif isinstance(message, messages.CheckReady):
            threading.Thread(target=self._check_ready, args=(message.call,), daemon=True).start()
        else:
            return True
        return False

    def _check_ready(self, call: int) -> None:
        error = None
        try:
            self._model.check_ready()
        except SlipwayError as raised:
            error = messages.error_head(raised)
        with suppress(ServerGoneError):
            self.link.send(messages.Ready(call, error))

    def _execute(self, message: messages.Execute, blob: memoryview) -> None:
        start = monotonic_ns()
        serial = message.serial
        if 0 < len(blob) < SHARED_FROM:  # behind a message of any length: aligned memory at once, not for each tensor
            blob = memoryview(bytearray(blob))
        reader = messages.BlobReader(blob)
        requests = [self._request(reader, head, serial, index) for index, head in enumerate(message.requests)]
        input_end = monotonic_ns()
        SERIAL.set(serial)
        answers = self._model.execute(requests)
        output_start = monotonic_ns()
        blobs: list[Raw] = []
        heads = tuple(_head(answer, blobs) for answer in answers)
        if self._cancelled or self._room:
            for index, head in enumerate(heads):
                if head is not None:
                    self.forget(serial, index)
        done = messages.Done(serial, heads, start, input_end, output_start)
        # An answer may wait for the next one only after many executions in a row were too short for that to matter.
        self._quick = self._quick + 1 if output_start - start < _QUICK_NS else 0
        self.link.send(done, blobs, more=self._quick > _QUICK_STREAK and self.link.has_work)

    def _request(self, reader: messages.BlobReader, head: messages.RequestHead, serial: int, index: int) -> Any:
        take, received = reader.bytes_of, ModelTensor.received
        inputs = [received(each.name, each.datatype, each.shape, take(each)) for each in head.inputs]
        reply = ReplyState(RequestSink(self, serial, index, head.paced), self._decoupled)
        return self._request_type.received(head, inputs, head.outputs or self._outputs, reply)


def _head(answer: Answer, blobs: list[Raw]) -> messages.AnswerHead | None:
    """Return the message form of a request's answer from `execute`, to be sent at once."""
    if answer is None:
        return None
    if isinstance(answer, SlipwayError):
        return messages.AnswerHead(error=messages.error_head(answer))
    if isinstance(answer, InferResponse):
        return messages.RESCHEDULED_HEAD
    return messages.answer_head(server_response(answer, final=True, copy=False), blobs)


def main() -> None:
    """Run until the server closes the link."""
    if sys.platform == "linux":  # in case the server is killed during an execution
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when to stop
    connection = socket.socket(fileno=int(sys.argv[1]))
    with suppress(ServerGoneError):
        Child(connection).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that the model left running must not keep the process alive


if __name__ == "__main__":
    main()
