"""One HTTP/2 connection without a socket: what each frame does, in whatever pieces it comes, and what ends it."""

from __future__ import annotations

import asyncio
import itertools
import random
import struct

import pytest
from hpack import Decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.errors import unavailable
from slipway.rpc.http2 import connection as connection_module
from slipway.rpc.http2 import frames
from slipway.rpc.http2.connection import Http2Connection
from slipway.rpc.http2.frames import Http2Code, frame
from slipway.rpc.http2.heads import field
from slipway.rpc.http2.intake import MAX_STREAMS, STREAM_WINDOW, WINDOW, Http2Limits
from slipway.rpc.http2.messages import CallRefusedError

LIMITS = Http2Limits(max_message=3 << 20)
OPENING = frames.PREFACE + frame(frames.SETTINGS, 0, 0)
HEAD = b"\x83\x86" + field(":path", "/echo") + field("content-type", "application/grpc")
FULL = frames.END_HEADERS | frames.END_STREAM


class Transport:
    """Keeps what is written."""

    def __init__(self):
        self.data = bytearray()
        self.is_closed = self.is_aborted = False
        self.is_reading = True
        self.unsent = 0

    def write(self, data):
        self.data += data

    def close(self):
        self.is_closed = True

    def abort(self):
        self.is_aborted = True

    def is_closing(self):
        return self.is_closed or self.is_aborted

    def pause_reading(self):
        self.is_reading = False

    def resume_reading(self):
        self.is_reading = True

    def get_write_buffer_size(self):
        return self.unsent

    def get_extra_info(self, name):
        return ("127.0.0.1", 5) if name == "peername" else None


class Echo:
    """Answers a call with its messages, at its end; the path says when."""

    is_paused = False

    def __init__(self, call):
        self.call = call
        self.messages = []
        self.is_ended = self.is_cancelled = False

    def message(self, payload, *, is_compressed):
        assert not is_compressed
        if payload == b"refuse":
            raise CallRefusedError(3, "refused")
        self.messages.append(payload)

    def end(self):
        self.is_ended = True
        for each in self.messages:
            self.call.channel.taken(self.call, len(each))
        if self.call.head.path == "/echo":
            self.call.channel.respond(self.call, b"".join(self.messages))

    def cancelled(self):
        self.is_cancelled = True


class CallFront:
    def __init__(self):
        self.receivers = []
        self.held = 0
        self.budget = 10 << 20

    def begin(self, call):
        if call.head.path == "/none":
            call.channel.end(call, 12, "none")
            return
        call.receiver = Echo(call)
        self.receivers.append(call.receiver)

    def hold(self, size):
        if self.held + size > self.budget:
            raise unavailable("too much is held")
        self.held += size

    def release(self, size):
        self.held -= size


class Client:
    """The client's side; `said` are the frames of the server since the last look."""

    def __init__(self, limits=LIMITS, connections=None):
        self.front = CallFront()
        self.transport = Transport()
        self.connections = set() if connections is None else connections
        self.connection = Http2Connection(self.front, limits, self.connections)
        self.connection.connection_made(self.transport)
        self.decoder = Decoder()

    def say(self, *parts):
        self.connection.data_received(b"".join(parts))

    def said(self):
        self.connection.flush()
        data, found = bytes(self.transport.data), []
        self.transport.data.clear()
        at = 0
        while at < len(data):
            high, low, kind, flags, stream = frames.HEAD.unpack_from(data, at)
            end = at + 9 + (high << 8 | low)
            payload = data[at + 9 : end]
            assert end <= len(data)
            found.append((kind, flags, stream, payload))
            at = end
        return found

    def answers(self):
        """Return what was said in calls: by stream, the data and the headers."""
        calls = {}
        for kind, flags, stream, payload in self.said():
            data, headers = calls.setdefault(stream, (bytearray(), {}))
            if kind == frames.DATA:
                data += payload
            elif kind == frames.HEADERS:
                headers.update(self.decoder.decode(payload))
                headers["ended"] = bool(flags & frames.END_STREAM)
            elif kind == frames.RST_STREAM:
                headers["reset"] = Http2Code(struct.unpack(">I", payload)[0])
        calls.pop(0, None)
        return {stream: (bytes(data), headers) for stream, (data, headers) in calls.items()}

    def goaway(self):
        """Return the code with which the server ended the connection, None if it did not."""
        for kind, _, _, payload in self.said():
            if kind == frames.GOAWAY:
                return Http2Code(struct.unpack_from(">I", payload, 4)[0])
        return None


