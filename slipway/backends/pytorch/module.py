"""A loaded torch module as a function of named arrays, shared by all instances of a version.

The edge to torch: reads the two kinds of file, calls the module, and turns its errors into SlipwayErrors without paths.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.backends.pytorch.archive import TorchFile, kind_of, refuse_pickles
from slipway.backends.pytorch.library import load_program, load_script, one_reader
from slipway.backends.pytorch.naming import argument_order, result_indices
from slipway.backends.pytorch.tensors import Value, to_numpy, to_torch
from slipway.backends.shared.files import unreadable_graph
from slipway.core.signature import ModelSignature
from slipway.errors import FailureReason, SlipwayError, internal, invalid, refused
from slipway.problems import Problem, Rule

_LOG: Final = logging.getLogger("slipway.pytorch")


@dataclass(frozen=True, slots=True)
class Forward:
    """A module's forward(): its argument names, positional ones first; `takes_dict`: it accepts one dict of tensors."""

    call: Any
    arguments: tuple[str, ...]
    keywords: frozenset[str] = frozenset()
    takes_dict: bool = False


def open_module(path: Path, model_name: str) -> Forward:
    """Return the forward() of the file; raise INVALID_ARG or INTERNAL with torch's reason when it cannot be read."""
    kind = kind_of(path, model_name)
    if kind is TorchFile.EXPORTED:
        refuse_pickles(path, model_name)
    try:
        with one_reader():
            return _open_torchscript(path) if kind is TorchFile.TORCHSCRIPT else _open_exported(path)
    except SlipwayError:
        raise
    except Exception as error:  # torch's readers may raise anything
        _LOG.debug("loading %s failed", path, exc_info=True)
        text = cause_of_torch(error).replace(f"{path.parent}/", "")
        raise unreadable_graph(f"failed to load model '{model_name}': {text}") from error


def _open_torchscript(path: Path) -> Forward:
    module = load_script(path)
    if getattr(module, "training", False):  # saved in training mode: dropout would change the answers
        module.eval()
    arguments = [argument for argument in module.forward.schema.arguments if argument.type.kind() != "ClassType"]
    kinds = [argument.type.kind() for argument in arguments]
    if kinds == ["DictType"]:
        return Forward(module, (), takes_dict=True)
    for argument, kind in zip(arguments, kinds, strict=True):
        if kind not in ("TensorType", "ListType"):
            raise unreadable_graph(
                f"An input of type '{argument.type}' was detected in the model. Only a single input of type "
                f"Dict(str, Tensor) or input(s) of type Tensor are supported."
            )
    return Forward(module, tuple(argument.name for argument in arguments))


def _open_exported(path: Path) -> Forward:
    program = load_program(path)
    spec = program.call_spec.in_spec
    if spec is None:
        raise unreadable_graph("the exported program does not describe its inputs")
    positional, keywords = spec.unflatten(range(spec.num_leaves))  # numbers instead of tensors show the structure
    values = (*positional, *keywords.values())
    if len(values) == 1 and isinstance(values[0], dict) and not keywords:
        return Forward(program.module(), tuple(values[0]), takes_dict=True)
    if not all(isinstance(value, int) for value in values):
        raise unreadable_graph(
            "the exported program has nested inputs; export it with one tensor per argument, or with one dict"
        )
    names = program.module_call_graph[0].signature.forward_arg_names or program.graph_signature.user_inputs
    arguments = (*names[: len(positional)], *keywords)
    return Forward(program.module(), arguments, frozenset(keywords))


class TorchModule:
    """Calls forward() on a batch. Thread-safe if the module is: torch modules normally do not change when called."""

    def __init__(self, forward: Forward, signature: ModelSignature, *, inference_mode: bool, optimized: bool) -> None:
        self._forward = forward
        self._inference_mode = inference_mode
        self._optimized = optimized
        self._datatypes = {name: spec.datatype for name, spec in signature.outputs.items()}
        self._results = result_indices(signature.model_name, tuple(signature.outputs))
        added = (target for each in signature.ragged.batch_inputs for target in each.targets)
        inputs = (*signature.inputs, *added)
        if not forward.takes_dict:
            order = argument_order(signature.model_name, inputs, forward.arguments)
            pairs = tuple(zip(order, forward.arguments, strict=True))
            self._positional = [name for name, argument in pairs if argument not in forward.keywords]
            self._keywords = {argument: name for name, argument in pairs if argument in forward.keywords}
        elif forward.arguments and set(inputs) != set(forward.arguments):
            text = (
                f"unable to load model '{signature.model_name}', configuration has inputs {', '.join(inputs)}, model "
                f"expects a dictionary of {', '.join(forward.arguments)}"
            )
            raise refused(Problem(Rule.TENSOR_NOT_IN_GRAPH, text, ("input",), "rename the inputs"))

    def run(self, inputs: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the outputs `names`; raise `SlipwayError` (reason BACKEND) when the module fails."""
        values = {name: to_torch(name, array) for name, array in inputs.items()}
        try:
            with self._mode(), self._optimization():
                results = self._call(values)
        except Exception as error:  # the module's own code may raise anything
            _LOG.debug("execution failed", exc_info=True)
            text = f"PyTorch execute failure: {cause_of_torch(error)}"
            raise internal(text, reason=FailureReason.BACKEND) from error
        return {name: to_numpy(name, self._result(results, name), self._datatypes[name]) for name in names}

    def _call(self, values: dict[str, Value]) -> Mapping[str, Value] | Sequence[Value]:
        if self._forward.takes_dict:
            results = self._forward.call({name: values[name] for name in self._forward.arguments or values})
        else:
            keywords = {argument: values[name] for argument, name in self._keywords.items()}
            results = self._forward.call(*(values[name] for name in self._positional), **keywords)
        if isinstance(results, Mapping | tuple):
            return results
        is_strings = isinstance(results, list) and all(isinstance(element, str) for element in results)
        return results if isinstance(results, list) and not is_strings else (results,)

    def _result(self, results: Mapping[str, Value] | Sequence[Value], name: str) -> Value:
        if isinstance(results, Mapping):
            if name in results:
                return results[name]
            results = tuple(results.values())
        index = self._results[name]
        if index >= len(results):
            raise invalid(
                f"The output {name} in the model configuration refers to an output index which doesn't exist. This "
                f"model has {len(results)} outputs"
            )
        return results[index]

    def _mode(self) -> AbstractContextManager[Any]:
        import torch

        return torch.inference_mode() if self._inference_mode else torch.no_grad()

    def _optimization(self) -> AbstractContextManager[Any]:
        import torch

        if self._optimized:
            return nullcontext()
        return torch.jit.optimized_execution(False)  # type: ignore[attr-defined]


def cause_of_torch(error: BaseException) -> str:
    """Return the reason in an error of torch. TorchScript puts a traceback with code and files before it; other errors
    begin with it and continue with advice on debugging torch."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if any("TorchScript" in line or line.startswith("Traceback") for line in lines[:-1]):
        return lines[-1].removeprefix("RuntimeError: ")
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0].removeprefix("RuntimeError: ")
