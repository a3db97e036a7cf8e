"""Targets: what clients send, over HTTP and gRPC, and what a confined child sends to its command."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from slipway.cli.confined.messages import ConfinedLinkError, receive
from slipway.core.check import check_request
from slipway.core.request import InferRequest
from slipway.core.shared_bytes import Body
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.regions.registry import Regions
from slipway.rest.framing import HttpHead, RequestFraming, RequestLimits
from slipway.wire.compression import decompress
from slipway.wire.generate import decode_generate
from slipway.wire.infer_request import decode_infer
from slipway.wire.load_request import read_load
from slipway.wire.protobuf import load_parameters
from slipway.wire.protobuf_load import refuse_large_load
from slipway.wire.protobuf_request import is_large_work, read_request, request_id
from slipway.wire.raw_request import decode_raw
from slipway.wire.registration import read_registration
from tests.fuzz.target import Target

_LARGE: Final = (256 << 10) + 1  # bytes of JSON that are decoded in pieces
_INPUTS: Final = {
    "x": TensorSpec("x", "FP32", (-1,)),
    "ids": TensorSpec("ids", "INT64", (2,), optional=True),
    "text": TensorSpec("text", "BYTES", (1,), optional=True),
    "flag": TensorSpec("flag", "BOOL", (-1, 2), optional=True),
}
SIGNATURE: Final = ModelSignature(
    "m", 4, _INPUTS, {"y": TensorSpec("y", "FP32", (-1,))}, required_inputs=frozenset({"x"})
)
_ONE: Final = ModelSignature("m", 0, {"x": TensorSpec("x", "INT16", (-1, 3))}, {})
_JSON: Final = (
    b'"inputs":', b'"outputs":', b'"shape":', b'"data":', b'"datatype":', b'"name":', b'"parameters":', b'"id":',
    b'"binary_data_size":', b'"binary_data":', b'"classification":', b'"FP32"', b'"BYTES"', b'"BOOL"', b'"INT64"',
    b'"sequence_id":', b'"priority":', b'"timeout":', b"[1,2]", b'"\\ud800"', b'"\\u0000"',
)  # fmt: skip
_LOAD: Final = (b'"config":', b'"file:1/model.py":', b'"parameters":')
_HTTP: Final = (
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Upgrade: h2c\r\n", b"Connection: upgrade\r\n",
    b"Expect: 100-continue\r\n", b"Host: a\r\n", b"\r\n\r\n", b"POST ", b"CONNECT ", b" HTTP/1.1\r\n", b"0\r\n\r\n",
    b"5\r\nhello\r\n", b";x=y", b"http://h/",
)  # fmt: skip


def _use(request: InferRequest) -> None:
    """Do with a request what the server does before a model gets it: check it, decode its tensors."""
    request.count_strings()
    check_request(request, SIGNATURE)
    for tensor in request.inputs.values():
        _ = tensor.array


def _infer(data: bytes) -> None:
    """The first two bytes are the length of the JSON part; all of it if they say more than there is."""
    size = min(int.from_bytes(data[:2], "little"), max(0, len(data) - 2))
    request, _ = decode_infer("m", "", bytearray(data[2:]), size)
    _use(request)


def _infer_json(data: bytes) -> None:
    request, _ = decode_infer("m", "", bytearray(data), len(data))
    _use(request)


def _infer_large(data: bytes) -> None:
    """The input is a part of an array of numbers or strings, repeated until it is decoded in pieces."""
    kind, part = (b"BYTES" if data[:1] == b"s" else b"FP32"), data[1:] or b"0"
    array = b",".join([part] * (_LARGE // len(part) + 1))
    count = b"%d" % (array.count(b",") + 1)
    document = b'{"inputs":[{"name":"x","shape":[%b],"datatype":"%b","data":[%b]}]}' % (count, kind, array)
    _infer_json(document)


def _generate(data: bytes) -> None:
    _use(decode_generate(bytearray(data), "", SIGNATURE))


def _raw(data: bytes) -> None:
    request, _ = decode_raw("", bytearray(data), _ONE)
    for tensor in request.inputs.values():
        _ = tensor.array


def _protobuf(data: bytes) -> None:
    is_large_work(data)
    request_id(data)
    decoded = read_request(data).decoded
    if isinstance(decoded, Exception):
        raise decoded
    _use(decoded.request)


def _protobuf_large(data: bytes) -> None:
    """The message with an input of 300 000 bytes of raw contents behind it."""
    blob = bytes(300_000)
    _protobuf(data + b"\x3a" + b"\xe0\xa7\x12" + blob)


def _protobuf_load(data: bytes) -> None:
    refuse_large_load(data)
    try:
        message = service_pb2.RepositoryModelLoadRequest.FromString(data)
    except DecodeError:  # grpcio answers these itself
        return
    load_parameters(message)


def _region(data: bytes) -> None:
    """Register the region in a directory that does not exist."""
    key, offset, byte_size = read_registration(bytearray(data))
    Regions(allowed=True, directory=Path("absent")).register("r", key, offset, byte_size)


_TOO_LARGE: Final = (431,)


class _Recorder:
    """Receives from a framing and keeps everything. Implements `Receiver`."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []
        self.held = 0

    def may_share(self, target: bytes, headers: Mapping[bytes, bytes]) -> bool:  # noqa: ARG002  bodies are small
        return True

    def request_received(self, head: HttpHead, body: Body) -> None:
        self.seen.append((head.method, head.path, head.headers, head.keep_alive, bytes(body)))

    def hold(self, size: int) -> bool:
        self.held += size
        return self.held < 1 << 20

    def continue_expected(self) -> None:
        pass

    def refused(self, status: int, message: str) -> None:  # noqa: ARG002  texts depend on what the parser saw at once
        self.seen.append((status,))


