"""Compare a configuration's inputs and outputs with those that a LightSeq model really has.

LightSeq's own example configurations declare outputs with the wrong type or rank (Bert's float states as TYPE_INT32
[-1]), and LightSeq sends the bytes unchecked. Here wrong outputs are corrected, with a warning, so that the metadata is
true; wrong inputs are refused, since the right ones cannot be guessed. Reads no model file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.lightseq.model_types import DeclaredTensor, LightSeqInterface
from slipway.errors import invalid

_LOG: Final = logging.getLogger("slipway.lightseq")
_ID_TYPES = (model_config_pb2.TYPE_INT32, model_config_pb2.TYPE_INT64)


def complete_interface(
    config: model_config_pb2.ModelConfig, interface: LightSeqInterface, default_batch_size: int
) -> None:
    """Complete `config` in place: fill in missing tensors, correct outputs, let requests of different lengths merge.

    Raise INVALID_ARG with every input and output that the model does not have.
    """
    if not config.input and config.max_batch_size == 0:
        config.max_batch_size = max(default_batch_size, 0)
    batched = config.max_batch_size > 0
    if not config.input:
        _add(config.input, interface.input, batched=batched)
    if not config.output:
        for output in interface.outputs:
            _add(config.output, output, batched=batched)
    check_interface(config, interface)
    for tensor, output, difference in _differences(config, interface):
        _LOG.warning("model '%s': %s; corrected", config.name, difference)
        _correct(tensor, output, batched=batched)
    config.input[0].allow_ragged_batch = len(config.input[0].dims) == 1
    if config.max_batch_size > 1 and config.WhichOneof("scheduling_choice") is None:
        config.dynamic_batching.SetInParent()


def check_interface(config: model_config_pb2.ModelConfig, interface: LightSeqInterface) -> None:
    """Raise INVALID_ARG with every declared input and output that the model does not have."""
    wanted, outputs = interface.input, [output.name for output in interface.outputs]
    problems = [
        f"the model does not have an input '{tensor.name}', only '{wanted.name}'"
        for tensor in config.input
        if tensor.name != wanted.name
    ]
    if not any(tensor.name == wanted.name for tensor in config.input):
        problems.append(f"input '{wanted.name}' is not declared")
    problems += [
        f"input '{tensor.name}' is declared as {_type_name(tensor)}, expected {wanted.datatype}"
        for tensor in config.input
        if tensor.name == wanted.name and tensor.data_type not in _accepted(wanted)
    ]
    problems += [
        f"the model does not have an output '{tensor.name}', only {', '.join(outputs)}"
        for tensor in config.output
        if tensor.name not in outputs
    ]
    if problems:
        raise invalid(f"unable to load model '{config.name}': {'; '.join(problems)}")


def warn_of_differences(config: model_config_pb2.ModelConfig, interface: LightSeqInterface) -> None:
    """Log every output that is declared wrongly, for a server whose auto-completion, which corrects them, is off."""
    for _, _, difference in _differences(config, interface):
        _LOG.warning("model '%s': %s; the metadata keeps the declaration", config.name, difference)


def _differences(
    config: model_config_pb2.ModelConfig, interface: LightSeqInterface
) -> Iterator[tuple[Any, DeclaredTensor, str]]:
    """Yield each output that is declared wrongly, with the tensor that is really sent and the difference in words."""
    real = {output.name: output for output in interface.outputs}
    for tensor in config.output:
        output = real.get(tensor.name)
        if output is None:
            continue
        dims = _dims(output, batched=config.max_batch_size > 0)
        if _type_name(tensor) != output.datatype or len(tensor.dims) != len(dims):
            declared = f"{_type_name(tensor)} {list(tensor.dims)}"
            sent = f"{output.datatype} {dims}"
            yield tensor, output, f"output '{tensor.name}' is declared as {declared} but is {sent}"


def _correct(tensor: Any, output: DeclaredTensor, *, batched: bool) -> None:
    tensor.data_type = model_config_pb2.DataType.Value(output.datatype)
    dims = _dims(output, batched=batched)
    if len(tensor.dims) != len(dims):
        tensor.ClearField("reshape")
        tensor.dims[:] = dims


def _add(tensors: Any, declared: DeclaredTensor, *, batched: bool) -> None:
    tensor = tensors.add(name=declared.name)
    _correct(tensor, declared, batched=batched)


def _dims(declared: DeclaredTensor, *, batched: bool) -> list[int]:
    """Return the dims of a declaration; one number per row becomes [ 1 ], since config.pbtxt cannot have empty dims."""
    return [-1] * (declared.rank - batched) or [1]


def _accepted(declared: DeclaredTensor) -> tuple[Any, ...]:
    return _ID_TYPES if declared.datatype == "TYPE_INT32" else (model_config_pb2.DataType.Value(declared.datatype),)


def _type_name(tensor: Any) -> str:
    return str(model_config_pb2.DataType.Name(tensor.data_type))
