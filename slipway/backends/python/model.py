"""One `TritonPythonModel` and its hooks, run in the current process.

Every exception in user code becomes an error of the server; none escapes from here. Knows neither schedulers nor
processes; answers go to each request's `ReplyState` or are returned.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from inspect import iscoroutine
from threading import Thread
from types import ModuleType
from typing import Any, Final

from slipway.backends.python.constants import REQUEST_RELEASE_RESCHEDULE
from slipway.backends.python.coroutines import CoroutineThread
from slipway.backends.python.errors import TritonError, describe_exception, execution_error
from slipway.backends.python.reply import RESPONSE_COMPLETE_FINAL
from slipway.backends.python.request import InferenceRequest
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.scope import ModelScope
from slipway.core.request import RESCHEDULED, InferResponse
from slipway.errors import Code, FailureReason, SlipwayError, internal, unavailable

_LOG: Final = logging.getLogger("slipway.python")
_READY_TIMEOUT_S: Final = 5.0  # Triton's

# None: the request is answered through its sender. An `InferResponse` can only be `RESCHEDULED`.
Answer = InferenceResponse | SlipwayError | InferResponse | None


class PythonModel:
    """One instance of a Python model; `start` runs the user's constructor and `initialize`."""

    def __init__(self, scope: ModelScope, model_name: str, decoupled: bool, *, iterative: bool = False) -> None:
        self._scope = scope
        self._name = scope.instance_name
        self._model_name = model_name
        self._decoupled = decoupled
        self._iterative = iterative  # requests may be rescheduled
        self._user: Any = None
        self._execute: Any = None
        self._coroutines = CoroutineThread(scope.instance_name)

    @property
    def has_ready_check(self) -> bool:
        """Whether the model defines `is_ready`."""
        return hasattr(self._user, "is_ready")

    def start(self, module: ModuleType, arguments: Mapping[str, str]) -> None:
        """Create the model and initialize it; raise `SlipwayError` with its exception's text and frames."""
        try:
            self._user = module.TritonPythonModel()
            if hasattr(self._user, "initialize"):
                self._result(self._user.initialize(dict(arguments)))
        except BaseException as error:  # noqa: BLE001  user code may raise anything
            raise internal(describe_exception(error, self._scope.model_directory)) from None
        if not hasattr(self._user, "execute"):
            raise internal(f"Python model '{self._model_name}' does not implement `execute` method.")
        self._execute = self._user.execute
        self._scope.serving = True

    def execute(self, requests: list[InferenceRequest]) -> Sequence[Answer]:
        """Run one batch and return an answer per request. Never raises."""
        try:
            returned = self._execute(requests)
            if iscoroutine(returned):
                if self._decoupled:
                    self._start_execution(returned, requests)
                    return [None] * len(requests)
                returned = self._coroutines.start(returned).result()
        except BaseException as error:  # noqa: BLE001  user code may raise anything
            return self._failed(requests, self._told(error))
        problem = self._problem(requests, returned)
        if problem:
            return self._failed(requests, problem)
        if self._decoupled:
            return [self._unsent(request) for request in requests]
        return [
            self._unsent(request) if response is None else self._accepted(request, response)
            for request, response in zip(requests, returned, strict=True)
        ]

    def _told(self, error: BaseException) -> str:
        """Return the client's text for `error`, and release its frames: they keep the requests alive, and those of a
        coroutine also the future that holds the error."""
        text = describe_exception(error, self._scope.model_directory)
        error.__traceback__ = None
        return text

    def _problem(self, requests: Sequence[InferenceRequest], returned: Any) -> str:
        """Return what is wrong with the value that `execute` returned, "" if nothing."""
        if self._decoupled:
            if returned is None:
                return ""
            return f"Python model '{self._name}' is using the decoupled mode and the execute function must return None."
        if not isinstance(returned, list):
            return f"Expected a list in the execute return, found type '{type(returned)}'."
        if len(returned) != len(requests):
            return (
                "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
                f"InferenceRequest(s) size is:{len(requests)}, and InferenceResponse(s) size is:{len(returned)}\n"
            )
        for request, response in zip(requests, returned, strict=True):
            if request.release_flags == REQUEST_RELEASE_RESCHEDULE and response is not None:
                return (
                    "Expected a None object in the execute function return list for reschduled request, found type "
                    f"'{type(response)}'."
                )
            if response is not None and not isinstance(response, InferenceResponse):
                return (
                    "Expected an 'InferenceResponse' object in the execute function return list, found type "
                    f"'{type(response)}'."
                )
        return ""

    def _accepted(self, request: InferenceRequest, response: InferenceResponse) -> Answer:
        reply = request.reply
        if reply is None or reply.sent:
            _LOG.error(
                "model instance '%s': Unable to send response. Non-decoupled model cannot send more than one response.",
                self._name,
            )
            return None
        reply.closed = True
        return response

    def _unsent(self, request: InferenceRequest) -> Answer:
        """Return the answer if `execute` returned None for a request: its sender answers, unless it is rescheduled."""
        reply = request.reply
        if request.release_flags != REQUEST_RELEASE_RESCHEDULE or reply is None or reply.complete:
            return None
        reply.closed = True  # the next execution gets another sender
        if self._iterative:
            return RESCHEDULED
        text = f"Model '{self._model_name}' rescheduled a request, which needs an iterative sequence scheduler."
        return SlipwayError(Code.UNSUPPORTED, text, reason=FailureReason.BACKEND)

    def _failed(self, requests: Sequence[InferenceRequest], message: str) -> Sequence[Answer]:
        error = execution_error(self._name, message)
        _LOG.error("%s", error.message)
        answers: list[Answer] = []
        for request in requests:
            reply = request.reply
            if reply is None or reply.complete:
                answers.append(None)
            else:
                reply.closed = True
                answers.append(error.without_frames())
        return answers

    def _start_execution(self, coroutine: Any, requests: Sequence[InferenceRequest]) -> None:
        """Run a decoupled model's coroutine in the background; its failure answers the requests still open."""

        def ended(done: Future[Any]) -> None:
            if done.cancelled():
                message = "the model was unloaded"
            elif (raised := done.exception()) is not None:
                message = self._told(raised)
            else:
                message = self._problem(requests, done.result())
            if not message:
                return
            error = execution_error(self._name, message)
            _LOG.error("%s", error.message)
            for request in requests:
                reply = request.reply
                if reply is not None and not reply.complete:
                    reply.send(InferenceResponse(error=TritonError(error.message)), RESPONSE_COMPLETE_FINAL)

        self._coroutines.start(coroutine).add_done_callback(ended)

    def _result(self, returned: Any) -> Any:
        return self._coroutines.start(returned).result() if iscoroutine(returned) else returned

    def check_ready(self) -> None:
        """Raise UNAVAILABLE if the model's own `is_ready` returns False, raises, or takes more than five seconds."""
        if not self.has_ready_check:
            return
        answer: Future[Any] = Future()
        # A daemon thread: a check that never returns must not keep the server from exiting.
        Thread(target=self._ask_ready, args=(answer,), name=f"{self._name} is_ready", daemon=True).start()
        refusal = f"Model '{self._model_name}' is not ready (user-defined check failed)."
        try:
            ready = answer.result(_READY_TIMEOUT_S)
        except BaseException as error:
            if not answer.done():
                raise unavailable("Timed out waiting for user-defined is_ready() response") from None
            _LOG.exception("is_ready of model instance '%s' failed", self._name)
            raise unavailable(refusal) from error
        if not ready:
            raise unavailable(refusal)

    def _ask_ready(self, answer: Future[Any]) -> None:
        try:
            answer.set_result(self._result(self._user.is_ready()))
        except BaseException as error:  # noqa: BLE001  user code may raise anything
            answer.set_exception(error)

    def finalize(self) -> None:
        """Run the model's `finalize`; its exception is logged."""
        self._scope.serving = False
        try:
            if hasattr(self._user, "finalize"):
                self._result(self._user.finalize())
        except BaseException:  # noqa: BLE001  logged with its traceback; the instance must end
            _LOG.exception("finalize of model instance '%s' failed", self._name)
        self._user = self._execute = None
        self._coroutines.close()
