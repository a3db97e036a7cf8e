"""When a group of similar lengths is dispatched: Triton's delay, preferred sizes, priorities and timeouts apply."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.batcher import IDLE, BatchRules, Dispatch, WaitUntil
from slipway.scheduling.length_batcher import WINDOW, LengthBatcher
from slipway.scheduling.lengths import Lengths
from slipway.scheduling.queue import QueuePolicy, RequestQueue


@dataclass(eq=False)
class Item:
    merge_key: Lengths
    rows: int = 1


def item(length, rows=1, key=None):
    return Item(Lengths(key, (length,), length), rows)


def batcher(*, preferred=(), delay=0, policies=(), share=0.1, tokens=0):
    rules = BatchRules(8, frozenset(preferred), delay)
    return LengthBatcher(rules, RequestQueue(policies or [QueuePolicy()]), max_share=share, max_tokens=tokens)


def filled(lengths, **rules):
    line = batcher(**rules)
    for length in lengths:
        line.push(item(length), 0)
    return line


def lengths_of(decision):
    assert isinstance(decision, Dispatch)
    return [each.merge_key.tokens for each in decision.items]


def test_nothing_waiting_is_idle():
    assert batcher().poll(0) is IDLE


def test_requests_of_similar_length_overtake_others_to_join_the_oldest():
    line = filled([10, 100, 11, 98, 10, 500])
    assert [lengths_of(line.poll(0)) for _ in range(3)] == [[10, 10, 11], [100, 98], [500]]
    assert line.poll(0) is IDLE


def test_a_group_waits_for_company_until_the_delay_of_its_oldest_is_over():
    line = filled([10, 100], delay=100)
    assert line.poll(50) == WaitUntil(100)
    line.push(item(10), 60)
    assert line.poll(60) == WaitUntil(100)
    assert lengths_of(line.poll(100)) == [10, 10]


def test_a_group_full_of_rows_or_of_tokens_does_not_wait():
    assert lengths_of(filled([10] * 8, delay=100).poll(1)) == [10] * 8
    assert lengths_of(filled([300], delay=100, tokens=512).poll(1)) == [300]
    assert lengths_of(filled([200, 200, 200], delay=100, tokens=512).poll(1)) == [200, 200]


def test_a_preferred_size_goes_at_once_and_the_rest_waits():
    line = filled([10, 100, 10, 10, 10, 10], preferred=[2, 4], delay=100)
    assert lengths_of(line.poll(1)) == [10] * 4
    assert line.poll(1) == WaitUntil(100)


def test_a_queue_timeout_is_a_reason_to_wake_before_the_delay_is_over():
    line = filled([10], delay=100, policies=[QueuePolicy(default_timeout=30)])
    assert line.poll(1) == WaitUntil(30)


def test_urgent_requests_lead_and_less_urgent_ones_only_fill_up():
    line = batcher(policies=[QueuePolicy()] * 2)
    for length, priority in [*[(100, 2)] * 7, (101, 1), (102, 1)]:
        line.push(item(length), 0, priority=priority)
    assert lengths_of(line.poll(0)) == [101, 102, *[100] * 6]


def test_delayed_requests_come_after_those_in_time():
    line = batcher(policies=[QueuePolicy(default_timeout=10, delay_expired=True)])
    line.push(late := item(10), 0)
    line.push(timely := item(100), 8)
    assert line.expire(12) == []
    assert line.poll(12) == Dispatch([timely])
    assert line.poll(12) == Dispatch([late])


def test_requests_whose_keys_differ_are_never_merged():
    line = batcher()
    for key in "abab":
        line.push(item(10, key=key), 0)
    assert [each.merge_key.key for each in line.poll(0).items] == ["a", "a"]
    assert [each.merge_key.key for each in line.poll(0).items] == ["b", "b"]


def test_only_the_head_of_a_long_queue_is_considered():
    line = filled([10, *[100] * (WINDOW - 1), 10])
    assert lengths_of(line.poll(0)) == [10]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 8), st.integers(1, 60), st.sampled_from("ab"), st.integers(0, 3)),
        st.tuples(st.just("poll"), st.integers(0, 50)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(
    EVENTS,
    st.sets(st.integers(1, 8), max_size=3),
    st.sampled_from([0, 20, 1000]),
    st.sampled_from([0, 40]),
    st.sampled_from([0, 100]),
)
def test_whatever_happens_batches_are_lawful_the_first_is_served_and_nothing_is_lost(
    events, preferred, delay, timeout, tokens
):
    policies = [QueuePolicy(default_timeout=timeout)] * 3
    line = batcher(preferred=preferred, delay=delay, policies=policies, tokens=tokens)
    now, pushed, gone, executed = 0, [], set(), []
    priorities = {}

    def step():
        gone.update(line.expire(now))
        decision = line.poll(now)
        if isinstance(decision, Dispatch):
            batch = decision.items
            waiting = [each for each in pushed if each not in gone and each not in executed]
            first = min(waiting, key=lambda each: priorities[each])  # the oldest of its level
            assert first in batch
            assert set(batch) <= set(waiting)
            rows = sum(each.rows for each in batch)
            longest = max(each.merge_key.tokens for each in batch)
            own = sum(each.rows * each.merge_key.tokens for each in batch)
            assert sum(max(1, each.rows) for each in batch) <= 8
            assert len({each.merge_key.key for each in batch}) == 1
            assert rows * longest - own <= 0.1 * rows * longest
            assert len(batch) == 1 or not tokens or rows * longest <= tokens
            executed.extend(batch)
        elif isinstance(decision, WaitUntil):
            assert decision.time > now
        return decision

    for event, *values in events:
        if event == "push":
            each = item(values[1], values[0], values[2])
            priorities[each] = values[3] or 1
            line.push(each, now, priority=values[3])
            pushed.append(each)
        elif event == "poll":
            now += values[0]
            step()
        elif values[0] < len(pushed) and line.remove(pushed[values[0]]):
            gone.add(pushed[values[0]])
    for _ in range(len(pushed) + 1):
        now += 2000
        step()
    assert len(line) == 0
    assert set(pushed) == gone | set(executed)
    assert len(executed) == len(set(executed))