def scenario(function):
    def test():
        async def run():
            await function()

        asyncio.run(run())

    test.__name__ = function.__name__
    test.__doc__ = function.__doc__
    return test


def message(payload, flag=0):
    return struct.pack(">BI", flag, len(payload)) + payload


def head(stream, path="/echo", flags=frames.END_HEADERS, more=b""):
    block = b"\x83\x86" + field(":path", path) + field("content-type", "application/grpc") + more
    return frame(frames.HEADERS, flags, stream, block)


def data(stream, payload, end=True):
    pieces = [payload[at : at + frames.MAX_FRAME] for at in range(0, len(payload), frames.MAX_FRAME)] or [b""]
    return b"".join(
        frame(frames.DATA, frames.END_STREAM if end and piece is pieces[-1] else 0, stream, piece) for piece in pieces
    )


def request(stream, payload, path="/echo"):
    return head(stream, path) + data(stream, message(payload))


def window(stream, size):
    return frame(frames.WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def setting(name, value):
    return frame(frames.SETTINGS, 0, 0, struct.pack(">HI", name, value))


OK = {
    ":status": "200",
    "content-type": "application/grpc",
    "grpc-accept-encoding": "identity,deflate,gzip",
    "grpc-status": "0",
    "ended": True,
}


@scenario
async def test_a_call_is_answered():
    client = Client()
    client.say(OPENING, request(1, b"hello"), request(3, b""))
    assert client.answers() == {1: (message(b"hello"), OK), 3: (message(b""), OK)}
    assert client.connection.peer == "ipv4:127.0.0.1:5"


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_pieces_of_any_size_mean_the_same(data_):
    async def run():
        padded = frame(frames.DATA, frames.PADDED | frames.END_STREAM, 5, b"\3" + message(b"padded") + bytes(3))
        block = b"\x83\x86" + field(":path", "/echo") + field("content-type", "application/grpc")
        cut = frame(frames.HEADERS, frames.PRIORITISED, 5, bytes(5) + block[:7])
        rest = frame(frames.CONTINUATION, frames.END_HEADERS, 5, block[7:])
        unknown = frame(99, 255, 0, b"unknown") + frame(frames.PRIORITY, 0, 7, bytes(5))
        trailers = head(9, flags=frames.END_HEADERS) + data(9, message(b"t"), end=False)
        trailers += frame(frames.HEADERS, FULL, 9, field("x", "y"))
        stream = b"".join((OPENING, request(1, b"one"), unknown, cut, rest, padded, trailers))
        cuts = sorted(data_.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
        client = Client()
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            if start < end:
                client.say(stream[start:end])
        assert client.answers() == {1: (message(b"one"), OK), 5: (message(b"padded"), OK), 9: (message(b"t"), OK)}

    asyncio.run(run())


def test_connections_beyond_the_most_are_closed_at_once(monkeypatch):
    async def run():
        monkeypatch.setattr(connection_module, "MAX_CONNECTIONS", 2)
        connections = set()
        clients = [Client(connections=connections) for _ in range(3)]
        assert [client.transport.is_aborted for client in clients] == [False, False, True]
        clients[2].say(OPENING, request(1, b"x"))
        assert clients[2].said() == []
        clients[2].connection.connection_lost(None)
        clients[0].connection.connection_lost(None)
        assert not Client(connections=connections).transport.is_aborted

    asyncio.run(run())


@scenario
async def test_a_byte_at_a_time():
    client = Client()
    for byte in OPENING + request(1, b"hello"):
        client.say(bytes((byte,)))
    assert client.answers() == {1: (message(b"hello"), OK)}


BROKEN = {
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", Http2Code.PROTOCOL_ERROR),
    "a frame that is too large": (OPENING + frames.head(frames.DATA, 0, 1, 16_385), Http2Code.FRAME_SIZE_ERROR),
    "data without a call": (OPENING + data(1, b"x"), Http2Code.PROTOCOL_ERROR),
    "data of no stream": (OPENING + data(0, b"x"), Http2Code.PROTOCOL_ERROR),
    "a call of the server": (OPENING + head(2), Http2Code.PROTOCOL_ERROR),
    "a second head": (OPENING + head(1) + head(1), Http2Code.PROTOCOL_ERROR),
    "an interrupted head": (OPENING + head(1, flags=0) + window(0, 1), Http2Code.PROTOCOL_ERROR),
    "a head of another": (
        OPENING + head(1, flags=0) + frame(frames.CONTINUATION, 4, 3, b"x"),
        Http2Code.PROTOCOL_ERROR,
    ),
    "a continuation of nothing": (OPENING + frame(frames.CONTINUATION, 4, 1, b"x"), Http2Code.PROTOCOL_ERROR),
    "a head without an end": (
        OPENING + head(1, flags=0) + 7 * frame(frames.CONTINUATION, 0, 1, bytes(10_000)),
        Http2Code.ENHANCE_YOUR_CALM,
    ),
    "a head of nothing": (OPENING + head(1, flags=0) + frame(frames.CONTINUATION, 0, 1), Http2Code.ENHANCE_YOUR_CALM),
    "an unreadable head": (OPENING + frame(frames.HEADERS, 4, 1, b"\xff"), Http2Code.COMPRESSION_ERROR),
    "cut settings": (OPENING + frame(frames.SETTINGS, 0, 0, b"12345"), Http2Code.FRAME_SIZE_ERROR),
    "settings of a call": (OPENING + frame(frames.SETTINGS, 0, 1), Http2Code.PROTOCOL_ERROR),
    "a huge first window": (OPENING + setting(4, 2**31), Http2Code.FLOW_CONTROL_ERROR),
    "tiny frames": (OPENING + setting(5, 100), Http2Code.PROTOCOL_ERROR),
    "a window of nothing": (OPENING + window(0, 0), Http2Code.PROTOCOL_ERROR),
    "a huge window": (OPENING + window(0, 2**31 - 1), Http2Code.FLOW_CONTROL_ERROR),
    "a cut window": (OPENING + frame(frames.WINDOW_UPDATE, 0, 0, b"123"), Http2Code.FRAME_SIZE_ERROR),
    "the window of no call": (OPENING + window(7, 1), Http2Code.PROTOCOL_ERROR),
    "windows of calls that grow too large": (
        OPENING + head(1) + window(1, 2**31 - 1 - 65_535) + setting(4, 65_536),
        Http2Code.FLOW_CONTROL_ERROR,
    ),
    "a push": (OPENING + frame(frames.PUSH_PROMISE, 4, 1, b"x"), Http2Code.PROTOCOL_ERROR),
    "a cut ping": (OPENING + frame(frames.PING, 0, 0, b"1234567"), Http2Code.FRAME_SIZE_ERROR),
    "a ping of a call": (OPENING + head(1) + frame(frames.PING, 0, 1, bytes(8)), Http2Code.PROTOCOL_ERROR),
    "pings": (OPENING + 5 * frame(frames.PING, 0, 0, bytes(8)), Http2Code.ENHANCE_YOUR_CALM),
    "a cut reset": (OPENING + head(1) + frame(frames.RST_STREAM, 0, 1, b"123"), Http2Code.FRAME_SIZE_ERROR),
    "the reset of no call": (OPENING + frame(frames.RST_STREAM, 0, 1, bytes(4)), Http2Code.PROTOCOL_ERROR),
    "an empty padded frame": (OPENING + head(1) + frame(frames.DATA, frames.PADDED, 1), Http2Code.FRAME_SIZE_ERROR),
    "only padding": (OPENING + head(1) + frame(frames.DATA, frames.PADDED, 1, b"\2x"), Http2Code.PROTOCOL_ERROR),
    "no room for a priority": (OPENING + frame(frames.HEADERS, 0x24, 1, b"123"), Http2Code.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_protocol_ends_the_connection(name):
    async def run():
        said, code = BROKEN[name]
        client = Client()
        client.say(said)
        assert client.goaway() is code
        assert client.transport.is_closed
        assert all(receiver.is_cancelled for receiver in client.front.receivers)
        client.say(request(99, b"more"))
        assert client.said() == []

    asyncio.run(run())


@scenario
async def test_more_data_than_the_window_of_the_call_ends_the_connection():
    client = Client()
    client.say(OPENING, head(1, "/hold"))
    client.front.receivers[0].is_paused = True
    client.say(data(1, message(bytes(2 << 20))[: STREAM_WINDOW + 1], end=False))
    assert client.goaway() is Http2Code.FLOW_CONTROL_ERROR


@scenario
async def test_the_windows_open_again_while_a_message_arrives():
    client = Client()
    client.say(OPENING, head(1))
    whole = message(bytes(3 << 20))
    room, at, connection_room = STREAM_WINDOW, 0, WINDOW
    client.said()
    while at < len(whole):
        size = min(room, connection_room, frames.MAX_FRAME, len(whole) - at)
        assert size
        client.say(data(1, whole[at : at + size], end=at + size == len(whole)))
        at, room, connection_room = at + size, room - size, connection_room - size
        for kind, _, stream, payload in client.said():
            if kind == frames.WINDOW_UPDATE:
                (more,) = struct.unpack(">I", payload)
                room, connection_room = (
                    (room, connection_room + more) if stream == 0 else (room + more, connection_room)
                )
    assert len(client.front.receivers[0].messages[0]) == 3 << 20


@scenario
async def test_a_paused_call_gets_no_window_until_it_goes_on():
    client = Client()
    client.say(OPENING, head(1, "/hold"))
    (receiver,) = client.front.receivers
    receiver.is_paused = True
    client.said()
    client.say(data(1, message(bytes(STREAM_WINDOW - 5)), end=False))
    assert client.said() == []
    receiver.call.channel.resume(receiver.call)
    assert client.said() == [(frames.WINDOW_UPDATE, 0, 1, struct.pack(">I", STREAM_WINDOW))]


@scenario
async def test_a_large_message_counts_in_the_budget_while_it_arrives():
    client = Client()
    size = 1 << 20
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 2**30), window(0, 2**30))
    client.say(head(1), head(3), data(1, message(bytes(size))[:100], end=False))
    client.say(data(3, message(bytes(size))[:100], end=False))
    assert client.front.held == 2 * size
    client.say(frame(frames.RST_STREAM, 0, 1, bytes(4)))
    assert client.front.held == size
    client.say(data(3, message(bytes(size))[100:]))
    assert client.front.held == 0
    client.front.budget = 0
    client.said()
    client.say(head(5), data(5, message(bytes(size))[:100], end=False))
    (answer,) = client.answers().values()
    assert answer[1]["grpc-status"] == "14"
    assert answer[1]["reset"] is Http2Code.NO_ERROR


@scenario
async def test_a_response_waits_for_the_windows_of_the_client():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 10), request(1, bytes(range(100))), request(3, b"abc"))
    answers = client.answers()
    assert answers[1][0] == message(bytes(range(100)))[:10]
    assert answers[3] == (message(b"abc"), OK)
    client.say(window(1, 40))
    assert client.answers()[1] == (message(bytes(range(100)))[10:50], {})
    client.say(setting(frames.INITIAL_WINDOW_SIZE, 1000))
    data_, headers = client.answers()[1]
    assert data_ == message(bytes(range(100)))[50:]
    assert headers == {"grpc-status": "0", "ended": True}


