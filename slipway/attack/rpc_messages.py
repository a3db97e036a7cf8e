"""Groups about gRPC messages: contents, shapes, encodings and metadata that lie or never end."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from slipway.attack import http2, http2_call
from slipway.attack.bounds import MIB
from slipway.attack.compressed import packed
from slipway.attack.group import AttackGroup, AttackRun, Need
from slipway.attack.json_corpus import LYING_STRINGS
from slipway.attack.models import KnownModel
from slipway.attack.names import NOTHING
from slipway.attack.rpc_client import RpcReply, message, rpc_client

_BLOCK: Final = 16 * MIB
_BLOCKS: Final = 32
_MANY: Final = 1_000_000
_VERSIONS: Final = 100
_LONG_VERSION: Final = 1 * MIB
# What a server or library may say to a message that it does not take. UNKNOWN is an exception that nobody expected.
_IGNORED: Final = ("too many", "a million more")  # which Triton ignores
_NOT_REFUSALS: Final = ("OK", "UNKNOWN", "DEADLINE_EXCEEDED")


@dataclass(frozen=True, slots=True)
class AttackCall:
    """One call. If `refuse`, only an error is right; otherwise any end is, in time."""

    payload: bytes
    method: str = http2.INFER
    metadata: tuple[tuple[str, str], ...] = ()
    compress: bool = False
    refuse: bool = True


async def _call(run: AttackRun, cases: Mapping[str, AttackCall], at_once: int = 8) -> None:
    async with rpc_client(run) as client:

        async def attempt(case: AttackCall) -> str:
            reply = await client.call(case.payload, method=case.method, metadata=case.metadata, compress=case.compress)
            return _wrong(reply, case.refuse)

        await run.each(cases.items(), attempt, at_once)


def _wrong(reply: RpcReply, refuse: bool) -> str:
    if refuse and reply.status == "OK":
        return "accepted"
    if reply.status in _NOT_REFUSALS and reply.status != "OK":
        return f"{reply.status}: {reply.text[:100]}"
    leaked = [word for word in ("Traceback (most recent call", "site-packages", "/root/") if word in reply.text]
    return f"the error reveals '{leaked[0]}'" if leaked else ""


async def _contents(run: AttackRun) -> None:
    model = run.models.good
    raws = [each.raw for each in model.inputs]
    others = raws[1:]
    both = message(model)
    both.inputs[0].contents.int64_contents.append(1)
    none = message(model)
    del none.raw_input_contents[:]
    wrong_kind = message(model)
    del wrong_kind.raw_input_contents[:]
    for each in wrong_kind.inputs:
        each.contents.bool_contents.extend([True] * 3)
        each.contents.bytes_contents.extend([b"x"] * 5)
    cases = {
        "too few": message(model, *raws[:-1]) if others else none,
        "too many": message(model, *raws, b""),
        "a million more": message(model, *raws, *[b""] * _MANY),
        "a byte too few": message(model, raws[0][:-1], *others),
        "a byte too many": message(model, raws[0] + b"\0", *others),
        "raw and typed": both,
        "neither": none,
        "typed of two other kinds": wrong_kind,
    }
    calls = {name: AttackCall(made.SerializeToString()) for name, made in cases.items()}
    for name in _IGNORED:
        calls[name] = replace(calls[name], refuse=False)
    await _call(run, calls)


async def _shapes(run: AttackRun) -> None:
    model = run.models.good
    shapes = ([2**62, 4], [2**40, 2**40], [-1, 2], [2**63 - 1] * 8, [1] * 100_000, [0, 0], [-(2**63), 1])
    cases = {f"shape {str(shape)[:30]}": _changed(model, shape=shape) for shape in shapes}
    cases |= {f"datatype '{name}'": _changed(model, datatype=name) for name in ("INT65", "", "fp32", "X" * 100_000)}
    cases |= {
        "an unknown input": _changed(model, name="slipway-attack"),
        "an unknown model": message(model, model_name=NOTHING),
        "an unknown version": message(model, model_version="77777777"),
        "a version that is not a number": message(model, model_version="../1"),
    }
    cases["no inputs"] = message(model)
    del cases["no inputs"].inputs[:]
    twice = message(model)
    twice.inputs.append(twice.inputs[0])
    cases["an input twice"] = twice
    await _call(run, {name: AttackCall(made.SerializeToString()) for name, made in cases.items()})


def _changed(model: KnownModel, shape: list[int] | None = None, **fields: Any) -> Any:
    made = message(model)
    for name, value in fields.items():
        setattr(made.inputs[0], name, value)
    if shape is not None:
        del made.inputs[0].shape[:]
        made.inputs[0].shape.extend(shape)
    return made


async def _encodings(run: AttackRun) -> None:
    good = message(run.models.good).SerializeToString()
    deep = b"\x0a" * 3
    for _ in range(2000):
        deep = b"\x2a" + _varint(len(deep)) + deep  # a field inside itself
    cases = {
        "random bytes": AttackCall(bytes(range(256)) * 4),
        "cut": AttackCall(good[:-3]),
        "a length beyond the message": AttackCall(b"\x0a\xff\xff\xff\xff\x0f" + good),
        "a varint without an end": AttackCall(b"\x80" * 1000),
        "invalid UTF-8 in a name": AttackCall(b"\x0a\x02\xff\xfe"),
        "an unknown group": AttackCall(b"\x0b" * 10_000),
        "depth": AttackCall(deep),
        "nothing": AttackCall(b""),
        "an unknown method": AttackCall(good, "/inference.GRPCInferenceService/Nothing"),
        "an unknown service": AttackCall(good, "/slipway.Attack/Nothing"),
        "a method that leads out": AttackCall(good, "/inference.GRPCInferenceService/../ModelInfer"),
    }
    await _call(run, cases)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


async def _strings(run: AttackRun) -> None:
    model = run.text
    cases = {}
    for number, (raw, shape) in enumerate(LYING_STRINGS):
        made = _changed(model, shape[2 - min(2, len(model.first.shape)) :])
        del made.raw_input_contents[:]
        made.raw_input_contents.extend([raw, *(each.raw for each in model.inputs[1:])])
        cases[f"{number}: {raw[:8]!r}"] = AttackCall(made.SerializeToString())
    await _call(run, cases)


async def _bombs(run: AttackRun) -> None:
    model = run.models.good
    good = message(model)
    del good.raw_input_contents[:]
    raw = b"\x3a" + _varint(_BLOCKS * _BLOCK)  # the field raw_input_contents
    body = await asyncio.to_thread(packed, "gzip", good.SerializeToString() + raw, bytes(_BLOCK), _BLOCKS)
    block = http2.head(http2.INFER) + http2.literal(b"grpc-encoding", b"gzip")

    async def attempt(sent: bytes) -> str:
        async with run.rpc.connection() as connection:
            return await http2_call.call(connection, block, sent, patience_s=run.bounds.response_s)

    bomb = b"\1" + struct.pack(">I", len(body)) + body
    await run.each(((f"number {number}", bomb) for number in range(2)), attempt, at_once=1)


async def _metadata(run: AttackRun) -> None:
    good = message(run.models.good).SerializeToString()
    cases = {
        "a value of 1 MiB": AttackCall(good, metadata=(("x-filling", "y" * MIB),)),
        "20 000 entries": AttackCall(good, metadata=tuple((f"x-{number}", "y" * 40) for number in range(20_000))),
    }
    await _call(run, cases)


async def _versions(run: AttackRun) -> None:
    model = run.models.good
    cases = {
        f"version {number}": AttackCall(
            message(model, model_name=NOTHING, model_version=f"1{'x' * _LONG_VERSION}{number}").SerializeToString()
        )
        for number in range(_VERSIONS)
    }
    await _call(run, cases, at_once=2)


async def _texts(run: AttackRun) -> None:
    """A status longer than a client's limit for headers arrives as another error, or not at all."""
    model = run.models.good
    long = "n" * 100_000
    cases = {
        "a model": AttackCall(message(model, model_name=long).SerializeToString()),
        "an input": AttackCall(_changed(model, name=long).SerializeToString()),
        "line breaks": AttackCall(message(model, model_name="x\r\n\x1b[31m" * 3000).SerializeToString()),
    }
    async with rpc_client(run) as client:

        async def attempt(case: AttackCall) -> str:
            reply = await client.call(case.payload)
            if reply.status in (*_NOT_REFUSALS, "RESOURCE_EXHAUSTED"):
                return f"{reply.status}: {reply.text[:100]}"
            return f"a text of {len(reply.text)} characters" if len(reply.text) > 8192 else ""

        await run.each(cases.items(), attempt)


