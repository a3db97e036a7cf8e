"""What is wrong with an ensemble: its own dataflow, and how it fits the models that it is composed of.

Pure, over configurations: which versions are loaded is the engine's business, what may flow where at run time the
scheduler's. Every walk is a loop, so that no config is too long or too circular. Texts are the real server's.
Source: Triton `ensemble_scheduler` checks in `model_config_utils.cc` and `ensemble_utils.cc`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.config.complete import ENSEMBLE

Configs = Mapping[str, model_config_pb2.ModelConfig]


def validate_ensemble(config: model_config_pb2.ModelConfig, configs: Configs) -> list[str]:
    """Return the problems of an ensemble; `configs` has the models of its steps by name, and may have theirs too."""
    names = {step.model_name for step in config.ensemble_scheduling.step if step.model_name}
    missing = sorted(names - configs.keys() - {config.name})
    problems = composition_problems(config)
    if missing:
        listed = ", ".join(missing)
        problems.append(f"ensemble {config.name} contains models that are not available or ambiguous: {listed}")
    closing = _closes_circle(config, configs)
    if closing:
        circle = f"{config.name} -> ... -> {closing} -> {config.name}"
        return [*problems, f"circular dependency between ensembles: {circle}"]
    fit = _Fit(config)
    for step in config.ensemble_scheduling.step:
        if step.model_name in configs:
            problems += fit.step_problems(step, configs[step.model_name])
    return list(dict.fromkeys(problems))  # a model used by many steps has its problem once


def composition_problems(config: model_config_pb2.ModelConfig) -> list[str]:
    """Return the problems of an ensemble that its own configuration shows."""
    if config.platform != ENSEMBLE and (config.platform or config.backend):
        return [f"ensemble scheduling cannot be set for model '{config.name}' whose platform is not ensemble"]
    steps = list(_step_problems(config))
    return [*_field_problems(config), *(steps or _flow_problems(config))]


def _field_problems(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    name = config.name
    if config.backend:
        yield f"Ensemble model '{name}' must have platform type 'ensemble' and empty backend type"
    if config.instance_group:
        yield f"instance group should not be specified for ensemble '{name}'"
    if config.HasField("optimization"):
        yield f"optimization should not be specified for ensemble '{name}'"
    if config.model_warmup:
        yield f"model_warmup can not be specified for ensemble '{name}'"
    if not config.ensemble_scheduling.step:
        yield f"must specify 'step' for ensemble '{name}'"


def _step_problems(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    inputs = {tensor.name for tensor in config.input}
    made: set[str] = set()
    for index, step in enumerate(config.ensemble_scheduling.step):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                yield f"must specify '{field}' in step {index} of ensemble '{config.name}'"
        for tensor in step.output_map.values():
            place = f"for ensemble '{config.name}' step {index}"
            if tensor in made:
                yield f"ensemble tensor '{tensor}' can appear in an output map only once {place}"
            if tensor in inputs:  # Triton loads it, and the input would be lost
                yield f"ensemble tensor '{tensor}' is an input and can not appear in an output map {place}"
            made.add(tensor)


# The dataflow


def _flow_problems(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    """Yield tensors that nobody uses, and outputs that nothing can ever write."""
    steps = config.ensemble_scheduling.step
    if not steps:
        return
    inputs = [tensor.name for tensor in config.input]
    outputs = [tensor.name for tensor in config.output]
    makers = {tensor: step for step in steps for tensor in step.output_map.values()}
    used = {tensor for step in steps for tensor in step.input_map.values()}
    for tensor in inputs:
        if tensor not in used and tensor not in outputs:
            yield f"ensemble input '{tensor}' for ensemble {config.name}' is not used"
    for tensor in makers:
        if tensor not in used and tensor not in outputs:
            yield f"ensemble tensor '{tensor}' is unused in ensemble '{config.name}'"
    written = _written(inputs, steps)
    for tensor in outputs:
        if tensor in written:
            continue
        if tensor not in makers:
            yield f"ensemble output '{tensor}' for ensemble {config.name}' is not used"
        else:
            gap = _gap(tensor, makers, written)
            yield (
                f"output '{tensor}' for ensemble '{config.name}' is not written: at least one of its depending "
                f"tensors, '{gap}', is not connected"
            )


def _written(inputs: Sequence[str], steps: Sequence[Any]) -> set[str]:
    """Return the tensors that get a value once the ensemble's inputs have theirs."""
    waiting = [len(set(step.input_map.values())) for step in steps]
    users: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        for tensor in set(step.input_map.values()):
            users.setdefault(tensor, []).append(index)
    written: set[str] = set()
    fresh = list(inputs)
    while fresh:
        tensor = fresh.pop()
        if tensor in written:
            continue
        written.add(tensor)
        for index in users.get(tensor, ()):
            waiting[index] -= 1
            if waiting[index] == 0:
                fresh.extend(steps[index].output_map.values())
    return written