@scenario
async def test_large_responses_that_their_client_does_not_read_count_in_the_budget():
    client = Client()
    client.say(OPENING, head(1, "/hold"), head(3, "/hold"), head(5, "/hold"))
    first, second, third = (receiver.call for receiver in client.front.receivers)
    first.channel.respond(first, bytes(1 << 20))
    assert client.front.held == (1 << 20) + 5 - 65_535
    client.front.budget = 1 << 20
    client.said()
    second.channel.respond(second, bytes(1 << 20))
    assert client.answers()[3][1]["grpc-status"] == "14"
    assert client.front.receivers[1].is_cancelled
    third.channel.respond(third, bytes(1000))  # is small
    client.say(window(0, 2 << 20), window(1, 2 << 20))
    answers = client.answers()
    assert answers[1][1]["grpc-status"] == answers[5][1]["grpc-status"] == "0"
    assert client.front.held == 0


@scenario
async def test_a_stream_of_large_responses_counts_each_while_it_waits():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 0), head(1, "/hold"), window(0, 2**30))
    call = client.front.receivers[0].call
    for _ in range(3):
        call.channel.send(call, bytes(1 << 20))
        assert client.front.held == (1 << 20) + 5
        client.say(window(1, (1 << 20) + 5))
        assert client.front.held == 0
    call.channel.send(call, bytes(1 << 20))
    client.say(frame(frames.RST_STREAM, 0, 1, bytes(4)))
    assert client.front.held == 0


