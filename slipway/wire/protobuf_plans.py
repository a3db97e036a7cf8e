"""Decode a ModelInferRequest like one before it, from which it differs in its id, parameters and bytes alone.

A client of one model sends the same descriptions of tensors each time, and the requests of a sequence the same
parameters. Both are remembered by their exact bytes, and a message like that is cut instead of parsed.

Why a cut message means the same: protobuf reads a message of two parts as it reads the parts, one after the other. What
is behind the cut is what was parsed before, apart from the contents of tensors; what is before it is a name, a version,
an id and parameters, in this order. A message in another order, or with contents elsewhere, is parsed as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from slipway.core.request import InferRequest, Parameter, RequestForm
from slipway.core.tensor import Raw, Tensor
from slipway.core.version import requested_version
from slipway.errors import SlipwayError
from slipway.regions.registry import Regions
from slipway.regions.request import PlacedRequest
from slipway.wire.protobuf_request import DecodedRequest, ReadRequest, decode_request, parse_request, take_parameters
from slipway.wire.protobuf_split import fields

_NAME, _VERSION, _ID, _PARAMETER, _INPUT, _OUTPUT, _RAW = ((number << 3) | 2 for number in range(1, 8))
_MAX_SIZE: Final = 32 << 10  # bytes of a message; the contents of larger ones become views, which costs as much
_MAX_DESCRIPTION: Final = 1024
_MAX_PARAMETERS: Final = 256
_MAX_REMEMBERED: Final = 128
_MAX_LAYOUTS: Final = 8
_LONG: Final = 0x80  # a length of more than one byte begins with this bit


class _Layout(NamedTuple):
    """Where tensor contents are in the part of a message that begins with its inputs: `size` bytes up to its end."""

    size: int
    contents: tuple[tuple[int, int], ...]  # begin and end, counted from the begin of the part

    def description(self, payload: bytes, begin: int) -> bytes:
        """Return the part that begins at `begin`, without the contents."""
        at, pieces = begin, []
        for start, stop in self.contents:
            pieces.append(payload[at : begin + start])
            at = begin + stop
        if at < len(payload):
            pieces.append(payload[at:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a description says: names, datatypes and shapes of the inputs, and what is requested."""

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[str, ...]
    classes: dict[str, int]
    form: RequestForm | None  # None with strings, whose bytes have to be checked each time


class _Parameters(NamedTuple):
    """What the parameters of a message say."""

    parameters: dict[str, Parameter]
    priority: int
    timeout_us: int
    correlation_id: int | str
    flags: int
    empty_final: bool


class ParsedRequest:
    """A message that was parsed as a whole. Like a `ReadRequest`, but decoded only when asked."""

    __slots__ = ("_message", "_payload", "_plans", "_raws", "id", "model_name", "model_version")

    def __init__(self, plans: RequestPlans, payload: bytes) -> None:
        message, self._raws = parse_request(payload)
        self._plans = plans
        self._payload = payload
        self._message = message
        self.model_name: str = message.model_name
        self.model_version: str = message.model_version
        self.id: str = message.id

    def decode(self, regions: Regions) -> DecodedRequest:
        """Return the request; raise `SlipwayError` if it is invalid."""
        decoded = decode_request(self._message, self._raws, regions)
        self._plans.remember(self._payload, decoded)
        return decoded


