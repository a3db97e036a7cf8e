"""Run batches on one instance of a bound model: one response per request, or a stream of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic_ns
from typing import Any, Literal

import numpy as np

from slipway.backends.api import Execution
from slipway.backends.function.arrays import ModelArrays
from slipway.backends.function.bound_model import BoundModel
from slipway.backends.function.calling import Caller, raised
from slipway.backends.function.messages import BatchContext, BoundRequest, ModelInstance, Reply
from slipway.backends.function.occupied import CLOSE, SETUP, occupying
from slipway.backends.shared.paced import send_paced
from slipway.core.batch import split
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError, cancelled


class UserObject:
    """The function, or the object of the bound class that serves one instance; `open` makes it. `models` are those of
    the server."""

    def __init__(self, model: BoundModel, models: object, instance: ModelInstance, caller: Caller) -> None:
        self._model = model
        self._models = models
        self._instance = instance
        self._caller = caller
        self._object: Any = None

    def open(self) -> None:
        """Create the object and call its `setup`, if it has one; raise INTERNAL if they do."""
        with occupying(self._models, SETUP):
            self._open()

    def _open(self) -> None:
        target = self._model.target
        if not self._model.is_class:
            self._object = target
            return
        try:
            self._object = target()
            setup = getattr(self._object, "setup", None)
            if setup is not None:
                self._caller.call(setup, _instance_argument(setup, self._instance))
        except BaseException as error:  # noqa: BLE001  user code may raise anything
            raise raised(error, self._model.name) from None

    def call(self, arguments: dict[str, Any], batch: Sequence[Pending]) -> Any:
        """Return what the user's code returns for a batch; raise `SlipwayError` for what it raises."""
        try:
            return self._caller.call(self._object, self._with_context(arguments, batch), batch)
        except BaseException as error:  # noqa: BLE001  user code may raise anything
            raise raised(error, self._model.name) from None

    def iterate(self, arguments: dict[str, Any], batch: Sequence[Pending]) -> Iterator[Any]:
        """Yield what the user's code yields for a batch; raises what it raises."""
        return self._caller.iterate(self._object, self._with_context(arguments, batch), batch)

    def close(self) -> None:
        """Call the object's `close`, if it has one, and forget it."""
        close = getattr(self._object, "close", None) if self._model.is_class else None
        self._object = None
        if close is not None:
            try:
                with occupying(self._models, CLOSE):
                    self._caller.call(close, {})
            except BaseException as error:  # noqa: BLE001  user code may raise anything
                raise raised(error, self._model.name) from None

    def _with_context(self, arguments: dict[str, Any], batch: Sequence[Pending]) -> dict[str, Any]:
        if not self._model.context:
            return arguments
        requests = tuple(map(BoundRequest.of, batch))
        model = self._model
        context = BatchContext(model.name, model.version, self._instance.name, requests)
        return {**arguments, model.context: context}


def _instance_argument(setup: Any, instance: ModelInstance) -> dict[str, ModelInstance]:
    parameters = list(inspect.signature(setup).parameters)
    return {parameters[0]: instance} if parameters else {}


class _Batches:
    """What both executors share: arrays, rows, and the responses of one call."""

    def __init__(self, model: BoundModel, signature: ModelSignature, user: UserObject) -> None:
        self._name = model.name
        self._signature = signature
        self._user = user
        self.arrays = ModelArrays(model, signature)

    def check_ready(self) -> None:
        """Do nothing: a function can always be called."""

    def close(self) -> None:
        """Release the user's object."""
        self._user.close()

    def responses(self, returned: Any, batch: Sequence[Pending], *, final: bool) -> list[InferResponse]:
        """Return one response per request; raise INTERNAL if `returned` is not what is declared."""
        reply = returned if isinstance(returned, Reply) else Reply(returned)
        rows = [pending.rows for pending in batch]
        outputs: Mapping[str, np.ndarray] = self.arrays.outputs(reply.outputs, sum(rows))
        requests = [pending.request for pending in batch]
        parts: list[list[Tensor]] = split(outputs, rows, self._signature, requests=requests)
        parameters = self.arrays.parameters(reply, len(batch))
        return [
            InferResponse(self._name, outputs=tensors, parameters=each, final=final)
            for tensors, each in zip(parts, parameters, strict=True)
        ]


class CallExecutor(_Batches):
    """Answers each request once. A batch that failed is run again request by request, unless the model is not
    stateless."""

    stateless: Literal[True]

    def __init__(self, model: BoundModel, signature: ModelSignature, user: UserObject) -> None:
        super().__init__(model, signature, user)
        if model.stateless:
            self.stateless = True

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Call the function for the batch; raise `SlipwayError` if that failed."""
        arguments = self.arrays.arguments([pending.request for pending in batch])
        input_end = monotonic_ns()
        returned = self._user.call(arguments, batch)
        output_start = monotonic_ns()
        return Execution(self.responses(returned, batch, final=True), input_end, output_start)


class StreamExecutor(_Batches):
    """Sends a response to every request of the batch for each item that the function yields."""

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Iterate until the function ends or nobody wants more; every request gets its final response."""
        input_end = monotonic_ns()
        error: SlipwayError | None = None
        try:
            arguments = self.arrays.arguments([pending.request for pending in batch])
            input_end = monotonic_ns()
            self._send_all(self._user.iterate(arguments, batch), batch)
        except BaseException as failure:  # noqa: BLE001  user code may raise anything
            error = raised(failure, self._name)
        output_start = monotonic_ns()
        for pending in batch:
            if pending.cancelled:
                pending.send(InferResponse(self._name, error=cancelled()))
            elif error is not None:
                pending.send(InferResponse(self._name, error=error.without_frames()))
            else:
                pending.send(InferResponse(self._name, empty=True))
        return Execution([None] * len(batch), input_end, output_start)

    def _send_all(self, items: Iterator[Any], batch: Sequence[Pending]) -> None:
        try:
            for item in items:
                if all(pending.cancelled for pending in batch):
                    return
                for pending, response in zip(batch, self.responses(item, batch, final=False), strict=True):
                    if not pending.cancelled:
                        send_paced(pending, response)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()  # runs the function's `finally` now, not at some later collection