@scenario
async def test_calls_share_the_window_of_the_connection():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 2**30))
    for stream in (1, 3):
        client.say(head(stream, "/hold"))
    calls = [receiver.call for receiver in client.front.receivers]
    for call in calls:
        call.channel.send(call, bytes(100_000))
        call.channel.end(call, 0, "")
    assert sum(len(data_) for data_, _ in client.answers().values()) == 65_535
    client.say(window(0, 2 * frames.MAX_FRAME))
    assert [len(data_) for data_, _ in client.answers().values()] == [frames.MAX_FRAME] * 2
    client.say(window(0, 10**6))
    assert [headers["ended"] for _, headers in client.answers().values()] == [True, True]


@scenario
async def test_somebody_who_writes_a_stream_waits_for_room():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 7), head(1, "/hold"))
    call = client.front.receivers[0].call
    call.channel.send(call, b"abc")
    waiting = asyncio.ensure_future(call.channel.drained(call))
    await asyncio.sleep(0)
    assert not waiting.done()
    client.say(window(1, 1))
    await waiting
    call.channel.send(call, b"more")
    waiting = asyncio.ensure_future(call.channel.drained(call))
    await asyncio.sleep(0)
    client.say(frame(frames.RST_STREAM, 0, 1, bytes(4)))
    await waiting  # nobody waits for the answer any more


