"""GPTQ, AWQ and bitsandbytes: packed weights stand for the numbers that were packed one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.checkpoints.packed.packed_weights import unpack
from slipway.errors import Code, SlipwayError
from slipway.transformer.weights import Array
from tests.kits.packed_weights import Rounded, four_bits

CONFIG = Path("model/config.json")
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True, "version": "gemm"}
EIGHT = {"quant_method": "bitsandbytes", "load_in_8bit": True}
FOUR = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


def stored(arrays: dict[str, np.ndarray], name: str = "layer") -> dict[str, Array]:
    return {f"{name}.{part}": Array(array.shape, lambda array=array: array) for part, array in arrays.items()}


def unpacked(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    bias = {"layer.bias": Array((1,), lambda: np.ones(1, np.float32))}
    found = unpack(CONFIG, config, stored(arrays) | bias)
    assert set(found.arrays) == {"layer.weight", "layer.bias"}
    weight = found.arrays["layer.weight"]
    assert weight.read().shape == weight.shape
    return weight.read()


def refusal(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> SlipwayError:
    with pytest.raises(SlipwayError) as caught:
        unpacked(config, arrays)
    return caught.value


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("form", ["gptq", "gptq_v2"])
def test_gptq_of_every_width_and_both_forms(bits, form):
    made = Rounded(32, 48, 16, bits, seed=bits)
    config = GPTQ | {"bits": bits, "checkpoint_format": form}
    np.testing.assert_array_equal(unpacked(config, made.gptq(less_one=form == "gptq")), made.weight)


def test_gptq_whose_inputs_are_in_the_order_of_their_importance():
    made = Rounded(16, 64, 16, 4, seed=1, mixed=True)
    np.testing.assert_array_equal(unpacked(GPTQ | {"desc_act": True}, made.gptq(less_one=True)), made.weight)


def test_gptq_with_one_group_and_without_the_groups_of_inputs():
    made = Rounded(16, 32, 32, 4, seed=2)
    arrays = made.gptq(less_one=True)
    del arrays["g_idx"]
    np.testing.assert_array_equal(unpacked(GPTQ | {"group_size": -1}, arrays), made.weight)


def test_awq():
    made = Rounded(24, 48, 16, 4, seed=3)
    np.testing.assert_array_equal(unpacked(AWQ, made.awq()), made.weight)


def test_bitsandbytes_in_8_bits():
    random = np.random.default_rng(4)
    numbers, peaks = random.integers(-127, 128, (6, 8)).astype(np.int8), random.random(6, np.float32)
    expected = [[int(number) * float(peak) / 127 for number in row] for row, peak in zip(numbers, peaks, strict=True)]
    np.testing.assert_allclose(unpacked(EIGHT, {"weight": numbers, "SCB": peaks}), expected, rtol=1e-6)


def test_8_bits_in_another_order_than_rows_are_refused():
    arrays = {"weight": np.ones((6, 8), np.int8), "SCB": np.full(6, 127, np.float32)}
    np.testing.assert_array_equal(unpacked(EIGHT, arrays | {"weight_format": np.array(0, np.uint8)}), np.ones((6, 8)))
    error = refusal(EIGHT, arrays | {"weight_format": np.array(2, np.uint8)})
    assert error.code is Code.UNSUPPORTED
    assert "layer: only weights in rows can be read" in error.message


@pytest.mark.parametrize(("shape", "block", "nested"), [((8, 16), 64, 0), ((8, 16), 16, 4), ((3, 7), 4, 3)])
def test_bitsandbytes_in_4_bits(shape, block, nested):
    arrays, weight = four_bits(shape, block=block, nested=nested, seed=block)
    np.testing.assert_allclose(unpacked(FOUR, arrays), weight, rtol=1e-6)


def test_settings_that_nobody_reads_are_named():
    found = unpack(
        CONFIG,
        GPTQ | {"damp_percent": 0.1, "new": 1, "meta": None},
        stored(Rounded(8, 16, 16, 4, 5).gptq(less_one=True)),
    )
    assert (found.form, found.weights, found.ignored) == ("GPTQ", 1, ("damp_percent", "new"))


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (
            {"quant_method": "fp8"},
            Code.UNSUPPORTED,
            "'quant_method' is 'fp8'; weights packed by awq, bits",
        ),
        ({"quant_method": ["gptq"]}, Code.UNSUPPORTED, "'quant_method' is"),
        ({"bits": 3}, Code.UNSUPPORTED, "'bits' is 3; supported: 2, 4, 8"),
        ({"bits": True}, Code.UNSUPPORTED, "'bits' is true"),
        ({"group_size": 0}, Code.INVALID_ARG, "'group_size' is 0"),
        ({"group_size": 10**9}, Code.INVALID_ARG, "'group_size' is 1000000000"),
        ({"group_size": 8}, Code.INVALID_ARG, "layer: 1 groups of 8 for 16 inputs"),
        ({"checkpoint_format": "marlin"}, Code.UNSUPPORTED, "'checkpoint_format' is \"marlin\""),
        ({"bits": 8}, Code.INVALID_ARG, "layer.qzeros has shape [1, 1], expected [1, 2]"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(change, code, message):
    error = refusal(GPTQ | change, Rounded(8, 16, 16, 4, 5).gptq(less_one=True))
    assert error.code is code
    assert message in error.message


def test_weights_that_are_not_whole_are_refused():
    arrays = Rounded(8, 16, 16, 4, 5).gptq(less_one=True)
    assert "lacks layer.scales" in refusal(GPTQ, {k: v for k, v in arrays.items() if k != "scales"}).message
    assert "no array's name ends with '.SCB'" in refusal(EIGHT, arrays).message
    assert "expected one of" in refusal(EIGHT | {"load_in_4bit": True}, arrays).message
    wrong = arrays | {"g_idx": np.full(16, 7, np.int32)}
    assert "g_idx names groups from 7 to 7, but there are 1" in refusal(GPTQ, wrong).message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [8]}, "'shape' is [8], expected two sizes"),
        ({"shape": [8, -16]}, "'shape' is"),
        ({"shape": [8, 15]}, "has 64 bytes for [8, 15]"),
        ({"blocksize": 0}, "'blocksize' is 0"),
        ({"blocksize": 1}, "weight.absmax has shape [2], expected [128]"),
        ({"dtype": "int4"}, "dtype 'int4'"),
    ],
)
def test_a_4_bit_weight_that_lies_about_itself_is_refused(change, message):
    arrays, _ = four_bits((8, 16), block=64, nested=0, seed=1)
    name = "weight.quant_state.bitsandbytes__nf4"
    state = json.loads(arrays[name].tobytes()) | change
    error = refusal(FOUR, arrays | {name: np.frombuffer(json.dumps(state).encode(), np.uint8)})
    assert message in error.message
