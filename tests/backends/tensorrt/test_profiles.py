"""Which shapes a plan accepts: the FinBERT plan of shern2/test-triton-pub, and one of two profiles."""

import pytest

from slipway.backends.tensorrt.profiles import Range, allowed_profiles, check_profiles, choose_profile, largest_batch
from slipway.errors import Code, SlipwayError
from tests.backends.models import parse

FINBERT = {name: Range((1, 8), (8, 128), (16, 512)) for name in ("ids", "mask")}
LONE = {name: Range((1, 1), (1, 16), (1, 64)) for name in ("ids", "mask")}
BOTH = {0: FINBERT, 1: LONE}


def config(text: str = "max_batch_size: 16", dims: str = "[-1]"):
    inputs = " ".join(f'input {{ name: "{name}" data_type: TYPE_INT32 dims: {dims} }}' for name in ("ids", "mask"))
    return parse(f"{text} {inputs}")


def refused(function, *given) -> str:
    with pytest.raises(SlipwayError) as caught:
        function(*given)
    assert caught.value.code is Code.INVALID_ARG
    return caught.value.message


@pytest.mark.parametrize(
    ("shape", "profile"), [((16, 512), 0), ((1, 8), 1), ((1, 4), 1), ((1, 65), 0), ((2, 8), 0), ((1, 64), 1)]
)
def test_the_profile_whose_optimum_is_nearest_is_chosen(shape, profile):
    assert choose_profile(BOTH, {"ids": shape, "mask": shape}, "m") == profile


def test_inputs_without_a_profile_do_not_matter():
    assert choose_profile(BOTH, {"ids": (4, 8), "mask": (4, 8), "sizes": (3,)}, "m") == 0


@pytest.mark.parametrize("shape", [(17, 8), (2, 7), (1, 513), (8,)])
def test_shapes_outside_every_profile_are_refused_with_what_fits(shape):
    message = refused(choose_profile, {0: FINBERT}, {"ids": shape}, "m")
    given = ",".join(map(str, shape))
    assert message == (
        f"model 'm': the input shapes 'ids' [{given}] fit no optimization profile: 'ids' [1,8] to [16,512]"
    )


def test_a_configuration_within_the_profiles_passes():
    check_profiles(config(), [FINBERT, LONE])
    check_profiles(config("max_batch_size: 0", "[16, 512]"), [FINBERT])
    check_profiles(config(dims="[128]"), [LONE, FINBERT])
    check_profiles(config(dims="[-1] allow_ragged_batch: true"), [{name: Range((1,), (8,), (32,)) for name in FINBERT}])


def test_a_batch_larger_than_every_profile_is_refused():
    assert largest_batch([FINBERT, LONE]) == 16
    assert refused(check_profiles, config("max_batch_size: 32"), [FINBERT, LONE]) == (
        "unable to load model 'm', configuration specified max-batch 32 but TensorRT engine only supports max-batch 16"
    )


def test_dims_outside_every_profile_are_refused_each():
    message = refused(check_profiles, config(dims="[1024]"), [FINBERT])
    assert message.splitlines() == [
        f"unable to load model 'm', input '{name}' with dims [1024] fits no optimization profile: "
        f"'{name}' [1,8] to [16,512]"
        for name in ("ids", "mask")
    ]


def test_instance_groups_may_name_profiles():
    assert allowed_profiles(config(), 2) == (0, 1)
    assert allowed_profiles(config('max_batch_size: 1 instance_group { profile: ["1"] }'), 2) == (1,)
    message = refused(allowed_profiles, config('max_batch_size: 1 instance_group { profile: ["2"] }'), 2)
    assert "the plan does not have an optimization profile '2', only 0 to 1" in message