@scenario
async def test_a_client_that_does_not_read_is_not_read_either():
    client = Client()
    client.say(OPENING)
    client.said()
    client.connection.pause_writing()
    client.say(request(1, b"a"), request(3, b"b"))
    assert client.said() == []
    assert not client.transport.is_reading
    client.connection.resume_writing()
    for _ in range(3):
        await asyncio.sleep(0)
    assert list(client.answers()) == [1, 3]
    assert client.transport.is_reading


@scenario
async def test_a_large_response_is_not_handed_over_while_the_transport_holds_enough():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 2**30), window(0, 2**30), head(1, "/hold"))
    client.said()
    call = client.front.receivers[0].call
    payload = random.Random(0).randbytes(5 << 20)
    write = client.transport.write
    sizes = []

    def hold_enough(data):
        sizes.append(len(data))
        write(data)
        client.connection.pause_writing()

    client.transport.write = hold_enough
    call.channel.respond(call, payload)
    while not call.is_over:
        client.connection.resume_writing()
        await asyncio.sleep(0)
    assert client.answers()[1][0] == message(payload)
    assert max(sizes) < 1.1 * (1 << 20)


@scenario
async def test_a_transport_that_asks_for_more_while_it_is_given_something_gets_all():
    client = Client()
    client.say(OPENING, head(1, "/hold"), head(3, "/hold"))
    client.said()
    call = client.front.receivers[0].call
    client.connection.pause_writing()
    call.channel.respond(call, b"waits")
    client.connection.flush()
    write = client.transport.write

    def ask_for_more(data):
        client.transport.write = write
        write(data)
        client.connection.resume_writing()

    client.transport.write = ask_for_more
    other = client.front.receivers[1].call
    other.channel.end(other, 3, "the trailers of an error do not wait")
    for _ in range(4):
        await asyncio.sleep(0)
    assert client.answers()[1][0] == message(b"waits")


