"""Find the problems of an ensemble: in its own dataflow, and in how it fits the models of its steps.

Pure, over configurations: the engine decides which versions are loaded, the scheduler what flows where at run time.
Every traversal is a loop, so no config is too long or too circular. The texts are the real server's.
Source: Triton `ensemble_scheduler` checks in `model_config_utils.cc` and `ensemble_utils.cc`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.config.complete import ENSEMBLE
from slipway.config.validate_tensors import TOKENIZER_TENSORS
from slipway.problems import FieldPath, Named, Problem, Rule

Configs = Mapping[str, model_config_pb2.ModelConfig]

PLATFORM_FIX: Final = 'set platform: "ensemble" and remove backend; both belong to ensemble_scheduling'
_SCHEDULING: Final = ("ensemble_scheduling",)
_STEPS: Final = (*_SCHEDULING, "step")


def validate_ensemble(config: model_config_pb2.ModelConfig, configs: Configs) -> list[Problem]:
    """Return the problems of an ensemble; `configs` holds the models of its steps by name, and possibly of theirs."""
    names = {step.model_name for step in config.ensemble_scheduling.step if step.model_name}
    missing = sorted(names - configs.keys() - {config.name})
    problems = composition_problems(config)
    if missing:
        problems.append(missing_models(config.name, missing))
    closing = _closes_circle(config, configs)
    if closing:
        return [*problems, circular_dependency(config.name, closing)]
    fit = _Fit(config)
    for index, step in enumerate(config.ensemble_scheduling.step):
        if step.model_name in configs:
            problems += fit.step_problems(index, step, configs[step.model_name])
    firsts = {problem.text: problem for problem in reversed(problems)}
    return [problem for problem in problems if firsts[problem.text] is problem]  # once for a model in several steps


def missing_models(name: str, missing: Sequence[str]) -> Problem:
    """Return the problem of an ensemble whose models `missing` are not available."""
    text = f"ensemble {name} contains models that are not available or ambiguous: {', '.join(missing)}"
    return Problem(Rule.STEP_MODEL_MISSING, text, _SCHEDULING, "add the models to the repository")


def circular_dependency(name: str, closing: str = "") -> Problem:
    """Return the problem of an ensemble that contains itself; `closing` is the model that leads back to it."""
    text = f"circular dependency between ensembles: {' -> '.join(filter(None, (name, '...', closing, name)))}"
    return Problem(Rule.ENSEMBLE_CYCLE, text, _SCHEDULING, "remove the step that leads back to the ensemble")


def composition_problems(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return the problems of an ensemble that its own configuration reveals."""
    if config.platform != ENSEMBLE and (config.platform or config.backend):
        text = f"ensemble scheduling cannot be set for model '{config.name}' whose platform is not ensemble"
        return [Problem(Rule.PLATFORM_BACKEND, text, ("platform",), PLATFORM_FIX)]
    steps = list(_step_problems(config))
    return [*_field_problems(config), *(steps or _flow_problems(config))]


def _field_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    name = config.name
    if config.backend:
        text = f"Ensemble model '{name}' must have platform type 'ensemble' and empty backend type"
        yield Problem(Rule.PLATFORM_BACKEND, text, ("platform",), PLATFORM_FIX)
    texts = {}
    if config.instance_group:
        texts["instance_group"] = f"instance group should not be specified for ensemble '{name}'"
    if config.HasField("optimization"):
        texts["optimization"] = f"optimization should not be specified for ensemble '{name}'"
    if config.model_warmup:
        texts["model_warmup"] = f"model_warmup can not be specified for ensemble '{name}'"
    for field, text in texts.items():
        yield Problem(Rule.ENSEMBLE_FIELD, text, (field,), "remove it, and set it on the models of the steps")
    if not config.ensemble_scheduling.step:
        text = f"must specify 'step' for ensemble '{name}'"
        yield Problem(Rule.FIELD_MISSING, text, _SCHEDULING, "add a step for each model")


