"""HTTP/1.1 as it arrives: in pieces, in floods, broken, slow, and from clients that disconnect."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from itertools import pairwise

import numpy as np
import pytest

from slipway.core.budget import Budget
from slipway.errors import Code, SlipwayError
from slipway.rest.app import build_app
from slipway.rest.connection import HttpConnection, HttpLimits
from slipway.rest.exchange import Exchange
from slipway.rest.listener import HttpListener
from tests.kits.memory_dataplane import MemoryDataplane, echo
from tests.rest.conftest import read_to_end, serve
from tests.rest.models import dataplane

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
BLOB = np.float32([1.0, 2.5]).tobytes()


def infer(model, *headers, close=True):
    """Return an infer request with a binary tensor, and an input that distinguishes responses."""
    entry = {"name": "IN0", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    document = json.dumps({"inputs": [entry], "id": model, "parameters": {"binary_data_output": True}}).encode()
    lines = [
        b"POST /v2/models/%b/infer HTTP/1.1" % model.encode(),
        b"Host: x",
        b"Inference-Header-Content-Length: %d" % len(document),
        *headers,
    ]
    if close:
        lines.append(b"Connection: close")
    return lines, document + BLOB


def with_length(model, **options):
    lines, body = infer(model, **options)
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]) + body


def chunked(model, sizes):
    lines, body = infer(model)
    parts = []
    for size in sizes:
        piece, body = body[:size], body[size:]
        parts.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    parts.append(b"%x\r\n%b\r\n" % (len(body), body))
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + b"".join(parts) + b"0\r\n\r\n"


class Wire:
    """A transport that only records."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_paused = False
        self.unsent = 0

    def write(self, data):
        self.written += bytes(data)

    def write_eof(self):
        self.written += b"<eof>"

    def close(self):
        self.is_closed = True

    abort = close

    def is_closing(self):
        return self.is_closed

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False

    def get_write_buffer_size(self):
        return self.unsent


def connection(limits=None, handler=None):
    """Return a connection on a recording transport, and that transport."""
    wire = Wire()
    made = HttpConnection(handler or build_app(dataplane()), limits or HttpLimits(), set(), Budget(1 << 30))
    made.connection_made(wire)
    return made, wire


def run(test):
    """Run a plain function inside an event loop."""

    async def within():
        test()
        await asyncio.sleep(0)

    asyncio.run(within())


@pytest.mark.parametrize("request_", [with_length("echo"), chunked("echo", [1, 7, 40])], ids=["length", "chunks"])
def test_a_request_may_arrive_in_any_pieces(request_):
    def test():
        whole, expected = connection()
        whole.data_received(request_)
        assert expected.written.endswith(BLOB)
        splits = [
            range(1, len(request_)),
            *(sorted(random.Random(n).sample(range(len(request_)), 5)) for n in range(20)),
        ]
        for split in splits:
            pieces, wire = connection()
            edges = [0, *split, len(request_)]
            for start, end in pairwise(edges):
                pieces.data_received(request_[start:end])
            assert wire.written == expected.written

    run(test)


def test_the_same_head_again_is_answered_the_same():
    def test():
        made, wire = connection()
        for _ in range(3):
            made.data_received(with_length("echo", close=False))
        assert wire.written.count(b"HTTP/1.1 200 OK") == 3
        made.data_received(LIVE)
        made.data_received(with_length("echo", close=False))
        made.data_received(with_length("fail", close=False))
        assert wire.written.count(b"HTTP/1.1 200 OK") == 5
        assert wire.written.endswith(b'{"error":"the model said no"}')

    run(test)


def test_the_same_head_with_another_body_is_another_request():
    def test():
        made, wire = connection()
        request = with_length("echo", close=False)
        made.data_received(request)
        made.data_received(request[:-8] + np.float32([7.0, 8.0]).tobytes())
        assert wire.written.endswith(np.float32([7.0, 8.0]).tobytes())

    run(test)


def test_half_a_request_after_a_whole_one_is_waited_for():
    def test():
        made, wire = connection()
        request = with_length("echo", close=False)
        made.data_received(request)
        made.data_received(request[:50])
        made.data_received(request[50:])
        made.data_received(request + request[:20])
        made.data_received(request[20:])
        assert wire.written.count(b"HTTP/1.1 200 OK") == 4

    run(test)


