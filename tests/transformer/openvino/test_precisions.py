"""Stored weights: what integers lose, what is stored how, and that the network computes with what is stored."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import SlipwayError
from slipway.transformer.openvino.network import OpenVinoModel
from slipway.transformer.openvino.quantisation import int4_groups, int8_rows
from slipway.transformer.openvino.stored_weights import DATA, GraphConstant, open_stored, write
from tests.kits.decoder_models import VOCABULARY, save_decoder
from tests.transformer.openvino.paged_run import PagedRun

PROMPTS = [np.random.default_rng(length).integers(3, VOCABULARY, length) for length in (40, 7)]
SIZES = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "attention_bias": True}


def numbers(packed):
    """Return the int4 numbers of bytes, the low halves first."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1).astype(np.int8)
    return np.where(halves > 7, halves - 16, halves)


def restored(array):
    """Return a stored array as float32."""
    if array.scales is None:
        return GraphConstant("float32", array.shape, np.asarray(array.values, np.float32))
    integers = array.values if array.form == "int8" else numbers(array.values)
    groups = integers.reshape(*array.scales.shape, -1) * array.scales[..., None]
    return GraphConstant("float32", array.shape, groups.reshape(array.shape).astype(np.float32))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llama")
    save_decoder("llama", directory, **SIZES)
    return read_huggingface(directory)


@pytest.fixture(scope="module")
def store(checkpoint, tmp_path_factory):
    def made(precision):
        directory = tmp_path_factory.mktemp(precision)
        write(checkpoint.spec, checkpoint.weights, directory, precision)
        return directory

    return {precision: made(precision) for precision in ("float32", "bfloat16", "int8", "int4")}


def scores(spec, arrays, precision):
    network = OpenVinoModel.compile(spec, arrays, precision, threads=1).network(8)
    found = PagedRun(network, PROMPTS).advance(dict(enumerate(map(len, PROMPTS))))
    network.close()
    return found


@pytest.mark.parametrize(("precision", "largest"), [("bfloat16", 0.03), ("int8", 0.04), ("int4", 0.04)])
def test_the_network_computes_with_the_stored_numbers(precision, largest, checkpoint, store):
    arrays = open_stored(store[precision])
    exact = scores(checkpoint.spec, {name: restored(array) for name, array in arrays.items()}, "float32")
    error = scores(checkpoint.spec, arrays, precision) - exact
    assert 0 < np.sqrt(np.mean(error**2)) < largest * np.std(exact)  # activations are rounded too


def test_only_products_and_the_table_lose_precision(store):
    forms = {name: array.form for name, array in open_stored(store["int4"]).items()}
    assert forms["decoder.layers.0.self_attention.query.weight"] == "int4"
    assert forms["decoder.layers.1.feed_forward.down.weight"] == "int4"
    assert forms["decoder.embedding.tokens"] == forms["head.weight"] == "int8"
    assert forms["decoder.final_norm.scale"] == forms["decoder.layers.0.self_attention.query.bias"] == "float32"


def test_products_of_the_same_input_are_stored_as_one(checkpoint, store):
    arrays, weights = open_stored(store["float32"]), checkpoint.weights
    prefix = "decoder.layers.1.self_attention"
    parts = [weights[f"{prefix}.{part}.weight"] for part in ("query", "key", "value")]
    np.testing.assert_array_equal(arrays[f"{prefix}.query.weight"].values, np.concatenate(parts))
    assert f"{prefix}.key.weight" not in arrays


def test_int8_rows_are_within_half_a_step():
    matrix = np.random.default_rng(0).standard_normal((5, 64), np.float32)
    matrix[3] = 0
    integers, scales = int8_rows(matrix)
    assert np.all(np.abs(integers * scales[:, None] - matrix) <= scales[:, None] * 0.5001)
    assert np.all(np.abs(integers).max(axis=1)[[0, 1, 2, 4]] == 127)
    assert not integers[3].any()


def test_int4_groups_lose_less_than_rounding_by_the_largest_weight():
    random = np.random.default_rng(0)
    matrix = random.standard_normal((16, 256), np.float32) * random.uniform(0.01, 10, (16, 1)).astype(np.float32)
    matrix[2, :64] = 0
    packed, scales = int4_groups(matrix, 64)
    found = (numbers(packed).reshape(16, 4, 64) * scales[..., None]).reshape(16, 256)
    steps = np.abs(matrix.reshape(16, 4, 64)).max(axis=2, keepdims=True) / 7
    steps[steps == 0] = 1
    plain = (np.rint(matrix.reshape(16, 4, 64) / steps) * steps).reshape(16, 256)
    losses, plain_losses = (np.sum((each - matrix) ** 2, axis=1) for each in (found, plain))
    assert np.all(losses < 0.9 * plain_losses)
    assert not found[2, :64].any()


def test_a_file_that_was_cut_off_is_refused(checkpoint, tmp_path):
    write(checkpoint.spec, checkpoint.weights, tmp_path, "int8")
    with (tmp_path / DATA).open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(SlipwayError, match="the stored weights are damaged"):
        open_stored(tmp_path)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_a_copied_page_continues_like_its_original(precision, tolerance, checkpoint, store):
    network = OpenVinoModel.compile(checkpoint.spec, open_stored(store[precision]), precision, threads=1).network(8)
    run = PagedRun(network, [PROMPTS[1], PROMPTS[1]])
    expected = run.advance({0: 7})[-1]
    run.adopt(1, 0, 6)
    np.testing.assert_allclose(run.advance({1: 1})[0], expected, atol=tolerance)
    network.close()
    with pytest.raises(SlipwayError, match="the network is closed"):
        run.advance({0: 1})


def test_the_mapped_file_stays_as_long_as_a_network(checkpoint, tmp_path):
    write(checkpoint.spec, checkpoint.weights, tmp_path, "bfloat16")
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not list what is mapped")
    network = OpenVinoModel.compile(checkpoint.spec, open_stored(tmp_path), "bfloat16", threads=1).network(8)
    gc.collect()
    assert str(tmp_path / DATA) in maps.read_text()  # the library reads rows of the token table from there
    network.close()
    del network
    gc.collect()
    assert str(tmp_path / DATA) not in maps.read_text()