class RequestPlans:
    """Reads the messages of one client or several, on one thread."""

    def __init__(self) -> None:
        self._plans: dict[_Layout, dict[bytes, _Plan]] = {}  # by their description
        self._parameters: dict[bytes, _Parameters] = {}

    def parse(self, payload: bytes) -> ReadRequest | ParsedRequest:
        """Return what a message contains; raise `SlipwayError` (INTERNAL) if it cannot be parsed."""
        size = len(payload)
        for layout, plans in self._plans.items():
            begin = size - layout.size
            if begin < 0:
                continue
            plan = plans.get(layout.description(payload, begin))
            if plan is not None:
                read = self._cut(payload, begin, plan, layout)
                if read is not None:
                    return read
                break
        return ParsedRequest(self, payload)

    def remember(self, payload: bytes, decoded: DecodedRequest) -> None:
        """Remember what a message with `decoded` in it describes, if it is one of those that can be cut."""
        request = decoded.request
        if len(payload) > _MAX_SIZE or isinstance(request, PlacedRequest):
            return
        layout = _layout(payload)
        if layout is None or len(layout.contents) != len(request.inputs):
            return  # the contents of an input are in its description
        description = layout.description(payload, len(payload) - layout.size)
        if len(description) > _MAX_DESCRIPTION:
            return
        if layout not in self._plans and len(self._plans) >= _MAX_LAYOUTS:
            self._plans.clear()
        plans = self._plans.setdefault(layout, {})
        if len(plans) >= _MAX_REMEMBERED:
            plans.clear()
        inputs = tuple((tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs.values())
        form = None if any(datatype == "BYTES" for _, datatype, _ in inputs) else RequestForm()
        plans[description] = _Plan(inputs, request.outputs, decoded.classes, form)

    def _cut(self, payload: bytes, begin: int, plan: _Plan, layout: _Layout) -> ReadRequest | None:
        """Return the request in a message whose inputs begin at `begin`; None if what is before them is unusual."""
        try:
            at, name = _text(payload, 0, begin, _NAME)
            at, version = _text(payload, at, begin, _VERSION)
            at, identifier = _text(payload, at, begin, _ID)
            canonical = requested_version(version)
        except (IndexError, UnicodeDecodeError, SlipwayError):
            return None
        inputs = {}
        for (tensor_name, datatype, shape), (start, stop) in zip(plan.inputs, layout.contents, strict=True):
            raw: Raw = payload[begin + start : begin + stop]
            inputs[tensor_name] = Tensor(tensor_name, datatype, shape, raw=raw)
        request = InferRequest(name, canonical, identifier, inputs, plan.outputs)
        request.form = plan.form
        decoded = DecodedRequest(request, plan.classes)
        if at < begin:
            text = payload[at:begin]
            given = self._parameters.get(text) or self._read_parameters(text)
            if given is None:
                return None
            if given.parameters:
                request.parameters.update(given.parameters)
            request.priority = given.priority
            request.timeout_us = given.timeout_us
            request.correlation_id = given.correlation_id
            request.flags = given.flags
            decoded.empty_final = given.empty_final
        return ReadRequest(name, version, identifier, decoded)

    def _read_parameters(self, text: bytes) -> _Parameters | None:
        """Return what parameters say and remember it; None if they are unusual."""
        if len(text) > _MAX_PARAMETERS:
            return None
        decoded = DecodedRequest(InferRequest(""))
        try:
            if any(tag != _PARAMETER for tag, *_ in fields(text, 0, len(text))):
                return None
            take_parameters(decoded, service_pb2.ModelInferRequest.FromString(text))
        except (DecodeError, SlipwayError, ValueError, IndexError, KeyError):
            return None
        request = decoded.request
        if request.explanation is not None:
            return None
        given = _Parameters(
            request.parameters,
            request.priority,
            request.timeout_us,
            request.correlation_id,
            request.flags,
            decoded.empty_final,
        )
        if len(self._parameters) >= _MAX_REMEMBERED:
            self._parameters.clear()
        self._parameters[text] = given
        return given


def _text(payload: bytes, at: int, end: int, tag: int) -> tuple[int, str]:
    """Return where the short text at `at` ends, and the text; "" if this is not its tag. Raise IndexError if it does
    not end before `end`."""
    if at >= end or payload[at] != tag:
        return at, ""
    size = payload[at + 1]
    stop = at + 2 + size
    if size >= _LONG or stop > end:
        raise IndexError
    return stop, payload[at + 2 : stop].decode()


def _layout(payload: bytes) -> _Layout | None:
    """Return the layout of a message whose fields are in the order of their numbers; None for any other."""
    begin, last = len(payload), 0
    contents: list[tuple[int, int]] = []
    try:
        for tag, start, value, stop in fields(payload, 0, len(payload)):
            if not last <= tag <= _RAW:
                return None
            last = tag
            if tag >= _INPUT:
                begin = min(begin, start)
            if tag == _RAW:
                contents.append((value - begin, stop - begin))
    except (ValueError, IndexError, KeyError):
        return None
    return _Layout(len(payload) - begin, tuple(contents)) if contents else None
