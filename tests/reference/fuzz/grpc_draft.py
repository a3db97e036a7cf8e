"""gRPC inference requests of a model, and the changes that a fuzz makes to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from random import Random

from tritonclient.grpc import service_pb2 as pb

from tests.reference.fuzz.signatures import Signature
from tests.reference.fuzz.values import IDS, NAMES, SIZES, TEXTS, number, raw
from tests.reference.grpc_cases import FIELDS, GrpcCase
from tests.reference.models import TYPES


@dataclass(slots=True)
class GrpcDraft:
    """The requests of one unary call or of one stream, to one model."""

    requests: list[pb.ModelInferRequest]
    signature: Signature
    stream: bool

    def finish(self, name: str) -> GrpcCase:
        """Return the call to make."""
        if self.stream:
            return GrpcCase(name, "ModelStreamInfer", tuple(self.requests))
        return GrpcCase(name, "ModelInfer", self.requests[0])


GrpcChange = Callable[[GrpcDraft, Random], None]


def draft_unary(rng: Random, signatures: tuple[Signature, ...]) -> GrpcDraft:
    """Return a valid ModelInfer call."""
    model = rng.choice(signatures)
    return GrpcDraft([_request(model, rng)], model, stream=False)


def draft_stream(rng: Random, signatures: tuple[Signature, ...]) -> GrpcDraft:
    """Return a valid ModelStreamInfer call of up to three requests."""
    model = rng.choice(signatures)
    return GrpcDraft([_request(model, rng) for _ in range(rng.randint(1, 3))], model, stream=True)


def _request(model: Signature, rng: Random) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model.name)
    message.id = rng.choice(("", "", *IDS))
    message.model_version = rng.choice(("", "", "", "1"))
    rows = [rng.randint(1, min(3, model.max_batch_size))] if model.max_batch_size else []
    given = [each for each in model.inputs if not each.optional or rng.random() < 0.5]
    typed = rng.random() < 0.4 and all(each.datatype in FIELDS for each in given)
    for tensor in given:
        shape = rows + tensor.shape(rng)
        values = [number(tensor.name, tensor.datatype, rng) for _ in range(prod(shape))]
        entry = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        if typed:
            content = [value.encode() for value in values] if tensor.datatype == "BYTES" else values
            getattr(entry.contents, FIELDS[tensor.datatype]).extend(content)
        else:
            message.raw_input_contents.append(raw(tensor.datatype, values))
    if rng.random() < 0.4:
        for tensor in rng.sample(model.outputs, rng.randint(1, len(model.outputs))):
            output = message.outputs.add(name=tensor.name)
            if tensor.datatype != "BYTES" and rng.random() < 0.2:  # the reference server dies of classified strings
                output.parameters["classification"].int64_param = rng.randint(1, 5)
    if rng.random() < 0.2:
        message.parameters["triton_enable_empty_final_response"].bool_param = rng.random() < 0.7
    return message


def odd_parameter(rng: Random) -> pb.InferParameter:
    """Return a parameter of any type and value."""
    return rng.choice(
        (
            pb.InferParameter,
            lambda: pb.InferParameter(bool_param=rng.random() < 0.5),
            lambda: pb.InferParameter(int64_param=rng.choice((0, 1, 2, 5, -1, 16, 2**31, 2**32, 2**63 - 1, -(2**63)))),
            lambda: pb.InferParameter(uint64_param=rng.choice((0, 1, 2, 2**32, 2**64 - 1))),
            lambda: pb.InferParameter(string_param=rng.choice((*TEXTS, "x" * 129, "東" * 43))),
            lambda: pb.InferParameter(double_param=rng.choice((0.0, 1.5, float("nan"), float("inf"), 1e300))),
        )
    )()


def _any(draft: GrpcDraft, rng: Random) -> pb.ModelInferRequest:
    return rng.choice(draft.requests)


def model(draft: GrpcDraft, rng: Random) -> None:
    """Ask for another model or version."""
    message = _any(draft, rng)
    if rng.random() < 0.4:
        message.model_name = rng.choice(("", "nosuch", "PAIR", "grüße", "a/b", " "))
    else:
        message.model_version = rng.choice(
            ("0", "01", "2", "3", "9", "-1", "+1", "1.0", " 1", "1 ", "x", "1x", "9" * 30)
        )


def tensor_field(draft: GrpcDraft, rng: Random) -> None:
    """Change the name or datatype of an input."""
    message = _any(draft, rng)
    if not message.inputs:
        return
    entry = rng.choice(message.inputs)
    if rng.random() < 0.5:
        known = [each.name for each in (*draft.signature.inputs, *draft.signature.outputs)]
        entry.name = rng.choice((*NAMES, *known))
    else:
        entry.datatype = rng.choice((*TYPES, "BF16", "FP33", "fp32", ""))


def shape(draft: GrpcDraft, rng: Random) -> None:
    """Change, add or drop a dimension."""
    message = _any(draft, rng)
    if not message.inputs:
        return
    target = rng.choice(message.inputs).shape
    size = rng.choice([each for each in SIZES if each < 2**63])
    match rng.randrange(4):
        case 0:
            target.insert(rng.randint(0, len(target)), size)
        case 1 if target:
            del target[rng.randrange(len(target))]
        case _ if target:
            target[rng.randrange(len(target))] = size


def contents(draft: GrpcDraft, rng: Random) -> None:
    """Add, remove or damage tensor data, raw or typed."""
    message = _any(draft, rng)
    raws = message.raw_input_contents
    match rng.randrange(6):
        case 0 if raws:
            del raws[rng.randrange(len(raws))]
        case 1:
            raws.append(rng.choice((b"", b"\0\0\0\0", b"\xff\xff\xff\x7fa", b"\1\0\0\0a")))
        case 2 if raws:
            place = rng.randrange(len(raws))
            at = rng.randrange(len(raws[place]) + 1)
            raws[place] = rng.choice((raws[place][:at], raws[place] + b"\0", raws[place] * 2, b""))
        case 3 if message.inputs:
            rng.choice(message.inputs).contents.Clear()
        case _ if message.inputs:
            entry = rng.choice(message.inputs)
            field = rng.choice(sorted(set(FIELDS.values())))
            value = {"bytes_contents": b"x", "bool_contents": True}.get(field, 1)
            getattr(entry.contents, field).append(value)


def entries(draft: GrpcDraft, rng: Random) -> None:
    """Repeat, remove or reorder inputs and outputs."""
    message = _any(draft, rng)
    target = rng.choice((message.inputs, message.inputs, message.outputs))
    if not target:
        return
    match rng.randrange(3):
        case 0:
            target.add().CopyFrom(rng.choice(target))
        case 1:
            del target[rng.randrange(len(target))]
        case _:
            target.reverse()


def outputs(draft: GrpcDraft, rng: Random) -> None:
    """Request an output, known or not, with any parameters."""
    message = _any(draft, rng)
    tensor = rng.choice(draft.signature.outputs)
    entry = message.outputs.add(name=rng.choice((tensor.name, tensor.name, tensor.name, *NAMES)))
    keys = ("binary_data", "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "x")
    keys = keys if tensor.datatype == "BYTES" else ("classification", *keys)
    for key in rng.sample(keys, rng.randint(0, 2)):
        entry.parameters[key].CopyFrom(odd_parameter(rng))


def input_parameters(draft: GrpcDraft, rng: Random) -> None:
    """Set parameters of an input."""
    message = _any(draft, rng)
    if not message.inputs:
        return
    entry = rng.choice(message.inputs)
    keys = ("binary_data_size", "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "x")
    for key in rng.sample(keys, rng.randint(1, 2)):
        entry.parameters[key].CopyFrom(odd_parameter(rng))


def request_parameter(draft: GrpcDraft, rng: Random) -> None:
    """Set one parameter of the request: the order in which a server reads several is anybody's."""
    message = _any(draft, rng)
    keys = (
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "binary_data_output",
        "triton_x",
        "triton_enable_empty_final_response",
        "headers",
        "color",
        "",
    )
    message.parameters.clear()
    message.parameters[rng.choice(keys)].CopyFrom(odd_parameter(rng))


def text(draft: GrpcDraft, rng: Random) -> None:
    """Use another id."""
    _any(draft, rng).id = rng.choice((*TEXTS, "\ufeff", "x" * 3000))


CHANGES: tuple[GrpcChange, ...] = (
    model,
    tensor_field,
    tensor_field,
    shape,
    shape,
    contents,
    contents,
    entries,
    outputs,
    outputs,
    input_parameters,
    request_parameter,
    request_parameter,
    text,
)