@scenario
async def test_a_transport_is_given_nothing_while_it_asks_for_more():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 2**30), window(0, 2**30), head(1, "/hold"))
    client.said()
    call = client.front.receivers[0].call
    client.connection.pause_writing()
    call.channel.respond(call, bytes(3 << 20))
    client.said()
    client.connection.resume_writing()
    assert not client.transport.data
    await asyncio.sleep(0)
    assert len(client.answers()[1][0]) == (3 << 20) + 5


@scenario
async def test_many_calls_at_once_leave_turns_to_others():
    client = Client()
    per_turn = connection_module._CALLS_PER_TURN
    client.say(OPENING, *(request(2 * number + 1, b"x") for number in range(3 * per_turn)))
    answered = []
    while not client.transport.is_reading:
        answered.append(len(client.answers()))
        await asyncio.sleep(0)
    answered.append(len(client.answers()))
    assert sum(answered) == 3 * per_turn
    assert max(answered) <= per_turn


@pytest.mark.parametrize(
    "said",
    [
        setting(frames.INITIAL_WINDOW_SIZE, 65_535),
        head(1, flags=frames.END_HEADERS | frames.END_STREAM),  # of the same stream: not begun again
        head(1, more=field("a", "b" * 2000)),
    ],
    ids=["settings", "trailers", "large heads"],
)
def test_what_takes_time_leaves_turns_to_others(said):
    async def run():
        client = Client()
        turns = 1
        client.say(OPENING, request(1, b"x"), *[said] * (2 * connection_module._CALLS_PER_TURN))
        while not client.transport.is_reading:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 3

    asyncio.run(run())


@scenario
async def test_many_messages_in_few_frames_leave_turns_to_others():
    client = Client()
    many = message(b"") * 1000
    client.say(OPENING, head(1, "/hold"), *(data(1, many, end=False) for _ in range(4)))
    (receiver,) = client.front.receivers
    taken = [len(receiver.messages)]
    while not client.transport.is_reading:
        await asyncio.sleep(0)
        taken.append(len(receiver.messages))
    assert taken[-1] == 4000
    assert max(later - earlier for earlier, later in itertools.pairwise([0, *taken])) <= 2000


@scenario
async def test_a_setting_that_is_given_again_and_again_changes_once():
    client = Client()
    client.say(OPENING, head(1, "/hold"))
    changes = []
    client.connection._change_first_window = changes.append
    values = b"".join(struct.pack(">HI", frames.INITIAL_WINDOW_SIZE, size) for size in range(1000))
    client.say(frame(frames.SETTINGS, 0, 0, values))
    assert changes == [999]


@scenario
async def test_data_that_a_setting_allows_come_behind_its_acknowledgement():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 10), request(1, bytes(100)))
    client.said()
    client.say(setting(frames.INITIAL_WINDOW_SIZE, 50))
    (acknowledged, *_), (kind, _, _, payload) = client.said()
    assert (acknowledged, kind) == (frames.SETTINGS, frames.DATA)
    assert len(payload) == 40