def _framing(data: bytes) -> None:
    """Feed the bytes whole, and in pieces: both must mean the same requests, up to a refusal. Where exactly a head is
    too large depends on the pieces."""
    whole, pieces = _Recorder(), _Recorder()
    limits = RequestLimits(body=4096, head=2048, headers=32, repeated_headers=4, chunks=64)
    framing = RequestFraming(whole, limits)
    framing.receive(data)
    framing = RequestFraming(pieces, limits)
    for start in range(0, len(data), 7):
        framing.receive(data[start : start + 7])
    for one, other in zip_longest(whole.seen, pieces.seen, fillvalue=()):
        if _TOO_LARGE in (one, other) or len(one) == len(other) == 1:  # both are refused
            return
        if one != other:
            raise AssertionError(f"whole {one}, in pieces {other}")


def _link(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.sendall(data[:4096])
        theirs.shutdown(socket.SHUT_WR)
        try:
            while receive(ours) is not None:
                pass
        except ConfinedLinkError:
            return


WIRE_TARGETS: Final = (
    Target("infer-binary", _infer, _JSON),
    Target("infer-json", _infer_json, _JSON),
    Target("infer-json-large", _infer_large, _JSON, slow=True),
    Target("generate", _generate, _JSON),
    Target("raw", _raw),
    Target(
        "load-json", lambda data: read_load(bytearray(data)), (b'"config":', b'"file:1/model.py":', b'"parameters":')
    ),
    Target("infer-protobuf", _protobuf, (b"x", b"FP32", b"BYTES", b"\x3a", b"\x2a")),
    Target("infer-protobuf-large", _protobuf_large, (b"x", b"FP32", b"BYTES"), slow=True),
    Target("load-protobuf", _protobuf_load, (b"config", b"file:1/model.py")),
    Target("region-json", _region, (b'"key":', b'"offset":', b'"byte_size":', b'"triton_python_backend_shm_region_"')),
    Target("compression", lambda data: decompress(bytearray(data), 1 << 20), (b"\x1f\x8b\x08", b"\x78\x9c")),
    Target("http", _framing, _HTTP),
    Target("confined-link", _link, (b"\xa4type", b"\x01\0\0\0")),
)
