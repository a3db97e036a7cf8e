"""Verify the models of a running server over gRPC: send each ready model a sample, and judge the response."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tritonclient.grpc as triton
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from slipway.errors import SlipwayError, unavailable
from slipway.problems import Problem
from slipway.verify.advice import Cause, Fault, Known, advise
from slipway.verify.judge import Output, output_problems
from slipway.verify.sample import Input, Sample, ensemble_sample, sample_of

_UNLOADED = "unloaded"  # on request, so not a failure
_GRACE_S = 5.0  # the stream's own deadline comes first


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one model version. `reason` is "" for a pass; `milliseconds` is None without a response; `known`
    holds the causes of the failure, as far as they are known beyond the text."""

    model: str
    version: str
    sent: str = ""
    milliseconds: float | None = None
    answer: tuple[str, ...] = ()
    reason: str = ""
    known: tuple[Known, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the model passed."""
        return not self.reason

    @property
    def advice(self) -> str:
        """What usually helps, "" for a pass."""
        return advise(self.reason, self.known) if self.reason else ""


class Probe:
    """Verifies the models of the server at `url`. `directories` holds the directories of models whose files can be read
    here; `known` says why a (model, version) failed to load, if the server is in this process; `headers` are sent with
    every call."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        directories: Mapping[str, Path],
        known: Mapping[tuple[str, str], tuple[Problem, ...]] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._directories = directories
        self._known = known
        self._headers = {name.lower(): value for name, value in headers.items()}  # as gRPC wants them

    def run(self, models: Sequence[str]) -> list[Verdict]:
        """Return a verdict for every version of `models`, or of all models, that is ready or failed to load; raise
        UNAVAILABLE if no server answers."""
        with triton.InferenceServerClient(self._url) as client:
            client.register_plugin(lambda request: request.headers.update(self._headers))
            try:
                index = client.get_model_repository_index(client_timeout=self._timeout_s).models
            except InferenceServerException as error:
                raise self._unreachable(error) from error
            return [
                verdict
                for entry in sorted(index, key=lambda each: (each.name, each.version))
                if not models or entry.name in models
                for verdict in self._verdicts(client, entry)
            ]

    def _verdicts(self, client: Any, entry: Any) -> Iterator[Verdict]:
        if entry.state == "READY":
            yield self._ask(client, entry.name, entry.version)
        elif entry.state and entry.reason != _UNLOADED:
            reason = entry.reason or f"the model is {entry.state}"
            known = self._known.get((entry.name, entry.version), ())
            yield Verdict(entry.name, entry.version or "-", reason=reason, known=known)

    def _ask(self, client: Any, model: str, version: str) -> Verdict:
        sample = Sample("", (), None)
        try:
            config = client.get_model_config(model, version, client_timeout=self._timeout_s).config
            sample = self._sample(client, config)
            start = time.perf_counter()
            responses = self._infer(client, config, version, sample)
            milliseconds = (time.perf_counter() - start) * 1e3
        except (InferenceServerException, SlipwayError, OSError) as error:
            text = _text(error)
            late: tuple[Known, ...] = (Fault(Cause.TIMED_OUT, text),) if isinstance(error, TimeoutError) else ()
            return Verdict(model, version, sample.source, reason=text, known=late)
        answers = [_outputs(response) for response in responses]
        faults = [fault for outputs in answers for fault in output_problems(config, outputs, sample.rows)]
        if not answers:
            faults = [Fault(Cause.SILENT, "the model ended the request without a response")]
        known = tuple(dict.fromkeys(faults))
        shown = tuple(str(output) for outputs in answers[:1] for output in outputs)
        return Verdict(model, version, sample.source, milliseconds, shown, "; ".join(map(str, known)), known)

    def _sample(self, client: Any, config: pb.ModelConfig) -> Sample:
        names = {step.model_name for step in config.ensemble_scheduling.step}
        if not names:
            return sample_of(config, self._directories.get(config.name))
        steps = {}
        for name in sorted(names):
            step = client.get_model_config(name, client_timeout=self._timeout_s).config
            steps[name] = (step, self._directories.get(name))
        return ensemble_sample(config, steps)

    def _infer(self, client: Any, config: pb.ModelConfig, version: str, sample: Sample) -> list[Any]:
        """Return the responses to one request: one, or any number from a decoupled model."""
        inputs = [_tensor(each) for each in sample.inputs]
        options: dict[str, Any] = {"model_version": version}
        if config.HasField("sequence_batching"):
            options |= {"sequence_id": _sequence_id(config), "sequence_start": True, "sequence_end": True}
        if config.model_transaction_policy.decoupled:
            return _stream(client, config.name, inputs, options, self._timeout_s)
        return [client.infer(config.name, inputs, client_timeout=self._timeout_s, **options)]

    def _unreachable(self, error: InferenceServerException) -> SlipwayError:
        fault = Fault(Cause.UNREACHABLE, f"no server answers at {self._url}")
        return unavailable(f"{fault} ({_text(error)}). {advise(str(fault), [fault])}")


def _sequence_id(config: pb.ModelConfig) -> int | str:
    """Return an id that is unlike those in use, of the type that the model takes."""
    number = time.time_ns() % 2**31 + 1
    controls = [control for tensor in config.sequence_batching.control_input for control in tensor.control]
    return str(number) if any(control.data_type == pb.TYPE_STRING for control in controls) else number


def _tensor(given: Input) -> Any:
    tensor = triton.InferInput(given.name, list(given.array.shape), given.datatype)
    bfloat16 = given.datatype == "BF16"  # older clients expect float32, newer ones bfloat16
    tensor.set_data_from_numpy(given.array.astype(triton_to_np_dtype("BF16")) if bfloat16 else given.array)
    return tensor


def _stream(client: Any, model: str, inputs: Sequence[Any], options: Mapping[str, Any], timeout_s: float) -> list[Any]:
    """Return every response of a decoupled model to one request, in order."""
    answers: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()

    def put(result: Any, error: InferenceServerException | None) -> None:
        answers.put((result, error))

    client.start_stream(put, stream_timeout=timeout_s)
    results = []
    try:
        client.async_stream_infer(model, inputs, enable_empty_final_response=True, **options)
        while True:
            result, error = answers.get(timeout=timeout_s + _GRACE_S)
            if error is not None:
                raise error
            response = result.get_response()
            if response.outputs:
                results.append(result)
            if response.parameters["triton_final_response"].bool_param:
                return results
    except queue.Empty:
        raise TimeoutError(f"timed out: no response on the stream within {timeout_s:g} seconds") from None
    finally:
        client.stop_stream(cancel_requests=True)


def _outputs(result: Any) -> list[Output]:
    return [Output(each.name, each.datatype, result.as_numpy(each.name)) for each in result.get_response().outputs]


def _text(error: Exception) -> str:
    if isinstance(error, InferenceServerException):
        return str(error.message() or error).strip()
    return str(error).strip()
