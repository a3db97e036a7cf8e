"""Our own checkpoints are whole or not there, the pointer comes last, and the last good one survives a full disk."""

import json
import struct
from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.checkpoints.tensor2tensor import atomic_file as atomic
from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.checkpoints.tensor2tensor.location import find_checkpoint, list_checkpoints
from slipway.checkpoints.tensor2tensor.reader import open_stored
from slipway.checkpoints.tensor2tensor.training_checkpoint import (
    keep_newest,
    newest_step,
    point_to,
    save_weights,
    state_path,
    weights_path,
)
from slipway.checkpoints.tensor2tensor.weights_file import open_weights, write_weights
from slipway.errors import Code, SlipwayError
from tests.checkpoints.tensor2tensor.bundles import write_bundle
from tests.checkpoints.tensor2tensor.public_data import CHECKPOINT, needs_public_files

ARRAYS = {
    "b/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/half": np.array([0.5, -1.5], ml_dtypes.bfloat16),
    "c/step": np.array(3, np.int64),
    "d/empty": np.zeros((0, 2), np.float16),
}


def save(directory, step):
    save_weights(directory, step, ARRAYS)
    point_to(directory, step)


def test_what_is_written_is_read(tmp_path):
    write_weights(tmp_path / "w.safetensors", ARRAYS)
    found = open_weights(tmp_path / "w.safetensors")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].read().dtype == array.dtype
        assert np.array_equal(found[name].read(), array)


def test_the_safetensors_library_reads_the_same(tmp_path):
    from safetensors.numpy import load_file

    arrays = {name: array for name, array in ARRAYS.items() if name != "a/half"}
    write_weights(tmp_path / "w.safetensors", arrays)
    found = load_file(tmp_path / "w.safetensors")
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_a_file_of_another_writer_is_read_without_checksums(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.ones(2, np.float32)}, tmp_path / "w.safetensors")
    assert open_weights(tmp_path / "w.safetensors")["x"].read().sum() == 2


def test_a_changed_number_names_the_array(tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, ARRAYS)
    data = bytearray(path.read_bytes())
    data[-10] ^= 1  # in "c/step" or before it
    path.write_bytes(data)
    found, wrong = open_weights(path), []
    for name, array in found.items():
        try:
            array.read()
        except SlipwayError as error:
            wrong.append((name, error.message))
    assert wrong == [("b/kernel", f"array 'b/kernel' in '{path}' has a wrong checksum: the file is damaged")]


def test_a_file_that_is_cut_short_names_the_arrays(tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SlipwayError, match=r"b/kernel: it ends at byte .*: the file is incomplete"):
        open_weights(path)


def test_an_array_that_the_form_does_not_have_is_named(tmp_path):
    with pytest.raises(SlipwayError, match="array 'x' holds complex64, expected one of float32"):
        write_weights(tmp_path / "w.safetensors", {"x": np.zeros(1, np.complex64)})
    assert not list(tmp_path.iterdir())


def test_a_directory_means_the_checkpoint_that_its_pointer_names(tmp_path):
    for step in (10, 20):
        save(tmp_path, step)
    point_to(tmp_path, 10)
    assert find_checkpoint(tmp_path).step == newest_step(tmp_path) == 10
    assert (tmp_path / "checkpoint").read_text().splitlines() == [
        'model_checkpoint_path: "model.ckpt-10"',
        'all_model_checkpoint_paths: "model.ckpt-10"',
        'all_model_checkpoint_paths: "model.ckpt-20"',
    ]
    assert [each.step for each in list_checkpoints(tmp_path)] == [10, 20]


@pytest.mark.parametrize("name", ["model.ckpt-20", "model.ckpt-20.safetensors", "model.ckpt-20.state.pt"])
def test_a_prefix_or_a_file_means_that_checkpoint(tmp_path, name):
    for step in (10, 20):
        save(tmp_path, step)
    point_to(tmp_path, 10)
    assert open_stored(tmp_path / name).step == 20


@needs_public_files
@pytest.mark.parametrize("name", ["", "model.ckpt-1", "model.ckpt-1.index", "model.ckpt-1.data-00001-of-00002"])
def test_a_bundle_is_found_the_same_ways(name):
    files = find_checkpoint(CHECKPOINT / name)
    assert (files.step, files.own, files.prefix.name) == (1, False, "model.ckpt-1")


