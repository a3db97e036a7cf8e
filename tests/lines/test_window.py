"""What is under way: batches, order, bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.lines.splitting import RefusedLine
from slipway.lines.window import Window


def window(**changes):
    return Window(**{"rows": 2, "batch_bytes": 1000, "max_lines": 100, "max_bytes": 10_000, **changes})


def numbered(count):
    return [str(number).encode() for number in range(count)]


def batches(of):
    found = []
    while (batch := of.pop()) is not None:
        found.append(batch)
    return found


@given(st.integers(1, 5), st.integers(0, 60), st.integers(1, 40), st.integers(0, 2**20))
def test_results_come_in_the_order_of_the_lines_whatever_the_order_of_the_batches(rows, count, max_lines, seed):
    order = random.Random(seed)
    lines = [bytes(order.randint(0, 9)) + str(number).encode() for number in range(count)]
    of = window(rows=rows, max_lines=max_lines)
    waiting, released, under_way = list(lines), [], []
    while waiting or not of.is_empty:
        waiting = waiting[of.push(waiting) :]
        under_way += batches(of)
        assert sum(len(batch.lines) for batch in under_way) <= max_lines
        batch = under_way.pop(order.randrange(len(under_way)))
        of.settle(batch, batch.lines)
        released += of.release()
    assert released == lines


def test_a_batch_has_lines_of_similar_length_longest_first():
    of = window()
    of.push([b"1", b"55555", b"22", b"4444"])
    assert [batch.lines for batch in batches(of)] == [[b"55555", b"4444"], [b"22", b"1"]]


def test_a_batch_is_limited_in_bytes():
    of = window(rows=10, batch_bytes=5)
    of.push([b"333", b"333", b"333"])
    assert [len(batch.lines) for batch in batches(of)] == [2, 1]


def test_a_slow_line_bounds_how_many_later_ones_are_read():
    of = window(max_lines=4)
    assert of.push(numbered(10)) == 4
    slow, quick = batches(of)
    of.settle(quick, quick.lines)
    assert of.release() == []
    assert of.push(numbered(10)) == 0
    of.settle(slow, slow.lines)
    assert of.release() == numbered(4)
    assert of.push(numbered(10)) == 4


def test_bytes_bound_how_much_is_read():
    of = window(rows=1, max_bytes=10)
    assert of.push([b"x" * 8] * 16) == 16
    assert not of.has_room
    for batch in batches(of):
        of.settle(batch, batch.lines)
    assert len(of.release()) == 16
    assert of.has_room


def test_a_refused_line_needs_no_request():
    of = window()
    of.push([RefusedLine("too long"), b"a"])
    [batch] = batches(of)
    assert batch.lines == [b"a"]
    assert of.release() == [RefusedLine("too long")]
    of.settle(batch, [b"A"])
    assert of.release() == [b"A"]
    assert of.is_empty


def test_halves_are_sent_before_everything_else():
    of = window(rows=4)
    of.push(numbered(8))
    first = of.pop()
    of.put_back(first.halves())
    assert [batch.lines for batch in batches(of)] == [first.lines[:2], first.lines[2:], numbered(8)[4:]]


@pytest.mark.parametrize("size", [2, 3])
def test_halves_have_the_lines_and_places_of_the_whole(size):
    of = window(rows=size)
    of.push(numbered(size))
    whole = of.pop()
    first, second = whole.halves()
    assert first.lines + second.lines == whole.lines
    assert first.places + second.places == whole.places