def _step_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    inputs = {tensor.name for tensor in config.input}
    made: set[str] = set()
    for index, step in enumerate(config.ensemble_scheduling.step):
        path = (*_STEPS, index)
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                text = f"must specify '{field}' in step {index} of ensemble '{config.name}'"
                yield Problem(Rule.FIELD_MISSING, text, path, f"add {field}")
        for tensor in step.output_map.values():
            reasons = ["can appear in an output map only once"] if tensor in made else []
            if tensor in inputs:  # Triton loads it, and the input would be lost
                reasons.append("is an input and can not appear in an output map")
            for reason in reasons:
                text = f"ensemble tensor '{tensor}' {reason} for ensemble '{config.name}' step {index}"
                yield Problem(Rule.TENSOR_PRODUCED_TWICE, text, path, f"rename {tensor} in one of the steps")
            made.add(tensor)


# The dataflow


def _flow_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield unused tensors, and outputs that no step can ever write."""
    steps = config.ensemble_scheduling.step
    if not steps:
        return
    inputs = [tensor.name for tensor in config.input]
    outputs = [tensor.name for tensor in config.output]
    makers = {tensor: step for step in steps for tensor in step.output_map.values()}
    used = {tensor for step in steps for tensor in step.input_map.values()}
    for tensor in inputs:
        if tensor not in used and tensor not in outputs:
            text = f"ensemble input '{tensor}' for ensemble {config.name}' is not used"
            yield Problem(
                Rule.TENSOR_UNUSED, text, ("input", Named(tensor)), "remove it, or map it to an input of a step"
            )
    for tensor in makers:
        if tensor not in used and tensor not in outputs:
            text = f"ensemble tensor '{tensor}' is unused in ensemble '{config.name}'"
            fix = "remove it from the output_map, or map it to an input of a step"
            yield Problem(Rule.TENSOR_UNUSED, text, _mapping(config, "output_map", tensor), fix)
    written = _written(inputs, steps)
    for tensor in outputs:
        if tensor in written:
            continue
        if tensor not in makers:
            text = f"ensemble output '{tensor}' for ensemble {config.name}' is not used"
            fix = "add it to the output_map of the step that produces it"
            yield Problem(Rule.TENSOR_NOT_PRODUCED, text, ("output", Named(tensor)), fix)
        else:
            gap = _gap(tensor, makers, written)
            yield _unwritten(config, tensor, gap, is_made=gap in makers)


def _unwritten(config: model_config_pb2.ModelConfig, tensor: str, gap: str, *, is_made: bool) -> Problem:
    """Return the problem of an output that depends on the tensor `gap`, which no step produces, or only from itself."""
    text = (
        f"output '{tensor}' for ensemble '{config.name}' is not written: at least one of its depending tensors, "
        f"'{gap}', is not connected"
    )
    if is_made:
        path = _mapping(config, "output_map", gap)[: len(_STEPS) + 1]
        fix = f"produce '{gap}' in a step whose inputs do not depend on it"
        return Problem(Rule.TENSOR_CYCLE, text, path, fix)
    fix = f"add {gap} to an output_map, or declare it as an input"
    return Problem(Rule.TENSOR_NOT_PRODUCED, text, _mapping(config, "input_map", gap), fix)


def _mapping(config: model_config_pb2.ModelConfig, map_name: str, tensor: str) -> FieldPath:
    """Return where a step first uses (`input_map`) or produces (`output_map`) an ensemble tensor."""
    for index, step in enumerate(config.ensemble_scheduling.step):
        for key, value in getattr(step, map_name).items():
            if value == tensor:
                return (*_STEPS, index, map_name, Named(key, "key"))
    return _SCHEDULING


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
    """Trace `tensor` back and return the tensor that no step produces, or that depends on itself."""
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
    """What one model declares about an ensemble tensor."""

    model: str
    data_type: int
    dims: tuple[int, ...]
    batching: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (-1, *self.dims) if self.batching else self.dims


class _Fit:
    """Compares every declaration of an ensemble tensor with the first one."""

    def __init__(self, config: model_config_pb2.ModelConfig) -> None:
        self._config = config
        self._label = f"in ensemble {config.name}"
        self._known: dict[str, _Declared] = {}
        for tensor in (*config.input, *config.output):
            self._known.setdefault(tensor.name, _declared(config, config.name, tensor))

    def step_problems(self, index: int, step: Any, model: model_config_pb2.ModelConfig) -> Iterator[Problem]:
        """Yield where one step and its model disagree with the ensemble or with an earlier step."""
        if 0 < model.max_batch_size < self._config.max_batch_size:
            yield self._batch_size(step.model_name, model.max_batch_size)
        inputs = {tensor.name: tensor for tensor in model.input}
        outputs = {tensor.name: tensor for tensor in model.output}
        path = (*_STEPS, index)
        for key, tensor in sorted(step.input_map.items()):
            entry = (*path, "input_map", Named(key, "key"))
            if key in inputs:
                yield from self._tensor_problems(tensor, _declared(model, step.model_name, inputs[key]), entry)
            else:
                text = f"{self._label}, ensemble tensor {tensor} is mapping to non-existing input {key} in model "
                rule = Rule.TOKENIZER_INPUT_UNKNOWN if key in TOKENIZER_TENSORS else Rule.STEP_INPUT_UNKNOWN
                yield Problem(rule, f"{text}{step.model_name}", entry, f"remove {key} from the input_map")
        for key, declared in inputs.items():
            if key not in step.input_map and not declared.optional:
                yield self._unmapped(key, step.model_name, (*path, "input_map"))
        for key, tensor in sorted(step.output_map.items()):
            entry = (*path, "output_map", Named(key, "key"))
            if key in outputs:
                yield from self._tensor_problems(tensor, _declared(model, step.model_name, outputs[key]), entry)
            else:
                text = f"{self._label}, ensemble tensor {tensor} is mapped from non-existing output {key} in model "
                fix = f"use the name of an output of {step.model_name}"
                yield Problem(Rule.STEP_OUTPUT_UNKNOWN, f"{text}{step.model_name}", entry, fix)

    def _batch_size(self, model: str, size: int) -> Problem:
        text = (
            f"ensemble {self._config.name} allows maximum batch size {self._config.max_batch_size}, but it contains "
            f"model {model} which only allows maximum batch size to be {size}"
        )
        fix = f"write max_batch_size: {size}, or raise that of {model}"
        return Problem(Rule.ENSEMBLE_BATCH_SIZE, text, ("max_batch_size",), fix)

    def _unmapped(self, key: str, model: str, path: FieldPath) -> Problem:
        rule = Rule.TOKENIZER_INPUT_MISSING if key in TOKENIZER_TENSORS else Rule.STEP_INPUT_UNMAPPED
        text = f"{self._label}, input {key} in model {model} is not mapped to any ensemble tensors"
        return Problem(
            rule, text, path, f"map {key} of {model} to an input of the ensemble or an output of another step"
        )

    def _tensor_problems(self, tensor: str, found: _Declared, path: FieldPath) -> Iterator[Problem]:
        first = self._known.setdefault(tensor, found)
        label = f"{self._label}, ensemble tensor {tensor}: inconsistent"
        if first.data_type != found.data_type:
            text = (
                f"{label} data type: {_datatype(first)} is inferred from model {first.model} "
                f"while {_datatype(found)} is inferred from model {found.model}"
            )
            yield Problem(Rule.STEP_DATATYPE_MISMATCH, text, path, "use the same data_type in both")
        elif not _match(first.dims, found.dims) and not _match(first.shape, found.shape):
            text = (
                f"{label} shape: {_shape_text(first.dims)} is inferred from model {first.model} "
                f"while {_shape_text(found.dims)} is inferred from model {found.model}"
            )
            yield Problem(Rule.STEP_DIMS_MISMATCH, text, path, "use the same dims in both")


def _declared(config: model_config_pb2.ModelConfig, model: str, tensor: Any) -> _Declared:
    return _Declared(model, tensor.data_type, tuple(tensor.dims), config.max_batch_size > 0)


def _match(first: Sequence[int], second: Sequence[int]) -> bool:
    """Return whether shapes can be equal; variable sizes are checked at run time."""
    return len(first) == len(second) and all(
        one == other or -1 in (one, other) for one, other in zip(first, second, strict=True)
    )


def _datatype(declared: _Declared) -> str:
    known = model_config_pb2.DataType.DESCRIPTOR.values_by_number.get(declared.data_type)
    return str(declared.data_type) if known is None else known.name


def _shape_text(dims: Sequence[int]) -> str:
    return f"[{','.join(map(str, dims))}]"
