import pytest

from slipway.scheduling.queue import QueueFullError, QueuePolicy, RequestQueue


def items(queue):
    return [item for item, _ in queue.entries()]


def test_items_of_a_level_leave_in_order_of_arrival():
    queue = RequestQueue()
    for item in "abc":
        queue.push(item, 0)
    assert items(queue) == ["a", "b", "c"]


def test_lower_numbers_go_first_and_zero_or_too_high_a_priority_means_the_default_level():
    queue = RequestQueue([QueuePolicy()] * 3, default_level=2)
    for item, priority in [("low", 3), ("none", 0), ("beyond", 4), ("high", 1), ("middle", 2)]:
        queue.push(item, 0, priority=priority)
    assert items(queue) == ["high", "none", "beyond", "middle", "low"]


def test_a_full_level_refuses_and_leaves_the_other_levels_alone():
    queue = RequestQueue([QueuePolicy(), QueuePolicy(max_queue_size=1)])
    queue.push("a", 0, priority=2)
    with pytest.raises(QueueFullError):
        queue.push("b", 0, priority=2)
    queue.push("c", 0, priority=1)
    assert items(queue) == ["c", "a"]


def test_removing_an_item_frees_its_place():
    queue = RequestQueue([QueuePolicy(max_queue_size=1)])
    queue.push("a", 0)
    assert queue.remove("a")
    assert not queue.remove("a")
    queue.push("b", 0)
    assert items(queue) == ["b"]


def test_an_expired_item_is_rejected_at_its_deadline():
    queue = RequestQueue([QueuePolicy(default_timeout=100)])
    queue.push("a", 0)
    queue.push("b", 50)
    assert queue.next_deadline() == 100
    assert queue.expire(99) == []
    assert queue.expire(100) == ["a"]
    assert queue.next_deadline() == 150
    assert items(queue) == ["b"]


def test_delay_moves_an_expired_item_behind_the_others_of_its_level():
    queue = RequestQueue([QueuePolicy(default_timeout=10, delay_expired=True), QueuePolicy()])
    queue.push("late", 0)
    queue.push("lower", 0, priority=2)
    queue.push("fresh", 5)
    assert queue.expire(10) == []
    assert items(queue) == ["fresh", "late", "lower"]
    assert queue.expire(1000) == []
    assert items(queue) == ["late", "fresh", "lower"]
    assert queue.next_deadline() is None


def test_a_delayed_item_still_takes_a_place_of_the_queue():
    queue = RequestQueue([QueuePolicy(max_queue_size=1, default_timeout=10, delay_expired=True)])
    queue.push("late", 0)
    queue.expire(10)
    with pytest.raises(QueueFullError):
        queue.push("b", 11)
    assert queue.remove("late")


@pytest.mark.parametrize(
    ("default", "allowed", "requested", "effective"),
    [(100, True, 30, 30), (100, True, 300, 100), (100, True, 0, 100), (100, False, 30, 100), (0, True, 30, 0)],
)
def test_a_request_may_only_shorten_a_timeout_that_there_is(default, allowed, requested, effective):
    policy = QueuePolicy(default_timeout=default, allow_timeout_override=allowed)
    assert policy.timeout(requested) == effective


def test_shortened_timeouts_expire_before_older_items():
    queue = RequestQueue([QueuePolicy(default_timeout=100, allow_timeout_override=True)])
    queue.push("a", 0)
    queue.push("b", 0, timeout=10)
    queue.push("c", 0, timeout=20)
    assert queue.expire(15) == ["b"]
    assert queue.next_deadline() == 20
    assert queue.expire(200) == ["a", "c"]
