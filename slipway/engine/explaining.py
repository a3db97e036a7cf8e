"""What a client that asks for it learns about its request: the parameter `slipway_explain` of the response, in JSON.

The schedulers note where the request waits and in which batch it runs (`core/explanation.py`); here the notes are put
together with what the model's configuration says. Of other requests it says only how many share the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from time import monotonic_ns
from typing import Any, Final

import orjson
from tritonclient.grpc import model_config_pb2

from slipway.affinity import in_ranges
from slipway.backends.shared.parameters import explicit_threads, instance_count
from slipway.config.prepared import PREPARED_TOKENS
from slipway.core.explanation import EXPLAIN, Explanation, Wait
from slipway.core.pending import Deliver
from slipway.core.request import InferResponse
from slipway.core.statistics import Timing
from slipway.cores import cpu_limit
from slipway.engine.model import ModelVersion

_US: Final = 1000  # ns
_PHASES: Final = ("input", "infer", "output")
# The parameters by which models say in which precision they compute, most specific first.
_PRECISIONS: Final = ("COMPUTE_TYPE", "INFERENCE_PRECISION_HINT", "PRECISION", "precision")


class Explaining:
    """Gives the responses to one request their explanation. Implements `core.watched.Watcher`.

    A request that gets several responses has it in the first one, as far as it is known then, and in the final one.
    """

    __slots__ = ("_arrival_ns", "_deliver", "_explanation", "_is_first", "_model", "_rows")

    def __init__(
        self, explanation: Explanation, model: ModelVersion, rows: int, arrival_ns: int, deliver: Deliver
    ) -> None:
        self._explanation = explanation
        explanation.meets_preparation = model.preparing
        self._model = model
        self._rows = rows
        self._arrival_ns = arrival_ns
        self._deliver = deliver
        self._is_first = True

    def executed(self, timing: Timing) -> None:
        """Note the times of an execution."""
        self._explanation.executed(timing)

    def responded(self, response: InferResponse) -> None:
        """Note nothing: `deliver` has the response too."""

    def ended(self, responses: int) -> None:
        """Note nothing: the explanation has gone with a response."""

    def deliver(self, response: InferResponse) -> None:
        """Pass a response on, with the explanation; an error has a text of its own."""
        if response.final:
            self._explanation.stop_waiting(monotonic_ns())
        if response.error is not None or not (response.final or self._is_first):
            self._deliver(response)
            return
        self._is_first = False
        report = report_of(self._explanation, self._model, self._rows, self._arrival_ns, monotonic_ns())
        self._explanation.report = report
        parameters = {**response.parameters, EXPLAIN: orjson.dumps(report).decode()}
        explained = replace(response, parameters=parameters)  # the response cache keeps the other one
        self._deliver(explained)
        response.error = explained.error  # the front may have refused it, which counts


def report_of(explanation: Explanation, model: ModelVersion, rows: int, arrival_ns: int, now_ns: int) -> dict[str, Any]:
    """Return the explanation of a request that arrived at `arrival_ns`, as of now; durations in microseconds."""
    begin_ns = explanation.start_ns or explanation.executing_since() or now_ns
    report: dict[str, Any] = {
        "model": model.signature.model_name,  # as in the response
        "version": str(model.version),
        "rows": rows,
        "total_us": (now_ns - arrival_ns) // _US,
        "queue_us": (begin_ns - arrival_ns) // _US,
    }
    if explanation.executions:
        report["compute_us"] = dict(zip(_PHASES, (ns // _US for ns in explanation.compute_ns), strict=True))
    if explanation.executions > 1:
        report["executions"] = explanation.executions
    if explanation.executing_since():
        report["executing_us"] = (now_ns - explanation.executing_since()) // _US
    if explanation.instance:
        report["batch"] = {"requests": explanation.batch_requests, "rows": explanation.batch_rows}
        report["instance"] = _instance(explanation.instance, model)
    if explanation.padding is not None:
        own, padding = explanation.padding
        report["padding"] = {"tokens": padding, "share": round(padding / max(1, own + padding), 4)}
    if model.config.backend:
        report["engine"] = engine_of(model.config)
    if explanation.cache:
        report["cache"] = explanation.cache
    report["held_by"] = list(_held_by(_waits(explanation, model.config, now_ns), model.config))
    if explanation.steps:
        report["steps"] = [step.report or {"model": step.model} for step in explanation.steps]
    if explanation.more_steps:
        report["more_steps"] = explanation.more_steps
    return report


@cache
def _cpus() -> int:
    """Return the CPUs of this process; reading them takes longer than a small inference."""
    return cpu_limit()


def _instance(name: str, model: ModelVersion) -> dict[str, Any]:
    spec = next((each for each in model.specs if each.name == name), None)
    threads = explicit_threads(model.config) or max(1, _cpus() // max(1, len(model.specs)))
    described: dict[str, Any] = {"name": name, "threads": threads}
    if spec is not None:
        described["kind"] = spec.kind
        if spec.kind == "GPU":
            described["device"] = spec.device_id
        if spec.cpus:
            described["cpus"] = in_ranges(spec.cpus)
    return described


def engine_of(config: model_config_pb2.ModelConfig) -> dict[str, str]:
    """Return the backend of a model, and the engine and the precision if its parameters name them."""
    engine = {"backend": config.backend}
    own = _parameter(config, "ENGINE")
    if own:
        engine["engine"] = own
    precision = next(filter(None, (_parameter(config, key) for key in _PRECISIONS)), "")
    if precision:
        engine["precision"] = precision
    return engine


def _parameter(config: model_config_pb2.ModelConfig, key: str) -> str:
    return config.parameters[key].string_value if key in config.parameters else ""


def _waits(explanation: Explanation, config: model_config_pb2.ModelConfig, now_ns: int) -> dict[Wait, int]:
    """Return the waits of a request, with that of its response for the responses before it."""
    waits = dict(explanation.waits)
    oldest = config.sequence_batching.HasField("oldest") and config.sequence_batching.oldest.preserve_ordering
    if explanation.end_ns and (config.dynamic_batching.preserve_ordering or oldest):
        waits[Wait.RESPONSES] = now_ns - explanation.end_ns
    return waits


def _held_by(waits: Mapping[Wait, int], config: model_config_pb2.ModelConfig) -> Iterator[dict[str, Any]]:
    """Yield each wait with the setting behind it, the longest one first."""
    for wait, ns in sorted(waits.items(), key=lambda each: -each[1]):
        if ns >= _US:
            yield {"wait": wait.value, "us": ns // _US, **_SETTINGS[wait](config)}


Settings = dict[str, Any]


def _batch_setting(config: model_config_pb2.ModelConfig) -> Settings:
    if config.HasField("dynamic_batching"):
        return _setting("dynamic_batching", "max_queue_delay_microseconds", config.dynamic_batching)
    strategy = "oldest" if config.sequence_batching.HasField("oldest") else "direct"
    chosen = getattr(config.sequence_batching, strategy)
    return _setting(f"sequence_batching.{strategy}", "max_queue_delay_microseconds", chosen)


def _setting(where: str, field: str, message: Any) -> Settings:
    return {"setting": f"{where}.{field}", "value": getattr(message, field)}


def _instances(config: model_config_pb2.ModelConfig) -> Settings:
    return {"setting": "instance_group.count", "value": instance_count(config)}


def _resources(config: model_config_pb2.ModelConfig) -> Settings:
    names = sorted({each.name for group in config.instance_group for each in group.rate_limiter.resources})
    return {"setting": "instance_group.rate_limiter.resources", "value": ", ".join(names)}


def _slots(config: model_config_pb2.ModelConfig) -> Settings:
    sequences = config.sequence_batching
    if sequences.HasField("oldest"):
        return _setting("sequence_batching.oldest", "max_candidate_sequences", sequences.oldest)
    return {"setting": "max_batch_size", "value": config.max_batch_size}


def _ordering(config: model_config_pb2.ModelConfig) -> Settings:
    if config.HasField("dynamic_batching"):
        return _setting("dynamic_batching", "preserve_ordering", config.dynamic_batching)
    return _setting("sequence_batching.oldest", "preserve_ordering", config.sequence_batching.oldest)


def _nothing(config: model_config_pb2.ModelConfig) -> Settings:  # noqa: ARG001  as the others
    return {}


_SETTINGS: Final[Mapping[Wait, Callable[[model_config_pb2.ModelConfig], Settings]]] = {
    Wait.BATCH: _batch_setting,
    Wait.INSTANCE: _instances,
    Wait.RESOURCES: _resources,
    Wait.HAND_OVER: _nothing,
    Wait.PREPARATION: lambda config: {"setting": PREPARED_TOKENS, "value": _parameter(config, PREPARED_TOKENS)},
    Wait.SLOT: _slots,
    Wait.ORDER: _nothing,
    Wait.CACHE: _nothing,
    Wait.INFLIGHT: lambda config: _setting("ensemble_scheduling", "max_inflight_requests", config.ensemble_scheduling),
    Wait.RESPONSES: _ordering,
}
