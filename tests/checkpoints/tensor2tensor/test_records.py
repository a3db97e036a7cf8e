"""TFRecord files and examples: other readers agree, and damage is named with its place."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.checkpoints.tensor2tensor import records
from slipway.checkpoints.tensor2tensor.crc32c import crc32c, masked_crc32c
from slipway.checkpoints.tensor2tensor.example import decode_example, encode_example
from slipway.checkpoints.tensor2tensor.records import RecordWriter, read_records, write_records
from slipway.errors import Code, SlipwayError
from tests.checkpoints.tensor2tensor import independent

INT64 = st.integers(-(2**63), 2**63 - 1)
PAYLOADS = [b"first", b"", b"\x00" * 1000]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data-train-00000-of-00001"
    assert write_records(path, PAYLOADS) == 3
    return path


def test_the_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283
    assert masked_crc32c(b"123456789") == independent.masked_crc(b"123456789")


def test_what_is_written_is_read(file):
    assert list(read_records(file)) == PAYLOADS


@pytest.mark.capability("2.5")
def test_an_independent_reader_finds_valid_checksums_and_the_ids(tmp_path):
    path = tmp_path / "records"
    pairs = [{"inputs": [26228, 145, 178, 1], "targets": [3515, 1]}, {"inputs": [1], "targets": [1]}]
    write_records(path, map(encode_example, pairs))
    assert [independent.example(payload) for payload in independent.records(path)] == pairs


@pytest.mark.capability("2.5")
def test_tensorboards_reader_agrees(file):
    reader_of = pytest.importorskip("tensorboard.compat.tensorflow_stub.pywrap_tensorflow").PyRecordReader_New
    reader = reader_of(str(file))
    found = []
    for _ in PAYLOADS:
        reader.GetNext()
        found.append(reader.record())
    assert found == PAYLOADS


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (0, "record at byte 0: the checksum of its length is wrong"),
        (9, "record at byte 0: the checksum of its length is wrong"),
        (12, "record at byte 0: the checksum of its payload is wrong"),
        (18, "record at byte 0: the checksum of its payload is wrong"),
        (21, "record at byte 21: the checksum of its length is wrong"),
        (40, "record at byte 37: the checksum of its length is wrong"),
        (900, "record at byte 37: the checksum of its payload is wrong"),
    ],
)
def test_a_wrong_checksum_is_named_with_the_file_and_the_offset(file, at, message):
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)
    with pytest.raises(SlipwayError, match=message) as caught:
        list(read_records(file))
    assert caught.value.code is Code.INVALID_ARG
    assert str(file) in caught.value.message


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (5, "record at byte 0: the file ends after 5 of the 12 bytes of its head"),
        (15, "record at byte 0: the file ends after 3 of its 5 bytes and their checksum"),
        (30, "record at byte 21: the file ends after 9 of the 12 bytes of its head"),
        (1050, "record at byte 37: the file ends after 1001 of its 1000 bytes and their checksum"),
    ],
)
def test_a_file_that_is_cut_short_is_named_with_the_offset(file, size, message):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(SlipwayError, match=message):
        list(read_records(file))


def test_a_length_above_the_limit_is_refused_before_anything_is_read(tmp_path):
    path = tmp_path / "records"
    length = struct.pack("<Q", 1 << 40)
    path.write_bytes(length + struct.pack("<I", masked_crc32c(length)))
    with pytest.raises(SlipwayError, match="more than the limit"):
        list(read_records(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SlipwayError, match="does not exist") as caught:
        list(read_records(tmp_path / "none"))
    assert caught.value.code is Code.NOT_FOUND


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(SlipwayError, match="cannot be written: No such file or directory") as caught:
        write_records(tmp_path / "none" / "records", [b"x"])
    assert caught.value.code is Code.UNAVAILABLE


def test_a_full_disk_is_named():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system does not have /dev/full")
    writer = RecordWriter(full, buffering=0)
    with pytest.raises(SlipwayError, match="cannot be written: No space left on device"):
        writer.write(b"x")
    writer.close()


@given(st.data())
def test_damaged_files_are_refused_or_read(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged-records"
    write_records(path, PAYLOADS)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    found = []
    try:
        found.extend(read_records(path))
    except SlipwayError as error:
        assert "is damaged: record at byte" in error.message  # noqa: PT017
    assert found == PAYLOADS[: len(found)]


@given(st.dictionaries(st.text(max_size=8).filter(lambda t: t.isprintable()), st.lists(INT64, max_size=20), max_size=4))
def test_examples_survive(features):
    assert decode_example(encode_example(features)) == features


def test_equal_examples_have_equal_bytes():
    assert encode_example({"a": [1], "b": [2]}) == encode_example({"b": [2], "a": [1]})


def test_an_example_that_another_writer_made_without_packing_is_read():
    int64_list = b"\x08\x07\x08\x80\x01"
    feature = b"\x1a" + bytes([len(int64_list)]) + int64_list
    entry = b"\x0a\x06inputs\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    assert decode_example(b"\x0a" + bytes([len(features)]) + features) == {"inputs": [7, 128]}


def test_a_feature_that_is_not_of_integers_is_named():
    entry = b"\x0a\x05score\x12\x08\x12\x06\x0a\x04\x00\x00\x80\x3f"
    features = b"\x0a" + bytes([len(entry)]) + entry
    with pytest.raises(SlipwayError, match="feature 'score' is a float_list"):
        decode_example(b"\x0a" + bytes([len(features)]) + features)


@pytest.mark.parametrize("value", [1.5, 2**63, "a"])
def test_values_that_are_not_64_bit_integers_are_refused(value):
    with pytest.raises(SlipwayError, match="feature 'inputs' does not consist of 64-bit integers"):
        encode_example({"inputs": [value]})


@given(st.binary(max_size=40))
def test_any_bytes_are_an_example_or_refused(data):
    try:
        features = decode_example(data)
    except SlipwayError:
        return
    assert decode_example(encode_example(features)) == features


def test_a_length_beyond_the_file_is_not_made_room_for(tmp_path, monkeypatch):
    length = (1 << 30).to_bytes(8, "little")
    (tmp_path / "records").write_bytes(length + masked_crc32c(length).to_bytes(4, "little") + b"few")
    asked = []
    read = records._read

    def watched(file, path, size):
        asked.append(size)
        return read(file, path, size)

    monkeypatch.setattr(records, "_read", watched)
    with pytest.raises(SlipwayError, match="the file ends after 3 of its 1073741824 bytes"):
        list(records.read_records(tmp_path / "records"))
    assert max(asked) < 100
