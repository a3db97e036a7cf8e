"""Run a batch as one call on stacked arrays: model and executor of every backend whose model is a function of tensors.

Knows neither the library nor the model. The executor is stateless, so a batch that fails is run again request by
request. Where the signature has a padding rule, requests of different lengths are padded when they are stacked; a
request that runs alone is only rounded up to the rule's step. The parameter ROWS_AT_ONCE has a batch computed in parts.
Ragged inputs, and tensors that describe a batch, are made and divided by `core/ragged_batch.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Literal

import numpy as np

from slipway.backends.api import Execution, InstanceSpec, ModelContext, Placement
from slipway.backends.shared.parameters import Parameters, parameter_problem
from slipway.config.rows_at_once import ROWS_AT_ONCE
from slipway.core.batch import split, stack
from slipway.core.pending import Pending
from slipway.core.ragged_batch import split_ragged, stack_ragged
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.errors import SlipwayError, refused, unavailable

Run = Callable[[dict[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]


class StackedModel:
    """One loaded version. `start` returns an instance's function on the weights that all instances share; it is called
    in the thread that the instance runs in."""

    placement = Placement.THREAD

    def __init__(self, context: ModelContext, start: Callable[[InstanceSpec], Run]) -> None:
        self._signature = context.signature
        self._version = context.version
        self._start: Callable[[InstanceSpec], Run] | None = start
        self._rows_at_once = _rows_at_once(context)

    def open(self, instance: InstanceSpec) -> StackedExecutor:
        """Return an executor that calls the instance's function."""
        if self._start is None:
            raise opened_too_late(instance)
        run = self._start(instance)
        return StackedExecutor(
            self._signature, self._version, _in_parts(run, self._rows_at_once) if self._rows_at_once else run
        )

    def unload(self) -> None:
        """Release the weights; their memory is freed once every executor is closed."""
        self._start = None


def opened_too_late(instance: InstanceSpec) -> SlipwayError:
    """Return the error for an instance that is opened after its model was unloaded."""
    return unavailable(f"instance '{instance.name}' opened after its model was unloaded")


class StackedExecutor:
    """One instance of a model given as `run(inputs, output names) -> outputs`.

    Arrays have the shapes the model sees: batch dimension first where there is one, `reshape` applied. `run` raises
    `SlipwayError` with reason BACKEND when the model fails.
    """

    __slots__ = ("_names", "_run", "_signature", "_split", "_stack", "_version", "stateless")

    def __init__(self, signature: ModelSignature, version: int, run: Run) -> None:
        self.stateless: Literal[True] = True
        self._signature = signature
        self._version = str(version)
        self._run = run
        self._names = tuple(signature.outputs)
        self._stack, self._split = (stack_ragged, split_ragged) if signature.ragged else (stack, split)

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Run the batch; raise when it failed."""
        requests = [pending.request for pending in batch]
        names = self._wanted(requests)
        inputs = self._stack(requests, self._signature)
        input_end = monotonic_ns()
        outputs = self._run(inputs, names)
        output_start = monotonic_ns()
        return Execution(self._answers(outputs, requests, batch), input_end, output_start)

    def check_ready(self) -> None:
        """Do nothing: a loaded model can always serve."""

    def close(self) -> None:
        """Forget the model, so that its weights can be freed."""
        self._run = _closed

    def _wanted(self, requests: Sequence[InferRequest]) -> tuple[str, ...]:
        """Return the outputs that some request of the batch asks for."""
        wanted: set[str] = set()
        for request in requests:
            if not request.outputs:
                return self._names
            wanted.update(request.outputs)
        return tuple(name for name in self._names if name in wanted)

    def _answers(
        self, outputs: dict[str, np.ndarray], requests: Sequence[InferRequest], batch: Sequence[Pending]
    ) -> list[InferResponse]:
        model_name, version = self._signature.model_name, self._version
        answers = []
        parts = self._split(outputs, [pending.rows for pending in batch], self._signature, requests=requests)
        for request, tensors in zip(requests, parts, strict=True):
            wanted = request.outputs
            chosen = [tensor for tensor in tensors if tensor.name in wanted] if wanted else tensors
            answers.append(InferResponse(model_name, version, request.id, chosen))
        return answers


def _rows_at_once(context: ModelContext) -> int:
    """Return how many rows are computed at a time, 0 for all; raise INVALID_ARG if the parameter is not a count."""
    parameters = Parameters(context.config)
    if ROWS_AT_ONCE not in parameters or not context.config.max_batch_size:
        return 0
    rows = parameters.integer(ROWS_AT_ONCE)
    if rows < 1:
        text = f"model '{context.name}': {ROWS_AT_ONCE} is {rows}, expected 1 or more"
        raise refused(parameter_problem(ROWS_AT_ONCE, text))
    if context.signature.ragged:
        text = f"model '{context.name}': {ROWS_AT_ONCE} cannot divide ragged inputs and tensors that describe a batch"
        raise refused(parameter_problem(ROWS_AT_ONCE, text))
    return rows


def _in_parts(run: Run, rows: int) -> Run:
    """Return a function that calls `run` with up to `rows` rows at a time; its outputs have the same size for each."""

    def run_in_parts(inputs: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        count = next((len(array) for array in inputs.values()), 0)
        if count <= rows:
            return run(inputs, names)
        parts = [
            run({name: array[start : start + rows] for name, array in inputs.items()}, names)
            for start in range(0, count, rows)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    return run_in_parts


def _closed(_inputs: dict[str, np.ndarray], _names: Sequence[str]) -> dict[str, np.ndarray]:
    raise unavailable("the model is unloaded")
