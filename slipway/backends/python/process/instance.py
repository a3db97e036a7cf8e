"""An instance in its own child process: sends batches, delivers the answers, survives the child's death.

Runs on the event loop without a thread. Up to `depth` batches are in the child's socket, so that it never waits for
work. When the child dies, it can have begun only the oldest unanswered batch, so only that batch's requests fail (and
those still being answered through senders); the others go to the next child, except those of a model with sequences.
They wait for it for a second longer than the model took to start at first. Source of the texts: python_be.cc.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

import msgspec

from slipway.affinity import running_on
from slipway.backends.api import InstanceSpec, ModelContext
from slipway.backends.instance_api import Finished, Outcome
from slipway.backends.python.arguments import initialize_arguments
from slipway.backends.python.environment import child_command, child_environment
from slipway.backends.python.environments.environment import ModelEnvironment
from slipway.backends.python.errors import PROCESS_ENDED, execution_error, unhealthy_error
from slipway.backends.python.parents import is_unwanted
from slipway.backends.python.process import messages
from slipway.backends.python.process.cancellation import Cancellation
from slipway.backends.python.process.frames import Frame, LinkError
from slipway.backends.python.process.isolation import parts
from slipway.backends.python.process.server_link import ChildProcess
from slipway.backends.python.process.server_services import ChildServices
from slipway.backends.python.suspects import Suspects
from slipway.backends.python.translation import ModelView
from slipway.core.pending import Pending
from slipway.core.request import RESCHEDULED, InferResponse
from slipway.core.statistics import Timing
from slipway.core.tensor import Raw
from slipway.errors import SlipwayError, internal, invalid, unavailable

_LOG: Final = logging.getLogger("slipway.python")
_CHILD: Final = "slipway.backends.python.process.child"
_DEPTH: Final = 8
_READY_SECONDS: Final = 5.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
_PATIENCE_S: Final = 1.0  # requests wait for a new child for at most this long, plus the time the first took to start
_GONE_S: Final = 0.5  # a child whose link has ended is killed after this time
_STABLE_S: Final = 10.0  # the death of a child that served this long does not count as a failed start
_LARGE: Final = 4 << 20  # bytes: copying more into shared memory would block the event loop for too long


class _Batch:
    """A batch without an outcome yet."""

    __slots__ = ("finished", "requests", "sent", "serial", "start")

    def __init__(self, serial: int, requests: Sequence[Pending], finished: Finished) -> None:
        self.serial = serial
        self.requests = requests
        self.finished = finished
        self.start = monotonic_ns()
        self.sent = False  # to the current child


class ProcessInstance:
    """Implements `backends.instance_api.Instance`."""

    depth = _DEPTH

    def __init__(
        self,
        file: Path,
        context: ModelContext,
        spec: InstanceSpec,
        *,
        suspects: Suspects,
        environment: ModelEnvironment | None = None,
    ) -> None:
        self.name = spec.name
        self._file = file
        self._context = context
        self._spec = spec
        self._suspects = suspects  # of all instances
        self._has_sequences = context.config.HasField("sequence_batching")  # it may know them by their rows
        self._environment = environment
        self._view = ModelView(context.signature)
        self._loop: asyncio.AbstractEventLoop
        self._child: ChildProcess
        self._services: ChildServices
        self._serial = 0
        self._batches: dict[int, _Batch] = {}  # in the order in which they are sent
        self._answering: dict[tuple[int, int], Pending] = {}  # executed; being answered through their senders
        self._loaded: asyncio.Future[messages.Loaded]
        self._checks: dict[int, asyncio.Future[None]] = {}
        self._has_ready_check = False
        self.deaths = 0
        self._healthy = False
        self._healthy_since = 0.0
        self._patience = 0.0  # seconds that requests wait for a child; 0 before the first has started
        self._pause = 0.0  # seconds before the next start
        self._down = False  # requests are refused until a start succeeds
        self._closing = False
        self._restart: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start a child and wait until it has loaded the model."""
        self._loop = asyncio.get_running_loop()
        began = self._loop.time()
        self._loaded = self._loop.create_future()
        command = child_command(_CHILD, environment=self._environment)
        self._child = ChildProcess(self._loop, self._received, self._lost, command=command)
        self._services = ChildServices(self._context.host, self._loop, self._send, self._is_unwanted)
        with running_on(self._spec.cpus):  # a process inherits the CPUs of the thread that starts it
            self._child.start(child_environment(self._context.threads, self._environment))
        self._send(self._start_message(), ())
        loaded = await self._loaded
        if loaded.error is not None or not self._child.connected:
            self._child.disconnect()
            self._services.close()
            ended = await self._child.wait()
            raise internal(loaded.error or f"{PROCESS_ENDED} while it was loading: {ended}")
        self._has_ready_check = loaded.has_ready_check
        self._healthy_since = self._loop.time()
        self._patience = self._patience or _PATIENCE_S + self._healthy_since - began
        self._healthy = True

    def _start_message(self) -> messages.Start:
        context = self._context
        return messages.Start(
            context.name,
            self.name,
            str(self._file),
            str(context.model_directory),
            str(context.version_directory),
            initialize_arguments(context, self._spec),
            tuple(context.signature.outputs),
            context.signature.decoupled,
            _LOG.getEffectiveLevel(),
            context.config.sequence_batching.iterative_sequence,
        )

    # Batches

    def start(self, batch: Sequence[Pending], finished: Finished) -> None:
        """Send `batch` to the child, or to the next child if there is none now."""
        if self._suspects and (len(batch) == 1 or not self._has_sequences):
            for part, ended in parts(batch, finished, self._suspects, self.name):
                self._start_part(part, ended)
        else:
            self._start_part(batch, finished)

    def _start_part(self, batch: Sequence[Pending], finished: Finished) -> None:
        self._serial += 1
        sent = self._batches[self._serial] = _Batch(self._serial, batch, finished)
        if self._healthy:
            self._send_batch(sent)
        elif self._restart is None or self._closing or self._down:
            self._fail(sent, unhealthy_error(self.name))

    def _send_batch(self, batch: _Batch) -> None:
        blobs: list[Raw] = []
        shape_of = self._view.model_shape if self._view.reshapes_inputs else None
        heads = tuple(messages.request_head(pending.request, blobs, shape_of) for pending in batch.requests)
        try:
            message = messages.encode(messages.Execute(batch.serial, heads))
        except UnicodeEncodeError as error:  # the fronts refuse such text; the instance must not wait for ever for it
            self._fail(batch, invalid(f"a request of the batch contains text that is not valid Unicode: {error}"))
            return
        for index, pending in enumerate(batch.requests):
            pending.on_cancel(Cancellation(self.cancel, batch.serial, index))
        if sum(map(len, blobs)) > _LARGE:
            self._loop.create_task(self._send_large(batch, message, blobs))
        else:
            self._send_packed(batch, message, blobs)

    async def _send_large(self, batch: _Batch, message: bytes, blobs: Sequence[Raw]) -> None:
        child = self._child
        try:
            packed = await asyncio.to_thread(child.pack, message, blobs)
        except OSError as error:
            self._fail(batch, execution_error(self.name, f"no memory for its inputs: {error.strerror}"))
            return
        if child is self._child and batch.serial in self._batches:
            self._batches[batch.serial] = self._batches.pop(batch.serial)  # others overtook it meanwhile
            batch.sent = True
            child.send(packed)
        else:
            packed.close()  # meanwhile the batch has failed, or a new child was started and already has it

    def _send_packed(self, batch: _Batch, message: bytes, blobs: Sequence[Raw]) -> None:
        try:
            packed = self._child.pack(message, blobs)
        except OSError as error:
            self._fail(batch, execution_error(self.name, f"no memory for its inputs: {error.strerror}"))
            return
        batch.sent = True
        self._child.send(packed)

    def _send(self, message: msgspec.Struct, blobs: Sequence[Raw]) -> None:
        self._child.send(self._child.pack(messages.encode(message), blobs))

    def _continue(self, serial: int, index: int) -> None:
        if self._healthy:
            self._send(messages.Continue(serial, index), ())

    def cancel(self, serial: int, index: int) -> None:
        """Inform the child that nobody is waiting for a request any more, and cancel the calls made for its batch."""
        if self._healthy and (serial in self._batches or (serial, index) in self._answering):
            self._send(messages.Cancel(serial, index), ())
            self._services.cancel_unwanted(serial)

    def _is_unwanted(self, serial: int) -> bool:
        batch = self._batches.get(serial)
        if batch is not None:
            return is_unwanted(batch.requests)
        return is_unwanted([pending for key, pending in self._answering.items() if key[0] == serial])

    # Messages from the child

    def _received(self, frames: list[Frame]) -> None:
        for frame in frames:
            message: Any = messages.decode_from_child(frame.message)
            if type(message) is messages.Done:
                self._done(message, frame.blob)
            elif type(message) is messages.Sent:
                self._sent(message, frame.blob)
            elif type(message) is messages.Loaded:
                if not self._loaded.done():
                    self._loaded.set_result(message)
            elif type(message) is messages.Ready:
                self._checked(message)
            else:
                self._services.receive(message, frame.blob)

    def _done(self, message: messages.Done, blob: memoryview) -> None:
        batch = self._batches.get(message.serial)
        if batch is None:
            _LOG.error("model instance '%s' answered a batch again; the second answer is ignored", self.name)
            return
        if len(message.answers) != len(batch.requests):
            raise LinkError(f"{len(message.answers)} answers to {len(batch.requests)} requests")
        reader = messages.BlobReader(blob)
        responses: list[InferResponse | None] = [
            None if head is None else self._view.client_answer(reader.answer(head)) for head in message.answers
        ]
        if messages.RESCHEDULED_HEAD in message.answers:
            self._reschedule(message, batch, responses)
        del self._batches[message.serial]
        for index, (pending, response) in enumerate(zip(batch.requests, responses, strict=True)):
            if response is None and not pending.finished:
                self._answering[message.serial, index] = pending
            elif self._suspects:
                self._suspects.survived(pending.request)
        timing = Timing(message.start, message.input_end, message.output_start, monotonic_ns())
        batch.finished(Outcome(responses, timing))

    @staticmethod
    def _reschedule(message: messages.Done, batch: _Batch, responses: list[InferResponse | None]) -> None:
        """Mark the requests that the model returned for another execution, with another number."""
        for index, head in enumerate(message.answers):
            if head == messages.RESCHEDULED_HEAD:
                responses[index] = RESCHEDULED
                batch.requests[index].forget(Cancellation)

    def _sent(self, message: messages.Sent, blob: memoryview) -> None:
        key = (message.serial, message.index)
        batch = self._batches.get(message.serial)
        if batch is not None and not 0 <= message.index < len(batch.requests):
            raise LinkError(f"an answer to request {message.index} of {len(batch.requests)}")
        pending = self._answering.get(key) if batch is None else batch.requests[message.index]
        if message.answer.final:
            answered = self._answering.pop(key, None)
            if answered is not None and self._suspects:
                self._suspects.survived(answered.request)
        if pending is not None:
            pending.deliver(self._view.client_answer(messages.BlobReader(blob).answer(message.answer)))
            if pending.request.pace is not None and not message.answer.final:
                pending.request.pace.when_open(partial(self._continue, message.serial, message.index))

    def _checked(self, message: messages.Ready) -> None:
        check = self._checks.pop(message.call, None)
        if check is None or check.done():
            return
        if message.error is None:
            check.set_result(None)
        else:
            check.set_exception(messages.to_error(message.error))

    # Health

    async def check_ready(self) -> None:
        """Raise `SlipwayError` (UNAVAILABLE) when there is no child or the model says that it is not ready."""
        if not self._healthy:
            raise unavailable(f"Stub process '{self.name}' is not healthy.")
        if not self._has_ready_check:
            return
        self._serial += 1
        check = self._checks[self._serial] = self._loop.create_future()
        self._send(messages.CheckReady(self._serial), ())
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await check
        except TimeoutError:
            raise unavailable("Timed out waiting for user-defined is_ready() response") from None

    def _lost(self) -> None:
        """Handle the death of the child: fail the batch that it was executing, and start another child."""
        self._services.close()
        if not self._loaded.done():
            self._loaded.set_result(messages.Loaded(""))  # `open` waits for the process and learns how it ended
            return
        if self._closing or not self._healthy:  # `open` is still running and will see that the link ended
            return
        self._healthy = False
        self.deaths += 1
        for check in self._checks.values():
            if not check.done():
                check.set_exception(unavailable(f"Stub process '{self.name}' is not healthy."))
        self._checks.clear()
        begun = next((batch for batch in self._batches.values() if batch.sent), None)
        failed = [batch for batch in self._batches.values() if batch is begun or self._has_sequences]
        self._suspect(begun)
        # Set before any request is answered: an answer may bring the next batch at once.
        self._restart = self._loop.create_task(self._start_again())
        answering, self._answering = self._answering, {}
        for pending in answering.values():
            pending.deliver(InferResponse(error=unhealthy_error(self.name)))
        for batch in self._batches.values():
            batch.sent = False
        for batch in failed:  # of sequences, all: the next child would not know what they continue
            self._fail(batch, unhealthy_error(self.name))

    def _suspect(self, begun: _Batch | None) -> None:
        """Record on which requests the child may have died."""
        inside = [*(begun.requests if begun is not None else ()), *self._answering.values()]
        self._suspects.died([pending.request for pending in inside], alone=len(inside) == 1)

    def _fail(self, batch: _Batch, error: SlipwayError) -> None:
        if self._batches.pop(batch.serial, None) is None:
            return  # it has failed before
        end = monotonic_ns()
        answers = [None if each.finished else InferResponse(error=error.without_frames()) for each in batch.requests]
        batch.finished(Outcome(answers, Timing(batch.start, batch.start, end, end)))

    async def _start_again(self) -> None:
        """Start children until one serves: the first at once, the next ones after ever longer pauses."""
        patience = self._loop.call_later(self._patience, self._go_down)
        try:
            await self._start_until_healthy()
        finally:
            patience.cancel()

    async def _start_until_healthy(self) -> None:
        ended = await self._child.wait(_GONE_S)
        _LOG.error("model instance '%s' lost its process: %s; starting another", self.name, ended)
        if self._loop.time() - self._healthy_since > _STABLE_S:
            self._pause = 0.0
        while not self._closing:
            if self._pause > _PATIENCE_S:
                self._go_down()
            await asyncio.sleep(self._pause)
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            try:
                await self.open()
            except SlipwayError as error:
                _LOG.error("model instance '%s' did not start again: %s", self.name, error.message)
                self._go_down()
            else:
                self._restart = None
                self._down = False
                _LOG.info("model instance '%s' is running again as process %d", self.name, self._child.pid)
                for batch in list(self._batches.values()):
                    self._send_batch(batch)
                return

    def _go_down(self) -> None:
        """Refuse waiting and new requests until a child has started."""
        self._down = True
        for batch in list(self._batches.values()):
            self._fail(batch, unhealthy_error(self.name))

    async def close(self) -> None:
        """Let the model finalize and the process exit; kill it if it does not."""
        self._closing = True
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait([self._restart])
        if self._healthy:
            self._send(messages.Close(), ())
        else:
            self._child.disconnect()
        ended = await self._child.wait()
        self._child.disconnect()
        self._services.close()
        self._healthy = False
        if ended != "exit code 0":
            _LOG.warning("the process of model instance '%s' ended with %s", self.name, ended)
