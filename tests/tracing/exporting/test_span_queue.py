"""Spans wait in a bounded queue, and leave it in batches."""

from __future__ import annotations

from slipway.tracing.exporting.span_queue import SpanQueue

LONG = 3600.0


def test_a_full_batch_does_not_wait():
    queue: SpanQueue[int] = SpanQueue(10, 3, LONG)
    assert queue.put(range(7)) == 0
    assert [queue.take(), queue.take()] == [[0, 1, 2], [3, 4, 5]]
    queue.close()
    assert not queue.is_finished
    assert queue.take() == [6]
    assert queue.is_finished
    assert queue.take() == []


def test_a_part_of_a_batch_leaves_after_the_delay():
    queue: SpanQueue[int] = SpanQueue(10, 3, 0.001)
    queue.put([1])
    assert queue.take() == [1]
    assert queue.take() == []


def test_what_does_not_fit_is_counted_as_lost():
    queue: SpanQueue[int] = SpanQueue(4, 4, LONG)
    assert not queue.is_full
    assert queue.put(range(6)) == 2
    assert queue.is_full
    assert queue.take() == [0, 1, 2, 3]
    assert queue.put([9]) == 0
