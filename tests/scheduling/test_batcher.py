from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.batcher import IDLE, Batcher, BatchRules, Dispatch, Fifo, WaitUntil
from slipway.scheduling.queue import QueuePolicy, RequestQueue


@dataclass(eq=False)
class Item:
    rows: int = 1
    merge_key: object = None


def batcher(max_rows=8, preferred=(), delay=0, policies=()):
    return Batcher(BatchRules(max_rows, frozenset(preferred), delay), RequestQueue(policies or [QueuePolicy()]))


def filled(rows, **rules):
    line = batcher(**rules)
    items = [Item(count) for count in rows]
    for item in items:
        line.push(item, 0)
    return line, items


def rows_of(decision):
    assert isinstance(decision, Dispatch)
    return [item.rows for item in decision.items]


def test_nothing_waiting_is_idle():
    assert batcher().poll(0) is IDLE


def test_without_delay_whatever_waits_goes_at_once():
    line, items = filled([1, 2])
    assert line.poll(0) == Dispatch(items)
    assert line.poll(0) is IDLE


def test_a_batch_counts_rows_not_requests():
    line, _ = filled([3, 3, 3])
    assert rows_of(line.poll(0)) == [3, 3]
    assert rows_of(line.poll(0)) == [3]


def test_empty_requests_take_a_place_too():
    line, _ = filled([0] * 10)
    assert rows_of(line.poll(0)) == [0] * 8


def test_with_a_delay_the_oldest_request_sets_the_time():
    line, _ = filled([1], delay=100)
    line.push(Item(), 60)
    assert line.poll(70) == WaitUntil(100)
    assert len(line.poll(100).items) == 2


def test_a_full_batch_does_not_wait_for_the_delay():
    line, _ = filled([4, 4], delay=100)
    assert rows_of(line.poll(1)) == [4, 4]


def test_a_preferred_size_goes_at_once_and_the_rest_waits():
    line, _ = filled([1, 1, 1, 1, 1], preferred=[2, 4], delay=100)
    assert rows_of(line.poll(1)) == [1, 1, 1, 1]
    assert line.poll(1) == WaitUntil(100)


def test_a_preferred_size_of_the_past_is_taken_when_the_next_is_out_of_reach():
    line, _ = filled([2, 3], preferred=[2, 4], delay=100)
    assert rows_of(line.poll(1)) == [2]


def test_a_request_that_exceeds_the_largest_preferred_size_sends_what_came_before():
    line, _ = filled([3, 3], preferred=[4], delay=100)
    assert rows_of(line.poll(1)) == [3]


def test_after_the_delay_everything_goes_preferred_or_not():
    line, _ = filled([1, 1, 1], preferred=[2], delay=100)
    assert rows_of(line.poll(100)) == [1, 1, 1]


def test_requests_that_do_not_fit_together_end_a_batch_early():
    line = batcher(delay=100)
    first, second, third = Item(1, "a"), Item(1, "a"), Item(1, "b")
    for item in (first, second, third):
        line.push(item, 0)
    assert line.poll(1) == Dispatch([first, second])
    assert line.poll(1) == WaitUntil(100)


def test_a_queue_timeout_is_a_reason_to_wake_before_the_delay_is_over():
    line = batcher(delay=100, policies=[QueuePolicy(default_timeout=30)])
    line.push(Item(), 0)
    assert line.poll(1) == WaitUntil(30)


def test_the_default_scheduler_takes_one_request_at_a_time():
    line, items = Fifo(), [Item(1), Item(1)]
    for item in items:
        line.push(item, 0)
    line.push(cancelled := Item(), 0)
    assert line.remove(cancelled)
    assert not line.remove(cancelled)
    assert [line.poll(0), line.poll(0), line.poll(0)] == [Dispatch((items[0],)), Dispatch((items[1],)), IDLE]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 8), st.sampled_from("ab"), st.integers(0, 3)),
        st.tuples(st.just("poll"), st.integers(0, 50)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(EVENTS, st.sets(st.integers(1, 8), max_size=3), st.sampled_from([0, 20, 1000]), st.sampled_from([0, 40]))
def test_whatever_happens_batches_are_lawful_and_nothing_is_lost(events, preferred, delay, timeout):
    policy = QueuePolicy(default_timeout=timeout)
    line = batcher(preferred=preferred, delay=delay, policies=[policy] * 3)
    now, pushed, gone, executed = 0, [], set(), []
    priorities = {}

    def step():
        gone.update(line.expire(now))
        decision = line.poll(now)
        if isinstance(decision, Dispatch):
            batch = decision.items
            assert sum(max(1, item.rows) for item in batch) <= 8
            assert len({item.merge_key for item in batch}) == 1
            assert gone.isdisjoint(batch)
            waiting = [item for item in pushed if item not in gone and item not in executed]
            waiting.sort(key=lambda item: priorities[item])  # stable: arrival within a level
            assert batch == waiting[: len(batch)]
            executed.extend(batch)
        elif isinstance(decision, WaitUntil):
            assert decision.time > now
        return decision

    for event, *values in events:
        if event == "push":
            item = Item(values[0], values[1])
            priorities[item] = values[2] or 1
            line.push(item, now, priority=values[2])
            pushed.append(item)
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
