"""TensorFlow's bundles are read with every checksum compared; damage is named with the array or the block."""

import shutil
from contextlib import suppress
from math import prod

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.checkpoints.tensor2tensor.bundle import open_bundle
from slipway.checkpoints.tensor2tensor.table_file import read_table
from slipway.errors import Code, SlipwayError
from tests.checkpoints.tensor2tensor.bundles import field, table, write_bundle
from tests.checkpoints.tensor2tensor.public_data import CHECKPOINT, needs_public_files

ARRAYS = {
    "a/first": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/half": np.array([0.5, -1.5], np.float16),
    "b/brain": np.array([1.5, 2.5, -3.0], ml_dtypes.bfloat16),
    "b/double": np.array([[1.0]], np.float64),
    "b/empty": np.zeros((0, 4), np.float32),
    "c/step": np.array(123, np.int64),
    "c/whole": np.array([1, -2, 3], np.int32),
}


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "model.ckpt-5", ARRAYS, shards=2)


def change_entry(tmp_path, name, **values):
    def change(entries):
        for key, value in values.items():
            setattr(entries[name], key, value)

    return write_bundle(tmp_path / "model.ckpt-5", ARRAYS, change=change)


@pytest.mark.capability("2.10")
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_arrays_of_every_type_are_read_from_all_shards(tmp_path, shards):
    found = open_bundle(write_bundle(tmp_path / "model.ckpt-5", ARRAYS, shards=shards))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        read = found[name].read()
        assert (found[name].shape, read.dtype) == (array.shape, array.dtype)
        assert np.array_equal(read, array)


@needs_public_files
def test_the_public_bundle_has_its_arrays():
    found = open_bundle(CHECKPOINT / "model.ckpt-1")
    assert len(found) == 250
    assert found["global_step"].read() == 1
    assert found["transformer/symbol_modality_8190_16/shared/weights_15"].shape == (511, 16)
    assert sum(array.read().nbytes for array in found.values()) == 1_670_408 + 24


def test_a_wrong_checksum_names_the_array(bundle):
    path = bundle.with_name("model.ckpt-5.data-00000-of-00002")
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    found = open_bundle(bundle)
    with pytest.raises(SlipwayError, match=f"array 'a/first' in '{path}' has a wrong checksum"):
        found["a/first"].read()
    assert found["a/half"].read()[0] == 0.5


def test_a_data_file_that_is_cut_short_names_every_array_in_the_rest(bundle):
    path = bundle.with_name("model.ckpt-5.data-00000-of-00002")
    path.write_bytes(path.read_bytes()[:27])
    with pytest.raises(SlipwayError) as caught:
        open_bundle(bundle)
    named = [line.split(":")[0].strip() for line in caught.value.message.splitlines()[1:]]
    assert named == ["b/brain", "b/empty", "c/whole"]
    assert f"it ends at byte 30 of '{path.name}', which has 27: the file is cut short" in caught.value.message


def test_a_data_file_that_is_cut_short_after_opening_names_the_array(bundle):
    found = open_bundle(bundle)
    bundle.with_name("model.ckpt-5.data-00000-of-00002").write_bytes(b"")
    with pytest.raises(SlipwayError, match=r"array 'a/first' in .* has a wrong checksum"):
        found["a/first"].read()


def test_a_missing_data_file_is_named(bundle):
    bundle.with_name("model.ckpt-5.data-00001-of-00002").unlink()
    with pytest.raises(SlipwayError, match=r"model.ckpt-5.data-00001-of-00002' cannot be read") as caught:
        open_bundle(bundle)
    assert caught.value.code is Code.NOT_FOUND


