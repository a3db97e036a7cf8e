"""The keepalive flags do what they say, seen by a client that speaks HTTP/2 byte by byte."""

from __future__ import annotations

import socket
import struct

import pytest

from slipway.rpc.asyncio_engine import _limits
from slipway.rpc.options import GrpcOptions
from tests.rpc.conftest import serving

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1
TOO_MANY_PINGS = 11  # ENHANCE_YOUR_CALM


class RawClient:
    """An HTTP/2 connection without a request."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.reader = self.socket.makefile("rb")
        self.socket.sendall(PREFACE)
        self.send(SETTINGS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.socket.close()

    def send(self, kind, flags=0, payload=b""):
        self.socket.sendall(struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload)

    def receive(self):
        """Return the next frame as its kind, flags and payload; None at the end of the connection."""
        head = self.reader.read(9)
        if len(head) < 9:
            return None
        return head[3], head[4], self.reader.read(int.from_bytes(head[:3], "big"))

    def next(self, kind, flags):
        """Return the payload of the next frame of a kind, None if the connection ends before."""
        while (frame := self.receive()) is not None:
            if frame[:2] == (kind, flags):
                return frame[2]
        return None


def options(**settings):
    return GrpcOptions(grpc_port=0, grpc_engine="grpcio", **settings)


def pings_answered(port, count):
    """Return how many of `count` pings the server answers, and the code of its farewell, if there is one."""
    with RawClient(port) as client:
        for number in range(count):
            client.send(PING, 0, number.to_bytes(8, "big"))
            while True:
                frame = client.receive()
                if frame is None:
                    return number, None
                if frame[0] == GOAWAY:
                    return number, int.from_bytes(frame[2][4:8], "big")
                if frame[:2] == (PING, ACK):
                    break
    return count, None


@pytest.mark.parametrize(("strikes", "answered"), [(1, 3), (4, 6)])
def test_a_client_that_pings_too_often_is_told_so_after_the_allowed_strikes(strikes, answered):
    with serving(options(grpc_http2_max_ping_strikes=strikes)) as server:
        assert pings_answered(server.port, 20) == (answered, TOO_MANY_PINGS)


@pytest.mark.parametrize(
    "settings",
    [
        {"grpc_http2_max_ping_strikes": 0},
        {"grpc_http2_min_recv_ping_interval_without_data": 0, "grpc_keepalive_permit_without_calls": True},
    ],
)
def test_without_a_limit_all_pings_are_answered(settings):
    with serving(options(**settings)) as server:
        assert pings_answered(server.port, 20) == (20, None)


def test_a_silent_client_is_pinged_and_its_connection_closed_without_an_answer(engine):
    settings = GrpcOptions(
        grpc_port=0,
        grpc_engine=engine,
        grpc_keepalive_time=1000,
        grpc_keepalive_timeout=500,
        grpc_keepalive_permit_without_calls=True,
    )
    with serving(settings) as server, RawClient(server.port) as client:
        assert client.next(PING, 0) is not None
        while client.receive() is not None:
            pass


def test_a_keepalive_time_of_zero_leaves_the_event_loop_to_others():
    assert _limits(GrpcOptions(grpc_keepalive_time=0)).keepalive_s == 0.001


def test_a_connection_of_the_maximum_age_is_asked_to_end():
    settings = options(grpc_max_connection_age=300, grpc_max_connection_age_grace=100)
    with serving(settings) as server, RawClient(server.port) as client:
        assert client.next(GOAWAY, 0) is not None
