"""Which requests join the first one in a batch: the nearest in length, within the limits."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.length_group import LengthGroup, LengthLimits
from slipway.scheduling.lengths import Lengths, padding_form


@dataclass(eq=False)
class Item:
    merge_key: Lengths
    rows: int = 1


def item(*sizes, rows=1):
    return Item(Lengths(None, sizes, prod(sizes)), rows)


def group(lengths, *, max_rows=8, preferred=(), share=0.1, tokens=0):
    limits = LengthLimits(max_rows, frozenset(preferred or [max_rows]), share, tokens)
    items = [each if isinstance(each, Item) else item(each) for each in lengths]
    made = LengthGroup(items[0], limits)
    made.extend(items[1:])
    return made


def lengths_of(made):
    return [each.merge_key.sizes[0] for each in made.items]


def test_equal_lengths_go_first_then_the_nearest():
    assert lengths_of(group([20, 18, 21, 20, 19, 22, 40])) == [20, 20, 19, 18, 21, 22]


def test_the_first_request_is_served_whatever_its_length():
    assert lengths_of(group([500, *[10] * 20])) == [500]
    assert lengths_of(group([10, *[500] * 20], max_rows=4)) == [10]


def test_the_oldest_among_equals_joins_first():
    items = [item(10) for _ in range(9)]
    assert group(items, max_rows=4).items == items[:4]
    items = [item(10), *(item(9) for _ in range(9))]
    assert group(items, max_rows=4, share=0.5).items == items[:4]


def test_a_step_over_the_share_is_made_good_by_the_next_ones():
    assert lengths_of(group([10, *[20] * 7])) == [10, *[20] * 7]  # 10 of 160 tokens are padding
    assert lengths_of(group([10, *[20] * 3])) == [10]  # 10 of 80 would be


def test_a_share_of_exactly_the_limit_is_allowed():
    assert lengths_of(group([8, 10], share=0.1)) == [8, 10]
    assert lengths_of(group([7, 10], share=0.1)) == [7]
    assert lengths_of(group([8, 10], share=0.0)) == [8]


def test_rows_are_counted_and_a_smaller_request_may_take_the_room_that_is_left():
    made = group([item(10, rows=5), item(10, rows=4), item(10, rows=3)])
    assert [each.rows for each in made.items] == [5, 3]


def test_empty_requests_take_a_place_too():
    assert len(group([item(10, rows=0) for _ in range(20)]).items) == 8


def test_the_token_limit_holds_with_padding_counted():
    assert lengths_of(group([100] * 9, tokens=512)) == [100] * 5
    assert lengths_of(group([100, 100, 103], tokens=300)) == [100, 100]


def test_beyond_half_the_token_limit_requests_run_one_by_one_at_once():
    made = group([300, 300], tokens=512)
    assert (lengths_of(made), made.full) == ([300], True)
    assert group([600], tokens=512).full


def test_a_group_is_full_when_one_of_fitting_length_found_no_room():
    assert group([item(10, rows=6), item(10, rows=3)]).full
    assert group([100, 100, 100, 100], tokens=350).full
    assert group([10] * 8).full


def test_a_group_is_not_full_because_of_lengths_that_do_not_fit_it():
    assert not group([item(10, rows=6), item(500, rows=3)]).full
    assert not group([10, 400], tokens=512).full


def test_preferred_sizes_are_found_among_the_first_to_join():
    made = group([20, 19, 20, 20, 21], preferred=[2, 4])
    assert (lengths_of(made)[:3], len(made.items), made.preferred) == ([20, 20, 20], 5, 4)
    assert group([item(20, rows=3), item(20, rows=3)], preferred=[4]).preferred == 1
    assert group([20, 400], preferred=[2]).preferred == 0


def test_several_variable_dims_are_padded_each_by_itself():
    made = group([item(10, 20), item(20, 10), item(10, 19)])
    assert [each.merge_key.sizes for each in made.items] == [(10, 20), (10, 19)]


def test_later_candidates_only_fill_up():
    made = group([20, 21], max_rows=4)
    made.extend([item(20), item(20), item(20)])
    assert lengths_of(made) == [20, 21, 20, 20]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((5, 5, 5), (7, 7, 7)),
        ((1, 1), (9, 9)),  # all equal: nothing broadcasts
        ((5, 8), (6, 7)),  # source and target of different lengths, in the same order
    ],
)
def test_sizes_in_the_same_order_may_be_padded_together(one, other):
    assert padding_form(one) == padding_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((5, 3), (3, 5)),  # both fail alone, but padded together they would fit
        ((5, 5), (5, 3)),
        ((5, 1), (7, 1)),  # a mask of size 1 would broadcast over the padding
        ((5, 2), (5, 1)),
        ((0,), (3,)),  # an empty request may fail alone
        ((0, 0), (3, 3)),
        ((0, 1), (5, 8)),
    ],
)
def test_sizes_that_would_mean_something_else_are_not_padded_together(one, other):
    assert padding_form(one) != padding_form(other)


ITEMS = st.lists(
    st.builds(item, st.integers(1, 40), st.integers(1, 3), rows=st.integers(0, 4)), min_size=1, max_size=40
)


@given(
    ITEMS,
    st.sets(st.integers(1, 8), max_size=2),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.sampled_from([0, 50, 500]),
    st.integers(0, 40),
)
def test_limits_hold_for_any_queue(items, preferred, share, tokens, cut):
    made = group(items[: cut + 1], preferred=preferred, share=share, tokens=tokens)
    made.extend(items[cut + 1 :])
    assert made.items[0] is items[0]
    assert len(set(made.items)) == len(made.items)
    for count in {len(made.items), made.preferred or 1}:
        batch = made.items[:count]
        longest = prod(map(max, zip(*(each.merge_key.sizes for each in batch), strict=True)))
        rows = sum(each.rows for each in batch)
        own = sum(each.rows * each.merge_key.tokens for each in batch)
        assert sum(max(1, each.rows) for each in batch) <= 8
        assert rows * longest - own <= share * rows * longest
        assert len(batch) == 1 or not tokens or rows * longest <= tokens