def test_a_pointer_with_the_path_of_another_machine_means_the_file_beside_it(tmp_path):
    save(tmp_path, 10)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/home/else/t2t_train/model.ckpt-10"\n')
    assert find_checkpoint(tmp_path).prefix == tmp_path / "model.ckpt-10"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"nothing", "does not have a line model_checkpoint_path"),
        (b'model_checkpoint_path: "x/"', "does not have a line model_checkpoint_path"),
        (b"\xff", "cannot be read"),
        (b'model_checkpoint_path: "model.ckpt-99"', "names .*model.ckpt-99': neither 'model.ckpt-99.safetensors' nor"),
    ],
)
def test_a_damaged_pointer_is_refused(tmp_path, data, message):
    save(tmp_path, 10)
    (tmp_path / "checkpoint").write_bytes(data)
    with pytest.raises(SlipwayError, match=message):
        find_checkpoint(tmp_path)


def test_a_directory_without_a_pointer_names_its_checkpoints(tmp_path):
    save_weights(tmp_path, 10, ARRAYS)
    write_bundle(tmp_path / "model.ckpt-20", {"x": np.zeros(1, np.float32)})
    with pytest.raises(SlipwayError, match=r"specify one of its checkpoints: model.ckpt-10, model.ckpt-20") as caught:
        find_checkpoint(tmp_path)
    assert caught.value.code is Code.NOT_FOUND
    assert newest_step(tmp_path) is None


def test_no_checkpoint_at_a_path_is_named(tmp_path):
    with pytest.raises(SlipwayError, match=r"there is no checkpoint '.*model.ckpt-3'"):
        find_checkpoint(tmp_path / "model.ckpt-3")


def test_old_checkpoints_are_removed_but_the_one_that_the_pointer_names(tmp_path):
    for step in (10, 20, 30, 40):
        save(tmp_path, step)
        state_path(tmp_path, step).touch()
    point_to(tmp_path, 10)
    keep_newest(tmp_path, 2)
    assert [each.step for each in list_checkpoints(tmp_path)] == [10, 30, 40]
    assert not state_path(tmp_path, 20).exists()
    assert state_path(tmp_path, 30).exists()


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 10)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(SlipwayError, match=r"model.ckpt-20.safetensors' cannot be written: No space left") as caught:
        save(tmp_path, 20)
    assert caught.value.code is Code.UNAVAILABLE
    with pytest.raises(SlipwayError, match=r"model.ckpt-10.safetensors' cannot be written"):
        save_weights(tmp_path, 10, {"x": np.zeros(1, np.float32)})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert newest_step(tmp_path) == 10


def test_a_block_that_fails_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with suppress(KeyError), atomic_file(path) as file:
        file.write(b"new")
        raise KeyError
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]


def test_weights_that_are_written_again_replace_the_file(tmp_path):
    for value in (1, 2):
        save_weights(tmp_path, 5, {"x": np.full(2, value, np.float32)})
    assert open_weights(weights_path(tmp_path, 5))["x"].read().tolist() == [2, 2]


@pytest.mark.parametrize("checksums", ["{", "[]", '{"x": "y"}', "3"])
def test_damaged_checksums_are_refused_or_not_used(tmp_path, checksums):
    header = json.dumps(
        {"__metadata__": {"crc32c": checksums}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")
    with suppress(SlipwayError):
        assert open_weights(path)["x"].read().tolist() == [0]


@given(st.data())
def test_random_damage_is_refused_or_changes_nothing(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    write_weights(path, ARRAYS)
    content = bytearray(path.read_bytes())
    # The header has no checksum: its damage may only rename, reshape or retype an array, which a reader notices.
    start = data.draw(st.sampled_from([0, 8 + struct.unpack("<Q", content[:8])[0]]))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if len(content) > start:
            content[data.draw(st.integers(start, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with suppress(SlipwayError):
        for name, array in open_weights(path).items():
            with suppress(SlipwayError):
                found = array.read()
                assert start == 0 or np.array_equal(found, ARRAYS[name])