@scenario
async def test_a_window_is_not_offered_to_calls_that_do_not_wait_for_it():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 0), request(1, b"x"), request(3, b"x"))
    offered = []
    client.connection._send_piece = offered.append
    client.say(window(0, 1))
    assert offered == []


@scenario
async def test_more_calls_than_may_be_open_are_to_be_made_later():
    client = Client()
    client.say(OPENING)
    for stream in range(1, 2 * MAX_STREAMS + 2, 2):
        client.say(head(stream, "/hold"))
    for _ in range(3 * MAX_STREAMS // connection_module._CALLS_PER_TURN):
        await asyncio.sleep(0)
    assert client.answers() == {2 * MAX_STREAMS + 1: (b"", {"reset": Http2Code.REFUSED_STREAM})}
    assert len(client.front.receivers) == MAX_STREAMS


@scenario
async def test_a_reset_and_the_end_of_the_connection_cancel_calls():
    client = Client()
    client.say(OPENING, head(1, "/hold"), head(3, "/hold"), head(5, "/hold"))
    first, second, third = client.front.receivers
    client.say(frame(frames.RST_STREAM, 0, 1, bytes(4)), data(1, message(b"late")))
    assert first.is_cancelled
    assert not second.is_cancelled
    client.say(data(3, message(b"cut")[:-1]))
    assert second.is_cancelled
    client.connection.connection_lost(None)
    assert third.is_cancelled
    assert client.connections == set()
    client.said()
    third.call.channel.respond(third.call, b"late")
    assert client.said() == []


@scenario
async def test_data_after_the_end_of_a_call_resets_it():
    client = Client()
    client.say(OPENING, request(1, b"x", "/hold"), data(1, b"more"))
    assert client.answers()[1] == (b"", {"reset": Http2Code.STREAM_CLOSED})
    assert client.front.receivers[0].is_cancelled


@scenario
async def test_a_refused_call_ends_at_once_and_its_client_stops_sending():
    client = Client()
    client.say(OPENING, head(1, "/none"), head(3), data(3, message(b"refuse"), end=False))
    answers = client.answers()
    assert answers[1][1]["grpc-status"] == "12"
    assert answers[3][1]["grpc-message"] == "refused"
    assert {headers["reset"] for _, headers in answers.values()} == {Http2Code.NO_ERROR}
    assert client.front.receivers[0].is_cancelled
    client.say(data(3, message(b"more")), request(5, b"x"))
    assert client.answers() == {5: (message(b"x"), OK)}


@scenario
async def test_a_request_that_is_not_grpc_gets_a_status_of_http():
    client = Client()
    block = b"\x82\x86" + field(":path", "/v2")  # GET
    client.say(OPENING, frame(frames.HEADERS, FULL, 1, block), request(3, b"x"))
    assert client.answers() == {1: (b"", {":status": "405", "ended": True}), 3: (message(b"x"), OK)}


@scenario
async def test_a_head_that_is_too_large_ends_its_call_alone():
    client = Client()
    large = HEAD + field("large", "x" * 20_000)
    client.say(
        OPENING,
        head(1, "/hold"),
        frame(frames.HEADERS, frames.END_STREAM, 3, large[:10_000]),
        frame(frames.CONTINUATION, frames.END_HEADERS, 3, large[10_000:]),
        request(5, b"next"),
    )
    await asyncio.sleep(0)  # the next turn
    answers = client.answers()
    assert answers[3][1]["grpc-status"] == "8"
    assert answers[3][1]["grpc-message"].startswith("Received metadata larger than max (20")
    assert answers[5] == (message(b"next"), OK)
    assert not client.front.receivers[0].is_cancelled
    assert len(client.front.receivers) == 2


@scenario
async def test_a_head_without_a_field_is_not_grpc():
    client = Client()
    client.say(OPENING, frame(frames.HEADERS, FULL, 1), request(3, b"next"))
    assert client.answers() == {1: (b"", {":status": "405", "ended": True}), 3: (message(b"next"), OK)}


@scenario
async def test_the_time_of_a_call_ends_it():
    client = Client()
    client.say(OPENING, head(1, "/hold", more=field("grpc-timeout", "1n")))
    client.said()
    (receiver,) = client.front.receivers
    while not receiver.is_cancelled:  # noqa: ASYNC110  the deadline is a timer of the loop
        await asyncio.sleep(0)
    assert client.answers()[1][1]["grpc-status"] == "4"


@scenario
async def test_a_response_that_waits_goes_when_the_time_of_its_call_is_over():
    client = Client()
    client.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 10), head(1, "/hold", more=field("grpc-timeout", "1m")))
    call = client.front.receivers[0].call
    call.channel.respond(call, bytes(100))
    while not call.is_over:  # noqa: ASYNC110  as above
        await asyncio.sleep(0)
    assert client.answers()[1][1]["reset"] is Http2Code.CANCEL
    assert not client.connection._blocked
    assert call.unsent is None


