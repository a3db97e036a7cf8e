"""The rate limiter exceeds nothing, lets everyone run, and shares by priority."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slipway.config.rate_limit import Claim, ResourceCount, ResourceKey
from slipway.scheduling.rate_limiter import Permit, PermitState, RateLimiter
from slipway.scheduling.resources import Resources

R, S, T = ResourceKey("R", 0), ResourceKey("S", 0), ResourceKey("T")


def limiter(**counts):
    return RateLimiter(Resources([ResourceCount(name, count) for name, count in counts.items()]))


def admitted(rates, *needs, priority=1):
    (permit,) = rates.add([Claim(needs, priority)])
    return permit


def granted(rates):
    """Return all that may run now."""
    return list(iter(rates.poll, None))


def run_in_turn(rates, permits, executions, width=1):
    """Keep every instance busy, `width` at a time; return the order in which they ran."""
    for permit in permits:
        rates.stage(permit)
    running, order = granted(rates), []
    assert len(running) == width
    while len(order) < executions:
        done = running.pop(0)
        order.append(done)
        rates.release(done)
        rates.stage(done)
        running += granted(rates)
    return order


def test_two_that_need_the_same_resource_run_one_after_the_other():
    rates = limiter()
    first, second = admitted(rates, (R, 1)), admitted(rates, (R, 1))
    rates.stage(first)
    rates.stage(second)
    assert granted(rates) == [first]
    rates.release(first)
    assert granted(rates) == [second]


def test_as_many_run_together_as_there_are_resources():
    rates = limiter(R=5)
    permits = [admitted(rates, (R, 2)) for _ in range(4)]
    for permit in permits:
        rates.stage(permit)
    assert granted(rates) == permits[:2]
    assert rates.used == {R: 4}


def test_resources_of_different_devices_are_different():
    rates = limiter()
    permits = [admitted(rates, (ResourceKey("R", device), 1)) for device in range(3)]
    for permit in permits:
        rates.stage(permit)
    assert granted(rates) == permits


def test_an_instance_that_needs_nothing_never_waits():
    rates = limiter()
    holder, waiting, free = admitted(rates, (R, 1)), admitted(rates, (R, 1)), admitted(rates, (R, 0))
    for permit in (holder, waiting, free):
        rates.stage(permit)
    assert granted(rates) == [holder, free]


def test_with_equal_priorities_all_take_turns():
    rates = limiter()
    permits = [admitted(rates, (R, 1)) for _ in range(3)]
    assert run_in_turn(rates, permits, 9) == permits * 3


@pytest.mark.parametrize("priorities", [(1, 2), (1, 3, 3), (2, 4, 8), (5, 1)], ids=str)
def test_executions_are_shared_in_inverse_proportion_to_the_priorities(priorities):
    rates = limiter()
    permits = [admitted(rates, (R, 1), priority=priority) for priority in priorities]
    common = 120
    executions = Counter(run_in_turn(rates, permits, sum(common // priority for priority in priorities)))
    assert [executions[permit] for permit in permits] == [common // priority for priority in priorities]


def test_triton_would_choose_the_same_order():
    """The smallest product of executions and priority is next."""
    rates = limiter()
    priorities = (1, 2, 5)
    permits = [admitted(rates, (R, 1), priority=priority) for priority in priorities]
    count: Counter[Permit] = Counter()
    for permit in run_in_turn(rates, permits, 60):
        products = [count[each] * each.claim.priority for each in permits]
        assert count[permit] * permit.claim.priority == min(products)
        count[permit] += 1


def test_shares_hold_with_several_running_at_once():
    rates = limiter(R=2)
    permits = [admitted(rates, (R, 1), priority=priority) for priority in (1, 1, 4)]
    executions = Counter(run_in_turn(rates, permits, 90, width=2))
    assert [executions[permit] for permit in permits] == [40, 40, 10]


def test_what_others_do_with_their_resources_does_not_change_the_shares():
    rates = limiter()
    busy = admitted(rates, (S, 1))
    permits = [admitted(rates, (R, 1), priority=priority) for priority in (1, 2)]
    for permit in permits:
        rates.stage(permit)
    order = []
    for _ in range(30):
        for _ in range(50):
            rates.stage(busy)
            granted(rates)
            rates.release(busy)
        rates.stage(busy)
        running = [permit for permit in [*granted(rates), *permits] if permit.state is PermitState.GRANTED]
        (current,) = {permit for permit in running if permit in permits}
        order.append(current)
        rates.release(current)
        rates.stage(current)
        rates.release(busy)
        rates.withdraw(busy)
    assert [Counter(order)[permit] for permit in permits] == [20, 10]


def test_a_model_loaded_later_does_not_keep_the_others_from_running():
    rates = limiter()
    old = [admitted(rates, (R, 1)) for _ in range(2)]
    run_in_turn(rates, old, 1000)
    for permit in old:
        rates.withdraw(permit)
        rates.release(permit)
    new = admitted(rates, (R, 1))
    assert Counter(run_in_turn(rates, [*old, new], 30)) == dict.fromkeys([*old, new], 10)


def test_a_large_need_is_not_overtaken_for_ever_by_small_ones():
    rates = limiter(R=4)
    small = [admitted(rates, (R, 1)) for _ in range(4)]
    large = admitted(rates, (R, 4))
    for permit in small:
        rates.stage(permit)
    running = granted(rates)
    rates.stage(large)
    for _ in range(3):
        done = running.pop(0)
        rates.release(done)
        rates.stage(done)
        running += granted(rates)
        assert large not in running
    rates.release(running.pop(0))
    assert granted(rates) == [large]


def test_one_that_waits_does_not_hold_up_those_that_cannot_delay_it():
    rates = limiter(R=1, S=2)
    holder, both = admitted(rates, (R, 1)), admitted(rates, (R, 1), (S, 1))
    one, other = admitted(rates, (S, 1)), admitted(rates, (S, 1))
    for permit in (holder, both, one, other):
        rates.stage(permit)
    assert granted(rates) == [holder, one]  # the second S is kept for `both`
    rates.release(holder)
    assert granted(rates) == [both]
    rates.release(one)
    assert granted(rates) == [other]


def test_what_was_granted_for_nothing_is_not_counted_as_an_execution():
    rates = limiter()
    first, second = admitted(rates, (R, 1)), admitted(rates, (R, 1))
    rates.stage(first)
    rates.stage(second)
    assert granted(rates) == [first]
    rates.release(first, executed=False)
    rates.stage(first)
    assert granted(rates) == [second]
    rates.release(second)
    rates.stage(second)
    assert granted(rates) == [first]


def test_an_unloaded_model_leaves_nothing_behind():
    rates = limiter()
    holder, waiting, other = admitted(rates, (R, 1)), admitted(rates, (R, 1), (S, 3)), admitted(rates, (S, 3))
    for permit in (holder, waiting, other):
        rates.stage(permit)
    assert granted(rates) == [holder]
    rates.remove([waiting])
    assert granted(rates) == [other]
    rates.remove([waiting, holder])
    rates.remove([other])
    assert (rates.used, rates.resources.totals) == ({}, {})


def test_a_smaller_count_waits_for_what_runs_already():
    rates = limiter()
    large = admitted(rates, (R, 5))
    small = [admitted(rates, (R, 2)) for _ in range(2)]
    for permit in small:
        rates.stage(permit)
    assert granted(rates) == small
    rates.remove([large])
    rates.release(small[0])
    rates.stage(small[0])
    assert granted(rates) == []
    rates.release(small[1])
    assert granted(rates) == [small[0]]


NEEDS = st.lists(
    st.tuples(st.sampled_from([R, S, T]), st.integers(0, 3)), max_size=3, unique_by=lambda need: need[0]
).map(tuple)
CLAIMS = st.builds(Claim, NEEDS, st.integers(1, 4))


class Servers(RuleBasedStateMachine):
    """Models come and go, have work or not, and execute for any time."""

    def __init__(self):
        super().__init__()
        self.rates = RateLimiter(Resources())
        self.permits: list[Permit] = []
        self.waiting: dict[Permit, Counter[Permit]] = {}  # how often others began since it waits

    def chosen(self, data, state):
        return data.draw(st.sampled_from([permit for permit in self.permits if permit.state is state]))

    def has(self, state):
        return any(permit.state is state for permit in self.permits)

    def begin(self):
        for permit in granted(self.rates):
            for passed in self.waiting.values():
                passed[permit] += 1
            del self.waiting[permit]
            for key, _ in permit.claim.taken:
                assert self.rates.used[key] <= self.rates.resources.totals[key]
        self.waiting = {permit: passed for permit, passed in self.waiting.items() if permit.state is PermitState.STAGED}

    @precondition(lambda self: len(self.permits) < 8)
    @rule(claims=st.lists(CLAIMS, min_size=1, max_size=2))
    def load(self, claims):
        self.permits += self.rates.add(claims)
        self.begin()

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def unload(self, data):
        permit = data.draw(st.sampled_from(self.permits))
        self.rates.remove([permit])
        self.permits.remove(permit)
        self.waiting.pop(permit, None)
        self.begin()

    @precondition(lambda self: self.has(PermitState.IDLE))
    @rule(data=st.data())
    def work_comes(self, data):
        permit = self.chosen(data, PermitState.IDLE)
        self.rates.stage(permit)
        self.waiting[permit] = Counter()
        self.begin()

    @precondition(lambda self: self.has(PermitState.IDLE))
    @rule(data=st.data())
    def one_executes_often(self, data):
        permit = self.chosen(data, PermitState.IDLE)
        for _ in range(8):
            self.rates.stage(permit)
            self.waiting[permit] = Counter()
            self.begin()
            if permit.state is not PermitState.GRANTED:
                break
            self.rates.release(permit)
            self.begin()

    @precondition(lambda self: self.has(PermitState.STAGED))
    @rule(data=st.data())
    def work_is_cancelled(self, data):
        permit = self.chosen(data, PermitState.STAGED)
        self.rates.withdraw(permit)
        del self.waiting[permit]
        self.begin()

    @precondition(lambda self: self.has(PermitState.GRANTED))
    @rule(data=st.data(), more=st.booleans(), executed=st.booleans())
    def execution_ends(self, data, more, executed):
        permit = self.chosen(data, PermitState.GRANTED)
        self.rates.release(permit, executed=executed or more)
        if more:
            self.rates.stage(permit)
            self.waiting[permit] = Counter()
        self.begin()

    @invariant()
    def what_is_used_is_what_those_that_execute_need(self):
        used: Counter[ResourceKey] = Counter()
        for permit in self.permits:
            if permit.state is PermitState.GRANTED:
                used.update(dict(permit.claim.taken))
        assert {key: count for key, count in self.rates.used.items() if count} == dict(used)

    @invariant()
    def somebody_executes_while_somebody_waits(self):
        assert self.has(PermitState.GRANTED) or not self.has(PermitState.STAGED)

    @invariant()
    def nobody_is_passed_more_often_than_the_priorities_allow(self):
        for permit, passed in self.waiting.items():
            own = {key for key, _ in permit.claim.taken}
            for other, times in passed.items():
                if own & {key for key, _ in other.claim.taken}:
                    assert times <= ceil(permit.claim.priority / other.claim.priority) + 1


Servers.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestServers = Servers.TestCase


@given(st.lists(CLAIMS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_all_work_is_done_whatever_ends_first(claims, random):
    rates = RateLimiter(Resources())
    permits = rates.add(claims)
    left = Counter(dict.fromkeys(permits, 3))
    for permit in permits:
        rates.stage(permit)
    running = granted(rates)
    while left:
        done = running.pop(random.randrange(len(running)))  # fails if nobody executes
        rates.release(done)
        left[done] -= 1
        left += Counter()
        if done in left:
            rates.stage(done)
        running += granted(rates)
    assert not any(rates.used.values())


def test_the_first_of_equals_is_the_one_that_waits_longest():
    rates = limiter()
    permits = [admitted(rates, (R, 1)) for _ in range(4)]
    order = run_in_turn(rates, permits[::-1], 8)
    assert all(earlier is not later for earlier, later in pairwise(order))
    assert order == permits[::-1] * 2
