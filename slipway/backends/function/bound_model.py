"""A function or class that a program binds as a model: what it is, how it is called, and its configuration.

Everything that can be wrong is refused when it is bound, not when the first request comes. Calls nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypedDict, get_type_hints

from tritonclient.grpc import model_config_pb2

from slipway.backends.function.messages import BatchContext
from slipway.backends.function.tensor_type import (
    Declared,
    TensorType,
    annotated_inputs,
    annotated_outputs,
    named,
    output_names,
)
from slipway.config.normalise import normalise
from slipway.config.parse import parse_config
from slipway.config.validate import validate
from slipway.errors import SlipwayError, invalid, refused
from slipway.nearest import nearest_or_all
from slipway.repository.names import check_model_name

BACKEND: Final = "function"

_CONTEXT: Final = "context"
_OURS: Final = (  # fields of a configuration that arguments of `model` set
    "name platform backend max_batch_size input output dynamic_batching instance_group model_transaction_policy".split()
)
_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ModelKeywords(TypedDict, total=False):
    """How a bound model is served, as keyword arguments; `Server.model` documents the keys."""

    max_batch_size: int
    batching: bool
    max_queue_delay_us: int
    preferred_batch_sizes: Sequence[int]
    instances: int
    stateless: bool
    stream: bool | None
    config: str


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a bound model is served; `Server.model` documents the fields."""

    max_batch_size: int = 0
    batching: bool = True
    max_queue_delay_us: int = 0
    preferred_batch_sizes: Sequence[int] = ()
    instances: int = 1
    stateless: bool = True
    stream: bool | None = None
    config: str = ""


@dataclass(frozen=True, slots=True)
class BoundModel:
    """One version of a model in Python. `target` is a function, a callable object, or a class whose objects are
    callable, one for each instance; `context` is the name of the parameter that gets the `BatchContext`, "" if none."""

    name: str
    version: int
    target: Callable[..., Any]
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    context: str
    is_class: bool
    stream: bool
    stateless: bool
    config: model_config_pb2.ModelConfig


def bind(
    target: Callable[..., Any],
    *,
    name: str,
    version: int,
    inputs: Declared | None,
    outputs: Declared | None,
    settings: ModelSettings,
) -> BoundModel:
    """Return the model that `target` is; raise INVALID_ARG, naming the model, if it cannot be served."""
    name = name or _name_of(target)
    check_model_name(name)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise invalid(f"model '{name}': version {version!r} is not a positive whole number")
    try:
        return _bound(target, name, version, inputs, outputs, settings)
    except SlipwayError as error:
        raise SlipwayError(error.code, f"model '{name}': {error.message}", problems=error.problems) from None


def _bound(
    target: Callable[..., Any],
    name: str,
    version: int,
    inputs: Declared | None,
    outputs: Declared | None,
    settings: ModelSettings,
) -> BoundModel:
    function, parameters = _called(target)
    context = _context_name(function, parameters, inputs)
    free = {key: each for key, each in parameters.items() if key != context}
    plain = {key: _has_default(each) for key, each in free.items() if each.kind not in _VARIABLE}
    stream = _streams(function) if settings.stream is None else settings.stream
    takes = annotated_inputs(function, plain) if inputs is None else named(inputs, tuple(plain), "input")
    gives = annotated_outputs(function, stream=stream) if outputs is None else outputs
    model = BoundModel(
        name,
        version,
        target,
        named(takes, (), "input"),
        named(gives, output_names(len(gives)), "output"),
        context,
        inspect.isclass(target),
        stream,
        settings.stateless,
        model_config_pb2.ModelConfig(),
    )
    if not model.outputs:
        raise invalid("it has no outputs")
    _check_call(model, free)
    _configure(model, settings)
    return model


def _name_of(target: Callable[..., Any]) -> str:
    while isinstance(target, partial):
        target = target.func
    name: str = getattr(target, "__name__", type(target).__name__)
    if name == "<lambda>":
        raise invalid("a lambda has no name for the model: set name=...")
    return name


# How it is called


