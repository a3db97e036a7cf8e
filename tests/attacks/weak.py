"""A little KServe v2 server that can be weak in one way at a time, to show that the attack suite notices it.

`python -m tests.attacks.weak [WEAKNESS]` prints its ports and serves until its standard input ends. It knows one model,
`m`, which returns its input of four numbers. Without a weakness it holds the groups that the tests run against it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import sys
import time
import zlib
from collections.abc import Mapping
from typing import Any

WEAK = sys.argv[1] if len(sys.argv) > 1 else ""
HEAD = 64 << 10
BODY = 8 << 20
LINE = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~][ -~\t]*)?")
HOST = re.compile(rb"[A-Za-z0-9.-]+(:[0-9]*)?")
METADATA = {
    "name": "m",
    "inputs": [{"name": "IN", "datatype": "INT64", "shape": [4]}],
    "outputs": [{"name": "OUT", "datatype": "INT64", "shape": [4]}],
}
lock = asyncio.Lock()
remembered: dict[bytes, bytes] = {}
errors = 0


class RefusedError(Exception):
    """A request that is refused with a status; `fatal` ends the connection."""

    def __init__(self, status: int, text: str = "refused", *, fatal: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.fatal = fatal


async def line(reader: asyncio.StreamReader, left: int) -> bytes:
    """Return the next line without its end, of at most `left` bytes."""
    found = b""
    while not found.endswith(b"\n"):
        try:
            found += await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            found += await reader.read(HEAD)
        if len(found) > left and WEAK not in ("endless-head", "endless-trailers"):
            raise RefusedError(431, fatal=True)
        if WEAK in ("endless-head", "endless-trailers"):
            found = found[-2:] if len(found) > left else found
    if not found.endswith(b"\r\n"):
        raise RefusedError(400, fatal=True)
    return found[:-2]


async def headers(reader: asyncio.StreamReader) -> dict[bytes, bytes]:
    """Return headers or trailers by lower-case name."""
    found: dict[bytes, bytes] = {}
    left = HEAD
    while text := await line(reader, left):
        left -= len(text) if not WEAK.startswith("endless") else 0
        match = HEADER.fullmatch(text)
        if match is None:
            if WEAK.startswith("endless"):
                continue
            raise RefusedError(400, fatal=True)
        name = match[1].lower()
        if name in found and name in (b"host", b"content-length", b"transfer-encoding"):
            if WEAK == "first-length":
                continue
            if WEAK != "any-host" or name != b"host":
                raise RefusedError(400, fatal=True)
        if len(found) < 100 or not WEAK.startswith("endless"):
            found[name] = match[2] or b""
    return found


async def body(reader: asyncio.StreamReader, given: dict[bytes, bytes]) -> bytes:
    """Return the body that the headers announce."""
    if b"upgrade" in given and WEAK == "upgrade":
        return b""
    coding, length = given.get(b"transfer-encoding"), given.get(b"content-length")
    if coding is not None:
        if coding != b"chunked" or length is not None:
            raise RefusedError(400, fatal=True)
        return await chunks(reader, given)
    if length is None:
        return b""
    if not length.isdigit():
        raise RefusedError(400, fatal=True)
    if int(length) > BODY and WEAK not in ("patient", "blocking"):
        raise RefusedError(413, fatal=True)
    return await reader.readexactly(int(length))


async def chunks(reader: asyncio.StreamReader, given: dict[bytes, bytes]) -> bytes:
    parts, spent = bytearray(), 0
    while True:
        size = await line(reader, HEAD - spent)
        spent += len(size)
        digits = size.partition(b";")[0]
        if re.fullmatch(rb"[0-9A-Fa-f]{1,8}", digits) is None:
            raise RefusedError(400, fatal=True)
        count = int(digits, 16)
        if count == 0:
            break
        parts += await reader.readexactly(count)
        if await reader.readexactly(2) != b"\r\n":
            raise RefusedError(400, fatal=True)
    trailers = await headers(reader)
    if WEAK == "trailers":
        given |= trailers
    return bytes(parts)


def route(method: str, path: str, given: Mapping[bytes, bytes], data: bytes) -> Any:
    """Return the document that answers a request."""
    if WEAK == "any-method":
        method = "GET" if path in ("/v2", "/v2/health/live", "/v2/models/m") else "POST"
    if WEAK == "tidy":
        path = os.path.normpath(path.replace("%2e", ".")).replace("//", "/")
    if WEAK == "remembers":
        remembered[os.urandom(8)] = os.urandom(16 << 10)
    if WEAK == "files" and ".." in path:
        return {"file": "root:x:0:0:root:/root:/bin/sh"}
    match method, path:
        case "GET", "/v2" | "/v2/health/live":
            return {}
        case "GET", "/v2/models/m":
            return METADATA
        case "POST", "/v2/repository/index" if WEAK != "without-index":
            try:
                json.loads(data)
            except (ValueError, RecursionError):
                raise RefusedError(400) from None
            return [{"name": "m", "state": "READY"}]
        case "POST", "/v2/models/m/infer":
            return infer(given, data)
        case "POST", _ if path.startswith("/v2/repository/models/") and path.endswith("load"):
            return load(path, given)
        case _, "/v2" | "/v2/health/live" | "/v2/models/m" | "/v2/models/m/infer" | "/v2/repository/index":
            raise RefusedError(405)
    raise RefusedError(404)


def load(path: str, given: Mapping[bytes, bytes]) -> Any:
    """Load nothing; say how far the request came."""
    if WEAK == "loads":
        return {}
    host = given.get(b"host", b"").rpartition(b":")[0] or given.get(b"host", b"")
    origin = given.get(b"origin", b"http://127.0.0.1").removeprefix(b"http://").partition(b":")[0]
    site = given.get(b"sec-fetch-site", b"none")
    foreign = origin != b"127.0.0.1" or site not in (b"none", b"same-origin")
    kind = given.get(b"content-type", b"application/json")
    if WEAK != "any-origin" and foreign:
        raise RefusedError(403, "not from here")
    if WEAK != "any-name" and host not in (b"127.0.0.1", b"localhost"):
        raise RefusedError(403, "not my name")
    if WEAK != "any-type" and kind != b"application/json":
        raise RefusedError(415, "JSON only")
    raise RefusedError(400, f"failed to load '{path.split('/')[4]}', no such model")


def infer(given: Mapping[bytes, bytes], data: bytes) -> Any:
    """Return the input as the output."""
    global errors  # noqa: PLW0603
    if WEAK == "blocking" and len(data) > 1 << 20:
        time.sleep(1)
    if given.get(b"content-encoding") == b"gzip":
        data = unpacked(data)
    elif b"content-encoding" in given:
        raise RefusedError(415)
    if b"inference-header-content-length" in given and given[b"inference-header-content-length"] != b"%d" % len(data):
        raise RefusedError(400)
    if WEAK == "trusting":
        return answer([0, 1, 0, 1])
    try:
        document = json.loads(data)
        (entry,) = document["inputs"]
        name, datatype, shape, values = (entry[key] for key in ("name", "datatype", "shape", "data"))
    except RecursionError:
        if WEAK == "recursive":
            os._exit(1)
        raise RefusedError(400) from None
    except (ValueError, TypeError, KeyError):
        if WEAK == "talkative":
            raise RefusedError(400, "Traceback (most recent call last): weak.py") from None
        raise RefusedError(400) from None
    good = [type(value) is int and abs(value) < 2**63 for value in values] if isinstance(values, list) else []
    fits = name == "IN" and datatype == "INT64" and shape == [4] and all(type(size) is int for size in shape)
    wanted = document.get("outputs", [{"name": "OUT"}])
    if not (fits and good == [True] * 4 and wanted == [{"name": "OUT"}] and document.get("parameters", {}) is not None):
        errors += 1
        raise RefusedError(400)
    if WEAK == "random":
        return answer(list(os.urandom(4)))
    return answer([value + (errors if WEAK == "corrupt" else 0) for value in values])


def unpacked(data: bytes) -> bytes:
    """Return what a gzip body contains, up to the limit."""
    if WEAK == "lenient-gzip":
        return zlib.decompressobj(31).decompress(data) or b"{}"
    unpacker = zlib.decompressobj(31)
    try:
        found = unpacker.decompress(data, BODY)
    except zlib.error:
        raise RefusedError(400) from None
    if not unpacker.eof or unpacker.unused_data or not data.startswith(gzip.compress(b"")[:2]):
        raise RefusedError(400)
    return found


def answer(values: list[int]) -> Any:
    return {"model_name": "m", "outputs": [{"name": "OUT", "datatype": "INT64", "shape": [4], "data": values}]}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    try:
        if WEAK == "one-at-a-time":
            async with lock:
                while await exchange(reader, writer):
                    pass
        else:
            while await exchange(reader, writer):
                pass
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def request_line(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Return the method and the target."""
    match = LINE.fullmatch(await line(reader, HEAD))
    if match is None:
        raise RefusedError(400, fatal=True)
    return match[1].decode(), match[2].decode()


