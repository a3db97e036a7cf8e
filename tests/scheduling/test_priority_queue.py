"""A queue with priority levels orders by level, has up to 2^64 - 1 of them, and keeps only those in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from slipway.scheduling.priority_queue import PriorityQueue
from slipway.scheduling.queue import QueueFullError, QueuePolicy

MOST = 2**64 - 1


def items(queue):
    return [item for item, _ in queue.entries()]


def queue_of(count=MOST, own=None, default=None, default_level=1):
    return PriorityQueue(count, default or QueuePolicy(), own or {}, default_level)


def test_the_first_and_the_last_of_all_possible_levels_are_in_order():
    queue = queue_of(default_level=MOST)
    for item, priority in [("last", MOST), ("none", 0), ("first", 1), ("middle", 2**63)]:
        queue.push(item, 0, priority=priority)
    assert items(queue) == ["first", "middle", "last", "none"]


def test_a_priority_beyond_the_last_level_means_the_default_level():
    queue = queue_of(3, default_level=2)
    for item, priority in [("low", 3), ("none", 0), ("beyond", 4), ("high", 1)]:
        queue.push(item, 0, priority=priority)
    assert items(queue) == ["high", "none", "beyond", "low"]


def test_a_level_has_its_own_policy_or_the_default_one():
    queue = queue_of(own={7: QueuePolicy(max_queue_size=1)}, default=QueuePolicy(max_queue_size=2))
    for item, priority in [("a", 7), ("b", 8), ("c", 8)]:
        queue.push(item, 0, priority=priority)
    for priority in (7, 8):
        with pytest.raises(QueueFullError):
            queue.push("x", 0, priority=priority)
    assert items(queue) == ["a", "b", "c"]
    assert queue.remove("a")
    queue.push("x", 0, priority=7)
    assert items(queue) == ["x", "b", "c"]


def test_what_expires_leaves_its_level_or_waits_behind_it():
    delay = QueuePolicy(default_timeout=10, delay_expired=True)
    queue = queue_of(own={1: delay}, default=QueuePolicy(default_timeout=20))
    queue.push("late", 0, priority=1)
    queue.push("rejected", 0, priority=5)
    assert queue.expire(20) == ["rejected"]
    queue.push("fresh", 20, priority=1)
    assert items(queue) == ["fresh", "late"]
    assert not queue.remove("rejected")
    assert queue.remove("late")
    assert items(queue) == ["fresh"]


@given(some.lists(some.tuples(some.integers(0, 12), some.sampled_from([1, 2, 3, 5, 2**40, MOST]), some.booleans())))
def test_it_always_holds_what_was_pushed_and_not_removed_by_level_then_arrival(steps):
    queue, model = queue_of(), []
    for number, (item, priority, adds) in enumerate(steps):
        if adds and item not in [each for _, _, each in model]:
            queue.push(item, number, priority=priority)
            model.append((priority, number, item))
        elif not adds:
            known = [row for row in model if row[2] == item]
            assert queue.remove(item) == bool(known)
            model = [row for row in model if row[2] != item]
        assert items(queue) == [item for _, _, item in sorted(model)]
        assert len(queue) == len(model)
        assert len(queue._levels) == len({priority for priority, _, _ in model})  # no others are kept