def test_a_missing_index_is_named(tmp_path):
    with pytest.raises(SlipwayError, match=r"model.ckpt-9.index' does not exist") as caught:
        open_bundle(tmp_path / "model.ckpt-9")
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 8}, r"a/first: 8 bytes for float32 \[2, 3\]"),
        ({"shape": field(2, field(1, 1 << 62)) * 2}, r"a/first: 24 bytes for float32 \[46116860"),
        ({"shape": field(2, field(1, (1 << 64) - 6))}, r"a/first: 24 bytes for float32 \[-6\]"),
        ({"shard": 7}, "a/first: data file 7 of 1 does not exist"),
        ({"offset": (1 << 64) - 4}, "a/first: it ends at byte 20"),
        ({"more": b"\x0a\xff\xff"}, "a/first: .* bytes are not a valid BundleEntry message"),
    ],
    ids=["size", "huge shape", "negative shape", "shard", "negative offset", "message"],
)
def test_a_damaged_entry_is_named(tmp_path, values, message):
    with pytest.raises(SlipwayError, match=message) as caught:
        open_bundle(change_entry(tmp_path, "a/first", **values))
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dtype": 7}, "its type is string, expected one of float32"),
        ({"dtype": 77}, "its type is 77"),
        ({"more": field(7, field(1, field(1, 2)))}, "it is stored in slices"),
        ({"shape": field(3, 1)}, "its shape is unknown"),
    ],
    ids=["string", "unknown type", "slices", "unknown shape"],
)
def test_an_array_that_cannot_be_read_is_refused_when_it_is_read(tmp_path, values, message):
    found = open_bundle(change_entry(tmp_path, "a/first", **values))
    with pytest.raises(SlipwayError, match=f"array 'a/first' cannot be read: {message}") as caught:
        found["a/first"].read()
    assert caught.value.code is Code.UNSUPPORTED
    assert found["c/step"].read() == 123


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (field(1, 1) + field(2, 1), "big-endian"),
        (b"", "the header names 0 data files"),
        (field(1, 200_000), "the header names 200000 data files"),
        (b"\xff", "not a valid BundleHeader message"),
    ],
    ids=["big-endian", "none", "too many", "damaged"],
)
def test_a_header_that_cannot_be_used_is_refused(tmp_path, header, message):
    with pytest.raises(SlipwayError, match=message):
        open_bundle(write_bundle(tmp_path / "model.ckpt-5", ARRAYS, header=header))


def test_a_table_without_a_header_is_not_a_checkpoint(tmp_path):
    (tmp_path / "x.index").write_bytes(table([(b"a", b"b")]))
    with pytest.raises(SlipwayError, match="does not have a bundle's header"):
        open_bundle(tmp_path / "x")


def test_keys_with_shared_prefixes_are_read_over_several_blocks(tmp_path):
    entries = [
        (f"transformer/layer_{index:03}/{name}".encode(), bytes([index])) for index in range(40) for name in "ab"
    ]
    (tmp_path / "x").write_bytes(table(entries))
    assert list(read_table(tmp_path / "x").items()) == entries


def test_a_compressed_table_is_refused_by_name(tmp_path):
    (tmp_path / "x").write_bytes(table([(b"a", b"b")], compression=1))
    with pytest.raises(SlipwayError, match=r"is compressed \(snappy\)") as caught:
        read_table(tmp_path / "x")
    assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize("size", [0, 10, 47, 100, 300])
def test_an_index_that_is_cut_short_is_refused(bundle, size):
    path = bundle.with_name("model.ckpt-5.index")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SlipwayError, match="is not a table of TensorFlow, or it is cut short"):
        open_bundle(bundle)


def test_a_wrong_checksum_of_a_block_is_named_with_its_offset(bundle):
    path = bundle.with_name("model.ckpt-5.index")
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    with pytest.raises(SlipwayError, match="the block at byte 0 has a wrong checksum"):
        open_bundle(bundle)


def test_keys_that_are_not_sorted_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(table([(b"b", b"1"), (b"a", b"2")]))
    with pytest.raises(SlipwayError, match="is not sorted"):
        read_table(tmp_path / "x")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_random_damage_is_refused_or_changes_nothing(tmp_path, data):
    directory = tmp_path / "damaged"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    prefix = write_bundle(directory / "model.ckpt-5", ARRAYS, shards=2)
    path = data.draw(st.sampled_from(sorted(directory.iterdir())))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with suppress(SlipwayError):
        for name, array in open_bundle(prefix).items():
            with suppress(SlipwayError):
                assert np.array_equal(array.read(), ARRAYS[name])


@given(st.binary(max_size=200))
def test_any_bytes_with_the_magic_are_refused_or_read(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "table"
    path.write_bytes(data.ljust(48, b"\0") + table([])[-8:])
    with suppress(SlipwayError):
        read_table(path)


@pytest.mark.parametrize("sizes", [(0, 2**62, 2**62), (0,) * 33, (1,) * 100])
def test_shapes_that_no_array_has_are_refused(tmp_path, sizes):
    def change(entries):
        entries["a/kernel"].shape = b"".join(field(2, field(1, size)) for size in sizes)

    write_bundle(tmp_path / "m", {"a/kernel": np.zeros(prod(sizes), np.float32)}, change=change)
    with pytest.raises(SlipwayError, match=r"a/kernel: the shape \[.* is not that of an array"):
        open_bundle(tmp_path / "m")