def check_host(host: bytes | None) -> None:
    """Refuse a request for nobody."""
    if WEAK != "any-host" and (host is None or HOST.fullmatch(host) is None):
        raise RefusedError(400, fatal=True)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; return whether another may follow."""
    if WEAK == "eager":
        data = await reader.read(HEAD)
        if (count := data.count(b"\r\n\r\n")) > 1:
            writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n" + b"x" * 100 * count)
            return True
        rest = asyncio.StreamReader(limit=HEAD)
        rest.feed_data(data)
        rest.feed_eof()
        reader = rest
    fatal = False
    status, document, given = 200, {}, {}
    try:
        method, path = await request_line(reader)
        given = await headers(reader)
        check_host(given.get(b"host"))
        data = await body(reader, given)
        document = route(method, path, given, data)
    except RefusedError as error:
        status, document, fatal = error.status, {"error": str(error)}, error.fatal
    text = json.dumps(document).encode()
    close = fatal or given.get(b"connection", b"").lower() == b"close"
    lines = [b"HTTP/1.1 %d x" % status, b"Content-Length: %d" % len(text)]
    lines += [b"Connection: close"] if close else []
    lines += [b"Access-Control-Allow-Origin: *"] if WEAK == "cors" else []
    writer.write(b"\r\n".join([*lines, b"", b""]) + text)
    await writer.drain()
    return not close


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=HEAD)
    print(server.sockets[0].getsockname()[1], rpc_port(), flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


def rpc_port() -> int:
    """Serve gRPC if the weakness is one of it; return the port, or 0."""
    if not WEAK.startswith("rpc"):
        return 0
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from tritonclient.grpc import service_pb2

    good = service_pb2.ModelInferResponse(model_name="m", raw_output_contents=[bytes(32)])
    good.outputs.add(name="OUT", datatype="INT64", shape=[4])

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(self.infer)

        def infer(self, payload: bytes, _: Any) -> bytes:
            if WEAK == "rpc-raises":
                made = service_pb2.ModelInferRequest.FromString(payload)
                if len(made.raw_input_contents) != 1 or len(made.raw_input_contents[0]) != 32:
                    raise ValueError(made)
            if WEAK == "rpc-dies" and len(payload) > 1000:
                server.stop(grace=None)
            if WEAK == "rpc-one-thread":
                time.sleep(0.2)
            return good.SerializeToString()

    server = grpc.server(ThreadPoolExecutor(1 if WEAK == "rpc-one-thread" else 4), handlers=[Handler()])
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    globals()["kept"] = server
    return port


if __name__ == "__main__":
    asyncio.run(main())