def test_a_thousand_pipelined_requests_are_answered(served):
    assert served.send(LIVE * 999 + LAST).count(b"HTTP/1.1 200 OK") == 1000


@pytest.mark.parametrize("read", [LIVE * 6000, b"0\r\n\r\n" + LIVE * 6000], ids=["requests", "a-body-and-requests"])
def test_many_requests_at_once_leave_other_connections_their_turns(read):
    async def test():
        made, wire = connection()
        if not read.startswith(LIVE):
            made.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answered = [0]
        made.data_received(read)
        for _ in range(6000 * len(LIVE) // 2048 + 3):
            answered.append(wire.written.count(b"HTTP/1.1 "))
            await asyncio.sleep(0)
        assert max(later - earlier for earlier, later in pairwise(answered)) <= 2048 // len(LIVE) + 2
        assert answered[-1] == 6000 + (not read.startswith(LIVE))

    asyncio.run(test())


def test_many_requests_at_once_of_a_client_that_does_not_read_wait():
    async def test():
        made, wire = connection()
        made.data_received(LIVE * 200)
        made.pause_writing()
        for _ in range(20):
            await asyncio.sleep(0)
        before = wire.written.count(b"HTTP/1.1 ")
        assert before < 200
        made.resume_writing()
        for _ in range(20):
            await asyncio.sleep(0)
        assert wire.written.count(b"HTTP/1.1 ") == 200

    asyncio.run(test())


def test_a_connection_that_is_lost_in_the_middle_of_many_requests_answers_no_more():
    async def test():
        made, wire = connection()
        made.data_received(LIVE * 500)
        made.connection_lost(None)
        before = len(wire.written)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(wire.written) == before

    asyncio.run(test())


def test_pipelined_answers_keep_the_order_of_the_requests(served):
    names = ["later", "echo", "later", "later", "echo", "fail"] * 20
    requests = [with_length(name, close=False) for name in names]
    answers = served.send(b"".join(requests) + LAST).split(b"HTTP/1.1 ")[1:]
    assert len(answers) == len(names) + 1
    for name, answer in zip(names, answers, strict=False):
        assert (b'"id":"%b"' % name.encode() in answer) or (name == "fail" and b"the model said no" in answer)


def test_a_refusal_waits_for_the_answers_before_it(served):
    answers = served.send(with_length("later", close=False) + b"nonsense\r\n\r\n").split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"400"]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: -1",),
        (b"Content-Length: 99999999999999999999999",),
        (b"Content-Length: 1_0",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"X-Nul: a\0b",),
        (b"Bad Header: x",),
        (b": empty",),
        (b"X: y", b" folded"),
    ],
    ids=repr,
)
def test_ambiguous_framing_is_refused_and_nothing_is_smuggled(served, lines):
    raw = served.send(b"\r\n".join([b"POST /v2/models/echo/infer HTTP/1.1", *lines, b"", b""]) + b"0\r\n\r\n" + LIVE)
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("line", [b"GET /v2", b"GET /v2 HTTP/0.9", b"GET /v2 HTTP/2.0"])
def test_other_versions_are_not_spoken(served, line):
    assert served.send(line + b"\r\n\r\n").startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("raw", [b"GET /v2 nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /v2 HTTP/9.9\r\n\r\n"])
def test_what_is_not_http_is_refused(served, raw):
    assert served.send(raw).startswith(b"HTTP/1.1 400 ")


def test_another_protocol_on_offer_is_ignored(served):
    lines = [
        b"GET /v2/health/live HTTP/1.1",
        b"Host: x",
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"",
        b"",
    ]
    assert served.send(b"\r\n".join(lines) + LAST).count(b"HTTP/1.1 200 OK") == 2


def test_connect_is_a_method_like_others(served):
    assert served.send(b"CONNECT /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 405 ")


def test_an_old_client_is_answered_and_let_go(served):
    assert b"Connection: close\r\n" in served.send(b"GET /v2/health/live HTTP/1.0\r\n\r\n")


