"""The buffer between the event loop and the writing thread: bounded, and written to the end."""

from __future__ import annotations

import threading

import pytest

from slipway.tracing.writer import MAX_BUFFERED, Writer


class Slow:
    """A sink whose writes wait for `go`; it writes one item less than it gets for each of `refusals`."""

    def __init__(self, refusals: int = 0) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.items: list[int] = []
        self.refusals = refusals
        self.is_closed = False

    def write(self, items) -> int:
        self.entered.set()
        assert self.go.wait(30)
        self.items += items
        refused, self.refusals = min(self.refusals, 1), max(self.refusals - 1, 0)
        return len(items) - refused

    def close(self) -> None:
        self.is_closed = True


class Counts:
    def __init__(self) -> None:
        self.losses = 0

    def written(self, _: int) -> None:
        raise AssertionError("sinks count what they write")

    def lost(self, count: int) -> None:
        self.losses += count


@pytest.mark.timeout(60)
def test_items_are_written_in_order_and_to_the_end():
    sink, counts = Slow(), Counts()
    sink.go.set()
    writer: Writer[int] = Writer(sink, counts)
    for number in range(1000):
        writer.add(number, 10)
    assert writer.close(30)
    assert sink.items == list(range(1000))
    assert sink.is_closed
    assert counts.losses == 0


@pytest.mark.timeout(60)
def test_what_does_not_fit_while_a_sink_hangs_is_lost_and_counted():
    sink, counts = Slow(), Counts()
    writer: Writer[int] = Writer(sink, counts)
    writer.add(0, MAX_BUFFERED)
    assert sink.entered.wait(30)
    writer.add(1, 1)  # until now the buffer is only full
    for number in range(2, 12):
        writer.add(number, 1)
    assert counts.losses == 10
    assert not writer.close(0.01)
    sink.go.set()
    assert writer.close(30)
    assert sink.items == [0, 1]


@pytest.mark.timeout(60)
def test_what_a_sink_refuses_is_counted():
    sink, counts = Slow(refusals=1), Counts()
    sink.go.set()
    writer: Writer[int] = Writer(sink, counts)
    writer.add(0, 1)
    assert writer.close(30)
    assert counts.losses == 1


def test_a_writer_that_got_nothing_closes_its_sink():
    sink = Slow()
    assert Writer(sink, Counts()).close(0)
    assert sink.is_closed