@scenario
async def test_a_wrong_window_of_a_call_resets_it_alone():
    client = Client()
    client.say(OPENING, head(1, "/hold"), head(3, "/hold"), window(1, 0), window(3, 2**31 - 1), request(5, b"x"))
    answers = client.answers()
    assert answers[1][1] == {"reset": Http2Code.PROTOCOL_ERROR}
    assert answers[3][1] == {"reset": Http2Code.FLOW_CONTROL_ERROR}
    assert answers[5] == (message(b"x"), OK)


@scenario
async def test_settings_and_pings_are_acknowledged_and_calls_excuse_pings():
    client = Client()
    client.say(frames.PREFACE, setting(99, 1), frame(frames.SETTINGS, frames.ACK, 0))
    said = client.said()
    assert (frames.SETTINGS, frames.ACK, 0, b"") in said
    for stream in range(1, 41, 2):
        client.say(request(stream, b"x"), frame(frames.PING, 0, 0, b"12345678"))
    assert client.said().count((frames.PING, frames.ACK, 0, b"12345678")) == 20
    assert not client.transport.is_closed


@scenario
async def test_a_connection_that_is_stopped_answers_its_calls_and_closes():
    client = Client()
    client.say(OPENING, head(1))
    client.connection.drain()
    assert client.goaway() is Http2Code.NO_ERROR
    client.say(head(3), data(1, message(b"x")))
    answers = client.answers()
    assert answers == {3: (b"", {"reset": Http2Code.REFUSED_STREAM}), 1: (message(b"x"), OK)}
    await asyncio.sleep(0)
    assert client.transport.is_closed
    idle = Client()
    idle.say(OPENING)
    idle.connection.drain()
    assert idle.transport.is_closed


@pytest.mark.parametrize(
    ("said", "unsent", "seconds"),
    [(frames.PREFACE[:5], 0, 10), (OPENING + head(1)[:12], 0, 60), (OPENING, 100, 60)],
)
def test_a_connection_without_progress_is_closed(said, unsent, seconds):
    async def run():
        client = Client()
        client.say(said)
        client.transport.unsent = unsent
        client.connection.sweep(5)
        for _ in range(seconds // 5 - 1):
            client.connection.sweep(5)
            assert not client.transport.is_aborted
        client.connection.sweep(5)
        assert client.transport.is_aborted
        idle = Client()
        idle.say(OPENING, request(1, b"x"))
        for _ in range(100):
            idle.connection.sweep(5)
        assert not idle.transport.is_aborted

    asyncio.run(run())


@scenario
async def test_a_client_that_does_not_answer_a_ping_is_gone():
    client = Client(Http2Limits(max_message=100, keepalive_s=0.0, keepalive_timeout_s=0.0))
    client.say(OPENING, head(1, "/hold"))
    while not client.transport.is_aborted:  # noqa: ASYNC110  the period is a timer of the loop
        await asyncio.sleep(0)
    assert frames.PING in [kind for kind, *_ in client.said()]
    client.connection.connection_lost(None)