def _called(target: Callable[..., Any]) -> tuple[Any, dict[str, inspect.Parameter]]:
    """Return the function whose annotations count, and the parameters of a call."""
    if inspect.isclass(target):
        function = getattr(target, "__call__", None)  # noqa: B004  of the class, not whether the class can be called
        if not inspect.isfunction(function):
            raise invalid("the class has no method __call__, which computes a batch")
        _, *parameters = inspect.signature(function).parameters.values()
        return function, {each.name: each for each in parameters}
    if not callable(target):
        raise invalid(f"{target!r} is neither a function nor a class")
    plain = inspect.isroutine(target) or isinstance(target, partial)
    function = target if plain else type(target).__call__
    while isinstance(function, partial):
        function = function.func
    try:
        return function, dict(inspect.signature(target).parameters)
    except ValueError as error:
        raise invalid(f"its parameters are unknown: {error}") from None


def _context_name(function: Any, parameters: dict[str, inspect.Parameter], inputs: Declared | None) -> str:
    """Return the parameter that is annotated as, or called, the context, unless it is an input; "" if there is none."""
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):
        hints = {}
    found = next((name for name in parameters if hints.get(name) is BatchContext), "")
    if found or _CONTEXT not in parameters or parameters[_CONTEXT].kind in _VARIABLE:
        return found
    given = inputs if inputs is not None else ()
    declared = set(given) if isinstance(given, dict) else {getattr(each, "name", "") for each in given}
    return "" if _CONTEXT in declared else _CONTEXT


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


def _streams(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _check_call(model: BoundModel, parameters: dict[str, inspect.Parameter]) -> None:
    """Raise INVALID_ARG unless the function takes every input by its name, and nothing else without a default."""
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    positional = [name for name, each in parameters.items() if each.kind is inspect.Parameter.POSITIONAL_ONLY]
    if positional:
        raise invalid(f"parameter '{positional[0]}' is positional-only, and inputs are passed by name")
    known = {name: each for name, each in parameters.items() if each.kind not in _VARIABLE}
    for tensor in model.inputs:
        if tensor.name not in known:
            if not takes_any:
                hint = nearest_or_all(tensor.name, known) if known else "; it has none"
                raise invalid(f"the function has no parameter '{tensor.name}' for this input{hint}")
        elif tensor.optional and not _has_default(known[tensor.name]):
            raise invalid(f"input '{tensor.name}' is optional, and the parameter has no default")
    inputs = [tensor.name for tensor in model.inputs]
    for name, each in known.items():
        if name not in inputs and not _has_default(each):
            hint = nearest_or_all(name, inputs) if inputs else "; it has none"
            raise invalid(f"parameter '{name}' is not an input{hint}")


# Its configuration


def _configure(model: BoundModel, settings: ModelSettings) -> None:
    """Fill the configuration; raise INVALID_ARG with all problems of it."""
    config = model.config
    _check_numbers(settings)
    config.name, config.backend, config.max_batch_size = model.name, BACKEND, settings.max_batch_size
    for tensor in model.inputs:
        tensor.declare(config.input.add(), batched=settings.max_batch_size > 0)
    for tensor in model.outputs:
        if tensor.optional:
            raise invalid(f"output '{tensor.name}' cannot be optional")
        tensor.declare(config.output.add(), batched=settings.max_batch_size > 0)
    if settings.max_batch_size and settings.batching:
        config.dynamic_batching.max_queue_delay_microseconds = settings.max_queue_delay_us
        config.dynamic_batching.preferred_batch_size.extend(settings.preferred_batch_sizes)
    elif settings.max_queue_delay_us or settings.preferred_batch_sizes:
        raise invalid("max_queue_delay_us and preferred_batch_sizes need max_batch_size and batching")
    config.instance_group.add(count=settings.instances, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    config.model_transaction_policy.decoupled = model.stream
    config.version_policy.all.SetInParent()
    _add(config, settings.config)
    complete = model_config_pb2.ModelConfig()
    complete.CopyFrom(config)
    normalise(complete)
    problems = validate(complete, Path())
    if problems:
        raise refused(*problems)


def _check_numbers(settings: ModelSettings) -> None:
    for name, least in (("max_batch_size", 0), ("max_queue_delay_us", 0), ("instances", 1)):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise invalid(f"{name} is {value!r}, expected a whole number from {least}")


def _add(config: model_config_pb2.ModelConfig, text: str) -> None:
    """Merge fields in the format of config.pbtxt; raise INVALID_ARG for one that an argument sets."""
    further = parse_config(text, "config")
    for field, _ in further.ListFields():
        if field.name in _OURS and not (field.name == "dynamic_batching" and config.HasField("dynamic_batching")):
            raise invalid(f"config sets {field.name}, which is an argument of its own")
    config.MergeFrom(further)