async def _large(run: AttackRun) -> None:
    model = run.models.good
    strings = _changed(model, datatype="BYTES", shape=[1, 4 * MIB])
    del strings.raw_input_contents[:]
    strings.raw_input_contents.append(bytes(16 * MIB))
    typed = _changed(model)
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.bytes_contents.extend([b""] * (4 * MIB))
    numbers = _changed(model)
    del numbers.raw_input_contents[:]
    numbers.inputs[0].contents.int64_contents.extend([1] * (8 * MIB))
    parameters = message(model)
    for number in range(100_000):
        parameters.parameters[f"p{number}"].int64_param = number
    cases = {"strings": strings, "typed strings": typed, "typed numbers": numbers, "parameters": parameters}
    calls = {name: AttackCall(made.SerializeToString(), refuse=False) for name, made in cases.items()}
    await _call(run, calls, at_once=1)


GROUPS: Final = (
    AttackGroup(
        56,
        "grpc-contents",
        "raw_input_contents too few, too many, too short, too long, and together with typed contents",
        "KServe v2, gRPC: one raw content per input, of its size, and no typed one",
        "an error that is not UNKNOWN; what is too much may be ignored",
        _contents,
        (Need.GRPC,),
    ),
    AttackGroup(
        57,
        "grpc-shapes",
        "shapes, datatypes, names and versions that lie",
        "as for JSON",
        "an error that is not UNKNOWN",
        _shapes,
        (Need.GRPC,),
        kept_mib=64,
    ),
    AttackGroup(
        58,
        "grpc-strings",
        "BYTES elements whose lengths point beyond the tensor, overflow, or do not match the shape",
        "CWE-125, as for HTTP",
        "an error that is not UNKNOWN",
        _strings,
        (Need.GRPC, Need.STRINGS),
    ),
    AttackGroup(
        59,
        "grpc-encodings",
        "messages that are not protobuf, and methods that do not exist",
        "Protocol Buffers, Encoding; gRPC over HTTP/2",
        "an error that is not UNKNOWN",
        _encodings,
        (Need.GRPC,),
    ),
    AttackGroup(
        60,
        "grpc-bombs",
        "two messages of half a MiB that become 512 MiB",
        "CWE-409: the limit of a message has to count what it is decompressed to",
        "a response or the end of the connection; memory; health checks meanwhile",
        _bombs,
        (Need.GRPC,),
        kept_mib=256,
        peak_mib=384,
    ),
    AttackGroup(
        61,
        "grpc-metadata",
        "metadata of 1 MiB, in one value and in 20 000 entries",
        "gRPC over HTTP/2: the size of headers is limited",
        "an error that is not UNKNOWN",
        _metadata,
        (Need.GRPC,),
        kept_mib=64,
    ),
    AttackGroup(
        62,
        "grpc-versions",
        "a hundred different versions of 1 MiB, of a model that does not exist",
        "a table that a stranger can fill grows for ever",
        "an error that is not UNKNOWN; memory",
        _versions,
        (Need.GRPC,),
        kept_mib=48,
    ),
    AttackGroup(
        63,
        "grpc-texts",
        "names of 100 000 characters and with line breaks, which errors repeat",
        "a status above 8 KiB does not arrive; the client sees another error",
        "the server's own error, of at most 8 KiB",
        _texts,
        (Need.GRPC,),
    ),
    AttackGroup(
        64,
        "grpc-large",
        "messages of up to 16 MiB: strings, typed contents, parameters",
        "one large message must not make the others wait",
        "any response but UNKNOWN; health checks and memory meanwhile",
        _large,
        (Need.GRPC,),
    ),
)