def _gap(tensor: str, makers: Mapping[str, Any], written: set[str]) -> str:
    """Return the tensor where the way back from `tensor` ends: nobody makes it, or it depends on itself."""
    passed = {tensor}
    while True:
        unwritten = sorted(name for name in makers[tensor].input_map.values() if name not in written)
        if not unwritten or unwritten[0] in passed:
            return tensor
        tensor = unwritten[0]
        passed.add(tensor)
        if tensor not in makers:
            return tensor


# The models


def _closes_circle(config: model_config_pb2.ModelConfig, configs: Configs) -> str:
    """Return the model that leads back to the ensemble, "" if none does."""
    seen: set[str] = set()
    open_configs = [config]
    while open_configs:
        current = open_configs.pop()
        for step in current.ensemble_scheduling.step:
            name = step.model_name
            if name == config.name:
                return str(current.name)
            if name in configs and name not in seen:
                seen.add(name)
                open_configs.append(configs[name])
    return ""


@dataclass(frozen=True, slots=True)
class _Declared:
    """What one model says of an ensemble tensor."""

    model: str
    data_type: int
    dims: tuple[int, ...]
    batching: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (-1, *self.dims) if self.batching else self.dims


class _Fit:
    """Holds each ensemble tensor to what was first said of it."""

    def __init__(self, config: model_config_pb2.ModelConfig) -> None:
        self._config = config
        self._label = f"in ensemble {config.name}"
        self._known: dict[str, _Declared] = {}
        for tensor in (*config.input, *config.output):
            self._known.setdefault(tensor.name, _declared(config, config.name, tensor))

    def step_problems(self, step: Any, model: model_config_pb2.ModelConfig) -> Iterator[str]:
        """Yield how one step and its model disagree with the ensemble or with an earlier step."""
        ensemble, name = self._config, step.model_name
        if 0 < model.max_batch_size < ensemble.max_batch_size:
            yield (
                f"ensemble {ensemble.name} allows maximum batch size {ensemble.max_batch_size}, but it contains model "
                f"{name} which only allows maximum batch size to be {model.max_batch_size}"
            )
        label = f"{self._label}, ensemble tensor"
        inputs = {tensor.name: tensor for tensor in model.input}
        outputs = {tensor.name: tensor for tensor in model.output}
        for key, tensor in sorted(step.input_map.items()):
            if key in inputs:
                yield from self._tensor_problems(tensor, _declared(model, name, inputs[key]))
            else:
                yield f"{label} {tensor} is mapping to non-existing input {key} in model {name}"
        for key, declared in inputs.items():
            if key not in step.input_map and not declared.optional:
                yield f"{self._label}, input {key} in model {name} is not mapped to any ensemble tensors"
        for key, tensor in sorted(step.output_map.items()):
            if key in outputs:
                yield from self._tensor_problems(tensor, _declared(model, name, outputs[key]))
            else:
                yield f"{label} {tensor} is mapped from non-existing output {key} in model {name}"

    def _tensor_problems(self, tensor: str, found: _Declared) -> Iterator[str]:
        first = self._known.setdefault(tensor, found)
        label = f"{self._label}, ensemble tensor {tensor}: inconsistent"
        if first.data_type != found.data_type:
            yield (
                f"{label} data type: {_datatype(first)} is inferred from model {first.model} "
                f"while {_datatype(found)} is inferred from model {found.model}"
            )
        elif not _match(first.dims, found.dims) and not _match(first.shape, found.shape):
            yield (
                f"{label} shape: {_shape_text(first.dims)} is inferred from model {first.model} "
                f"while {_shape_text(found.dims)} is inferred from model {found.model}"
            )


def _declared(config: model_config_pb2.ModelConfig, model: str, tensor: Any) -> _Declared:
    return _Declared(model, tensor.data_type, tuple(tensor.dims), config.max_batch_size > 0)


def _match(first: Sequence[int], second: Sequence[int]) -> bool:
    """Return whether shapes may be equal; what a variable size becomes is checked at run time."""
    return len(first) == len(second) and all(
        one == other or -1 in (one, other) for one, other in zip(first, second, strict=True)
    )


def _datatype(declared: _Declared) -> str:
    known = model_config_pb2.DataType.DESCRIPTOR.values_by_number.get(declared.data_type)
    return str(declared.data_type) if known is None else known.name


def _shape_text(dims: Sequence[int]) -> str:
    return f"[{','.join(map(str, dims))}]"