def test_a_client_that_asks_before_sending_is_told_to_go_on(served):
    lines, body = infer("echo", b"Expect: 100-continue")
    with served.connect() as client:
        client.sendall(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert read_to_end(client).startswith(b"HTTP/1.1 200 OK")


def test_a_body_over_the_limit_is_refused_at_its_announcement(small):
    raw = small.send(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"Request body of 4097 bytes exceeds the maximum allowed input size of 4096 bytes. " in raw
    assert b"Use --http-max-input-size to increase the limit." in raw


def test_a_body_of_exactly_the_limit_is_read(small):
    body = b" " * 4096
    raw = small.send(
        b"POST /v2/repository/index HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4096\r\n\r\n" + body
    )
    assert b"failed to parse the request JSON buffer" in raw


def test_a_client_in_the_middle_of_its_upload_still_reads_the_refusal(small):
    upload = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + bytes(8_000_000)
    assert small.send(upload).startswith(b"HTTP/1.1 400 ")


def test_a_chunked_body_over_the_limit_is_refused(small):
    lines = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = small.send(lines + (b"400\r\n" + bytes(1024) + b"\r\n") * 6 + b"0\r\n\r\n")
    assert b"exceeds the maximum allowed input size of 4096 bytes" in raw


@pytest.mark.parametrize(("count", "status"), [(10, b"200"), (11, b"400")])
def test_only_so_many_chunks_may_hold_something(small, count, status):
    raw = small.send(chunked("echo", [1] * (count - 1)))
    assert raw.startswith(b"HTTP/1.1 " + status)
    assert (b"request body exceeds maximum of 10 non-empty chunks" in raw) == (count == 11)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(30)) + b"\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5 + b"\r\n",
    ],
    ids=["many headers", "one header many times"],
)
def test_a_head_of_too_many_headers_is_refused(small, head):
    assert small.send(head).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("start", [b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: ", b"GET /"])
def test_a_head_without_end_is_refused(start):
    def test():
        made, wire = connection(HttpLimits(head=2048))
        made.data_received(start)
        for _ in range(20):
            made.data_received(b"a" * 1000)
        assert wire.written.startswith(b"HTTP/1.1 431 ")
        assert wire.written.endswith(b"<eof>")

    run(test)


def test_repeated_headers_are_joined():
    def test():
        found: list[Exchange] = []
        made, _ = connection(handler=found.append)
        made.data_received(b"GET /v2 HTTP/1.1\r\nHost: x\r\nAccept: a\r\nACCEPT: b\r\n\r\n")
        assert found[0].headers == {b"accept": b"a, b", b"host": b"x"}

    run(test)


@pytest.mark.parametrize(
    ("sent", "seconds", "refusal"),
    [
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: ", 30, b"HTTP/1.1 408 "),
        (b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1", 60, b"HTTP/1.1 408 "),
        (b"", 600, b""),
        (LIVE, 600, b"HTTP/1.1 200 "),
    ],
    ids=["head", "body", "never used", "idle"],
)
def test_a_connection_without_progress_is_closed_in_time(sent, seconds, refusal):
    def test():
        made, wire = connection()
        if sent:
            made.data_received(sent)
        made.sweep(10)  # records the progress
        for _ in range(seconds // 10 - 1):
            made.sweep(10)
        assert not wire.is_closed
        assert b"<eof>" not in wire.written
        made.sweep(10)
        assert wire.is_closed or wire.written.endswith(b"<eof>")
        assert wire.written.startswith(refusal)

    run(test)


def test_dripping_headers_is_no_progress_but_a_dripping_body_is():
    def test():
        for start, is_refused in (
            (b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: ", True),
            (LIVE[:-2] + b"Content-Length: 99\r\n\r\n", False),
        ):
            made, wire = connection()
            made.data_received(start)
            for _ in range(20):
                made.data_received(b"a")
                made.sweep(10)
            assert wire.written.startswith(b"HTTP/1.1 408 ") == is_refused

    run(test)


def test_a_request_in_work_is_never_swept():
    def test():
        made, wire = connection()
        made.data_received(with_length("never"))
        for _ in range(1000):
            made.sweep(10)
        assert not wire.is_closed

    run(test)


def test_a_client_that_reads_nothing_is_not_read_from():
    def test():
        made, wire = connection()
        made.pause_writing()
        assert wire.is_paused
        made.resume_writing()
        assert not wire.is_paused

    run(test)


def test_a_stream_nobody_reads_is_cut_off():
    def test():
        found: list[Exchange] = []
        made, wire = connection(HttpLimits(unsent=1000), handler=found.append)
        made.data_received(LIVE)
        found[0].begin_stream(200, b"")
        wire.unsent = 1001
        found[0].stream(b"x")
        assert wire.is_closed

    run(test)


def test_a_stream_to_a_client_that_left_is_cancelled_and_written_no_more():
    def test():
        plane = dataplane()
        body = b'{"IN0":[1.0]}'
        made, wire = connection(handler=build_app(plane))
        made.data_received(
            b"POST /v2/models/never/generate_stream HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        made.connection_lost(None)
        assert plane.held[0].cancelled
        echo(plane, plane.held[0])
        assert wire.written == b""

    run(test)


def test_only_the_first_answer_counts():
    def test():
        found: list[Exchange] = []
        made, wire = connection(handler=found.append)
        made.data_received(LIVE)
        found[0].answer(200)
        found[0].answer(200)
        found[0].fail(SlipwayError(Code.INTERNAL, "late"))
        assert wire.written.count(b"HTTP/1.1 ") == 1

    run(test)


def test_a_client_that_leaves_cancels_even_with_requests_behind():
    def test():
        plane = dataplane()
        made, wire = connection(handler=build_app(plane))
        made.data_received(with_length("never", close=False) + LIVE * 10)
        assert not wire.is_paused
        made.connection_lost(None)
        assert plane.held[0].cancelled

    run(test)


def test_many_requests_behind_one_in_work_stop_the_reading():
    def test():
        made, wire = connection()
        made.data_received(with_length("never", close=False) + LIVE * 100)
        assert wire.is_paused

    run(test)


def test_a_defect_is_answered_without_its_details(caplog):
    class Broken(MemoryDataplane):
        def live(self):
            raise RuntimeError("/secret/path")

    plane = dataplane(Broken)
    with serve(plane, build_app(plane)) as running:
        answer = running.ask("GET", "/v2/health/live")
        assert (answer.status, answer.body) == (500, b'{"error":"internal error"}')
        assert running.ask("GET", "/v2/health/ready").status == 200
    assert "/secret/path" in caplog.text


def test_a_taken_port_is_reported():
    async def within():
        first = HttpListener(build_app(dataplane()), host="127.0.0.1", port=0)
        port = await first.start()
        with pytest.raises(SlipwayError, match=f"failed to listen on 127.0.0.1:{port}"):
            await HttpListener(build_app(dataplane()), host="127.0.0.1", port=port).start()
        await first.stop()

    asyncio.run(within())


def test_stopping_lets_a_request_in_work_finish_and_closes_idle_connections():
    async def within():
        plane = dataplane()
        listener = HttpListener(build_app(plane), host="127.0.0.1", port=0)
        port = await listener.start()
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        idle_writer.write(LIVE)
        await idle_reader.readuntil(b"\r\n\r\n")
        writer.write(with_length("never", close=False))
        await plane.began.wait()
        stopping = asyncio.ensure_future(listener.stop(grace_s=30.0))
        assert await idle_reader.read() == b""
        assert not stopping.done()
        pending = plane.held[0]
        echo(plane, pending)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close\r\n" in answer
        await stopping
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        idle_writer.close()

    asyncio.run(within())


def test_stopping_gives_up_after_the_grace():
    async def within():
        plane = dataplane()
        listener = HttpListener(build_app(plane), host="127.0.0.1", port=0)
        port = await listener.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(with_length("never"))
        await plane.began.wait()
        await listener.stop(grace_s=0.0)
        assert await reader.read() == b""
        assert plane.held[0].cancelled
        writer.close()

    asyncio.run(within())


def test_resets_in_the_middle_of_a_body_leave_nothing_behind(served):
    for _ in range(50):
        with served.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.sendall(
                b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(1000)
            )
    assert served.ask("GET", "/v2/health/live").status == 200


def test_the_next_request_after_a_stream_that_ended_late_in_the_stop_is_answered():
    async def within():
        plane = dataplane()
        listener = HttpListener(build_app(plane), host="127.0.0.1", port=0)
        port = await listener.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(with_length("never", close=False))
        await plane.began.wait()
        writer.write(LIVE)  # queued before the stop, so its predecessor does not say that the connection closes
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(listener.stop(grace_s=30.0))
        await asyncio.sleep(0.5)
        echo(plane, plane.held[0])
        answers = await reader.read()
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        assert answers.count(b"Connection: close\r\n") == 1
        writer.close()
        assert await stopping == 0

    asyncio.run(within())


def test_a_request_that_does_not_arrive_while_the_server_stops_is_refused_soon():
    async def within():
        limits = HttpLimits(last_arrival_s=0.1)
        listener = HttpListener(build_app(dataplane()), host="127.0.0.1", port=0, limits=limits)
        port = await listener.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v2/health/live HTTP/1.1\r\nHost: ")
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(listener.stop(grace_s=1000.0))
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        assert await stopping == 0

    asyncio.run(within())


def test_thousands_of_requests_in_one_read_let_others_take_their_turn():
    handled, turns = [], []

    def handle(exchange):
        handled.append(exchange.head.path)
        exchange.answer(200, b"", b"{}")

    async def take_turns():
        made, wire = connection(handler=handle)
        made.data_received(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(1000)))
        while len(handled) < 1000:
            turns.append(len(handled))
            assert wire.is_paused
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not wire.is_paused
        return wire.written

    written = asyncio.run(take_turns())
    assert handled == [b"/%d" % number for number in range(1000)]
    assert written.count(b"HTTP/1.1 200") == 1000
    assert max(later - earlier for earlier, later in pairwise(turns)) <= 2048 // 27 + 1


def test_requests_whose_turn_comes_after_their_client_closed_its_side_are_answered(served):
    with served.connect() as client:
        client.sendall(LIVE * 1000)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client).count(b"HTTP/1.1 200") == 1000


def test_a_refusal_among_many_requests_still_lets_the_client_send_the_rest(served):
    with served.connect() as client:
        client.settimeout(5)  # of the 10 s for which the server reads on
        client.sendall(LIVE * 60 + b"\0\r\n\r\n" + LIVE * 100)
        client.sendall(bytes(16 << 20))  # more than the kernel holds
        received = read_to_end(client)
    assert received.count(b"HTTP/1.1 200") == 60
    assert b"HTTP/1.1 400" in received


def test_many_requests_that_are_there_when_the_server_stops_are_answered():
    async def test():
        made, wire = connection()
        made.data_received(LIVE * 200)
        made.stop()
        for _ in range(20):
            await asyncio.sleep(0)
        assert wire.written.count(b"HTTP/1.1 200") == 200

    asyncio.run(test())


def test_a_client_is_told_to_go_on_once_its_earlier_requests_are_answered():
    held: list[Exchange] = []
    announced = b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

    async def test(sends_at_once):
        held.clear()
        made, wire = connection(handler=held.append)
        made.data_received(LIVE + announced)
        if sends_at_once:
            made.data_received(b"ok")
        assert wire.written == b""
        held[0].answer(200)
        await asyncio.sleep(0)
        assert wire.written.endswith(b"100 Continue\r\n\r\n") is not sends_at_once
        if not sends_at_once:
            made.data_received(b"ok")
        assert [bytes(each.body) for each in held] == [b"", b"ok"]
        held[1].answer(200)
        assert wire.written.count(b"100 Continue") == (not sends_at_once)

    asyncio.run(test(False))
    asyncio.run(test(True))


def test_an_old_client_is_never_told_to_go_on():
    def test():
        made, wire = connection()
        made.data_received(b"POST /p HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert wire.written == b""

    run(test)


@pytest.mark.parametrize("reads", [True, False])
def test_a_client_that_is_always_one_response_behind_is_cut_off_only_if_it_does_not_read(reads):
    body = bytes(1 << 20)

    def test():
        made, wire = connection(HttpLimits(send_s=5), handler=lambda exchange: exchange.answer(200, b"", body))
        for _ in range(2):
            made.data_received(LIVE)
        wire.unsent = len(wire.written) // 2  # it has read one of two
        for _ in range(20):
            made.sweep(1.0)
            if reads:
                made.data_received(LIVE)  # it has read another one and asks again: as much as before is unsent
        assert wire.is_closed is not reads

    run(test)
