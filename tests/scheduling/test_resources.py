"""How many of a resource there are; counts and texts as tritonserver's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.config.rate_limit import Claim, ResourceCount, ResourceKey
from slipway.errors import Code, SlipwayError
from slipway.scheduling.resources import Resources

R1, R2 = ResourceKey("R1", 0), ResourceKey("R2", 0)
EVERYWHERE = ResourceKey("R1")


def claim(*needs, priority=1):
    return Claim(needs, priority)


def refused(text):
    return pytest.raises(SlipwayError, match=re.escape(text))


def limited(name, count, needed):
    return refused(
        f'Resource count for "{name}" is limited to {count} which will prevent scheduling of one or more model '
        f"instances, the minimum required count is {needed}"
    )


def test_without_a_flag_there_is_what_the_most_demanding_instance_needs():
    resources = Resources()
    resources.add([claim((R1, 4), (R2, 4))])
    resources.add([claim((R2, 5))])
    resources.add([claim((R1, 1))])
    assert resources.totals == {R1: 4, R2: 5}


def test_the_counts_fall_when_the_most_demanding_model_is_unloaded():
    resources = Resources()
    large, small = [claim((R1, 4), (R2, 1))] * 2, [claim((R1, 1))]
    resources.add(large)
    resources.add(small)
    resources.remove(large)
    assert resources.totals == {R1: 1}
    resources.remove(small)
    assert resources.totals == {}


def test_a_model_that_is_loaded_twice_counts_until_both_are_gone():
    resources = Resources()
    resources.add([claim((R1, 4))])
    resources.add([claim((R1, 4))])
    resources.remove([claim((R1, 4))])
    assert resources.totals == {R1: 4}


def test_a_flag_decides_the_count_on_every_device():
    resources = Resources([ResourceCount("R1", 10)])
    resources.add([claim((R1, 4)), claim((ResourceKey("R1", 3), 2))])
    assert resources.totals == {R1: 10, ResourceKey("R1", 3): 10}


def test_of_the_counts_for_a_device_and_for_each_the_larger_one_holds():
    resources = Resources([ResourceCount("R1", 3), ResourceCount("R1", 8, 0), ResourceCount("R1", 1, 1)])
    resources.add([claim((R1, 1)), claim((ResourceKey("R1", 1), 1)), claim((ResourceKey("R1", 2), 1))])
    assert [resources.totals[ResourceKey("R1", device)] for device in range(3)] == [8, 3, 3]


def test_a_flag_given_twice_counts_with_its_smaller_value():
    resources = Resources([ResourceCount("R1", 9, 0), ResourceCount("R1", 3, 0)])
    with limited("R1", 3, 4):
        resources.add([claim((R1, 4))])


def test_a_global_resource_has_the_largest_count_that_any_flag_gives():
    resources = Resources([ResourceCount("R1", 2), ResourceCount("R1", 5, 7)])
    resources.add([claim((EVERYWHERE, 1))])
    assert resources.totals == {EVERYWHERE: 5}


def test_with_flags_a_resource_without_one_is_missing():
    resources = Resources([ResourceCount("R1", 9)])
    with limited("R2", 0, 1):
        resources.add([claim((R1, 4), (R2, 1))])
    with limited("r1", 0, 1):
        resources.add([claim((ResourceKey("r1", 0), 1))])


def test_a_flag_for_another_device_does_not_count():
    with limited("R1", 0, 4):
        Resources([ResourceCount("R1", 9, 1)]).add([claim((R1, 4))])


def test_a_refused_model_changes_nothing():
    resources = Resources()
    resources.add([claim((EVERYWHERE, 2))])
    with refused('Resource "R1" is present as both global and device-specific resource in the model configuration.'):
        resources.add([claim((R2, 1)), claim((R1, 4))])
    assert resources.totals == {EVERYWHERE: 2}
    resources.add([claim((R2, 1))])


def test_a_resource_may_change_its_kind_when_nobody_uses_it_any_more():
    resources = Resources()
    resources.add([claim((EVERYWHERE, 2))])
    resources.remove([claim((EVERYWHERE, 2))])
    resources.add([claim((R1, 1))])
    assert resources.totals == {R1: 1}


def test_a_refusal_says_which_flag_would_do():
    with pytest.raises(SlipwayError) as caught:
        Resources([ResourceCount("R1", 3)]).add([claim((R1, 4))])
    assert caught.value.code is Code.INVALID_ARG
    assert "--rate-limit-resource=R1:4" in caught.value.problems[0].fix


NEEDS = st.dictionaries(
    st.builds(ResourceKey, st.sampled_from("abc"), st.sampled_from([0, 1])), st.integers(0, 5), max_size=3
)
MODELS = st.lists(st.lists(st.builds(lambda needs: Claim(tuple(needs.items())), NEEDS), max_size=3), max_size=6)


@given(MODELS, st.data())
def test_loading_and_unloading_in_any_order_leaves_what_loading_the_rest_gives(models, data):
    resources, rest = Resources(), Resources()
    gone = data.draw(st.lists(st.booleans(), min_size=len(models), max_size=len(models)))
    for model in models:
        resources.add(model)
    for model, is_gone in zip(models, gone, strict=True):
        if is_gone:
            resources.remove(model)
        else:
            rest.add(model)
    assert resources.totals == rest.totals
