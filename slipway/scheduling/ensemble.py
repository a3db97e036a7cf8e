"""Runs ensembles: submits a request to a composing model for each step that `ensemble_graph` finds ready.

Runs on the event-loop thread and executes nothing itself: a step is an ordinary request, which the composing model's
own scheduler queues, batches, refuses and counts. Source of texts and counting: tritonserver's responses and /stats.
"""

from __future__ import annotations

import time

from tritonclient.grpc import model_config_pb2

from slipway.core.pending import Pending
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.errors import FailureReason, invalid, unavailable
from slipway.scheduling.api import STOPPED, Drain
from slipway.scheduling.ensemble_graph import EnsembleGraph, EnsembleStep, mixed_origins
from slipway.scheduling.ensemble_limits import StepLimits
from slipway.scheduling.ensemble_run import EnsembleContext, RunningRequest, SignatureOf, Submit


def graph_of(config: model_config_pb2.ModelConfig, signature: ModelSignature) -> EnsembleGraph:
    """Return the dataflow in an ensemble's configuration."""
    steps = (
        EnsembleStep(
            index,
            step.model_name,
            "" if step.model_version == -1 else str(step.model_version),
            dict(step.input_map),
            dict(step.output_map),
        )
        for index, step in enumerate(config.ensemble_scheduling.step)
    )
    return EnsembleGraph(steps, signature.outputs)


class EnsembleScheduler:
    """Answers requests by running the steps of an ensemble. Implements `scheduling.api.Scheduler`.

    `submit` starts a request on a composing model, as a dataplane does; `signature_of` returns the inputs and outputs
    of a composing model (name, version or ""). Raise INVALID_ARG for a graph that cannot run.
    """

    def __init__(
        self,
        config: model_config_pb2.ModelConfig,
        signature: ModelSignature,
        statistics: ModelStatistics,
        submit: Submit,
        *,
        signature_of: SignatureOf,
        version: str,
    ) -> None:
        most = config.ensemble_scheduling.max_inflight_requests
        limits = StepLimits(most) if most else None
        self._context = EnsembleContext(signature, statistics, version, submit, signature_of, self._ended, limits)
        self._graph = graph_of(config, signature)
        self._pruned: dict[frozenset[str], EnsembleGraph] = {}
        self._running = 0
        self._drain = Drain(self.is_idle)
        if mixed_origins(self._graph, lambda step: signature_of(step.model_name, step.model_version).decoupled):
            name = signature.model_name
            raise invalid(
                f"in ensemble {name}, step of model '{name}' receives inputs originated from different decoupled models"
            )

    def submit(self, pending: Pending) -> None:
        """Run the request through the graph. Raise UNAVAILABLE if the model is being unloaded."""
        if self._drain.closed:
            self._context.statistics.record_failure(time.monotonic_ns() - pending.arrival_ns, FailureReason.OTHER)
            raise unavailable(pending.request.log_prefix + STOPPED)
        self._running += 1
        graph = self._graph_for(pending.request.outputs)
        RunningRequest(self._context, pending, graph).begin()

    def is_idle(self) -> bool:
        """Return whether every accepted request is answered."""
        return not self._running

    async def drain(self) -> None:
        """Refuse new requests and wait until every accepted one is answered."""
        await self._drain.finish()

    def _ended(self) -> None:
        self._running -= 1
        self._drain.check()

    def _graph_for(self, outputs: tuple[str, ...]) -> EnsembleGraph:
        names = frozenset(outputs)
        if not names or names == frozenset(self._graph.outputs):
            return self._graph
        graph = self._pruned.get(names)
        if graph is None:
            graph = self._pruned[names] = self._graph.pruned([name for name in self._graph.outputs if name in names])
        return graph
