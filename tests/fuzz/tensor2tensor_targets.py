"""Targets: the files of tensor2tensor - vocabularies, examples, records, checkpoints, hyper-parameters, exports.

Checksums would refuse nearly every change, so the targets make them right where the format has them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from slipway.checkpoints.tensor2tensor.bundle import open_bundle
from slipway.checkpoints.tensor2tensor.crc32c import masked_crc32c
from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams, override_decoding
from slipway.checkpoints.tensor2tensor.example import decode_example
from slipway.checkpoints.tensor2tensor.export import find_vocabulary, read_decoding, read_hparams
from slipway.checkpoints.tensor2tensor.hparam_limits import check_training
from slipway.checkpoints.tensor2tensor.hparams import HParams, override
from slipway.checkpoints.tensor2tensor.location import find_checkpoint
from slipway.checkpoints.tensor2tensor.messages import new_message, parse_message
from slipway.checkpoints.tensor2tensor.records import read_records
from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder
from slipway.checkpoints.tensor2tensor.table_file import read_table
from slipway.checkpoints.tensor2tensor.weights_file import open_weights
from slipway.transformer.weights import Array
from tests.fuzz.target import Target, in_directory, text_of

_MAGIC: Final = struct.pack("<Q", 0xDB4775248B80FB57)
_NUMBERS: Final = bytes(range(256))  # of a bundle
_TEXT: Final = "Grüße an \\ all_e 12; \N{GETA MARK}\n"
_INDEX, _DATA, _WEIGHTS = "m.ckpt-1.index", "m.ckpt-1.data-00000-of-00001", "m.ckpt-1.safetensors"
_NEEDS: Final = ("google_crc32c",)
_HPARAMS: Final = (b'"hidden_size":', b'"num_heads":', b'"layer_preprocess_sequence":', b'"batch_size":', b"=", b",")
_DECODING: Final = (b"beam_size=", b"alpha=", b"delimiter=", b"num_decodes=", b"\\n", b",")


def _vocabulary(data: bytes) -> None:
    """Read a vocabulary, and encode and decode with it."""
    with in_directory("vocab", data) as directory:
        encoder = SubwordTextEncoder.load(directory / "vocab")
    encoder.decode(encoder.encode(_TEXT))
    encoder.decode(range(encoder.vocabulary_size))


def _records(data: bytes) -> None:
    """Read a file as it is, and as one record whose length, the first eight bytes, has the right checksum."""
    length = data[:8].ljust(8, b"\0")
    for content in (data, length + struct.pack("<I", masked_crc32c(length)) + data[8:]):
        with in_directory("records", content) as directory:
            for payload in read_records(directory / "records"):
                decode_example(payload)


def _table_file(data: bytes) -> None:
    with in_directory("table", data) as directory:
        read_table(directory / "table")


def _index(data: bytes) -> None:
    """Open a bundle whose index has one block, `data`, with the right checksum."""
    _read_bundle(_table(data))


def _entry(data: bytes) -> None:
    """Open a bundle with one array, whose entry is `data` with the right checksum of what it names."""
    entry = parse_message("BundleEntry", data)
    if entry.offset >= 0 and entry.size >= 0:
        entry.crc32c = masked_crc32c(_NUMBERS[entry.offset : entry.offset + entry.size])
    header = new_message("BundleHeader", num_shards=1)
    _read_bundle(_table(_block({b"": header.SerializeToString(), b"a": entry.SerializeToString()})))


def _read_bundle(index: bytes) -> None:
    files = {_INDEX.replace(".", "__"): index}
    with in_directory(_DATA, _NUMBERS, **files) as directory:
        _read_all(open_bundle(directory / "m.ckpt-1"))


def _weights(data: bytes) -> None:
    with in_directory(_WEIGHTS, data) as directory:
        _read_all(open_weights(directory / _WEIGHTS))


def _read_all(arrays: Mapping[str, Array]) -> None:
    for array in arrays.values():
        if array.read().shape != array.shape:
            raise AssertionError("an array has another shape than its entry")


def _pointer(data: bytes) -> None:
    """Find the checkpoint that the pointer of a directory names."""
    with in_directory("checkpoint", data, **{_WEIGHTS.replace(".", "__"): b""}) as directory:
        found = find_checkpoint(directory)
        if found.weights.parent != directory:
            raise AssertionError(f"{found.weights} is outside the directory")


def _flags(data: bytes) -> None:
    """Find the vocabulary by the flags of a training."""
    with in_directory("flags.txt", data) as directory:
        find_vocabulary(directory)


def _hparams(data: bytes) -> None:
    with in_directory("hparams.json", data) as directory:
        check_training(read_hparams(directory))


def _decoding(data: bytes) -> None:
    with in_directory("decoding.json", data) as directory:
        read_decoding(directory)


def _block(entries: Mapping[bytes, bytes]) -> bytes:
    """Return a block of short entries without shared prefixes, its places of complete keys included."""
    parts = [bytes([0, len(key)]) + _varint(len(value)) + key + value for key, value in entries.items()]
    return b"".join(parts) + struct.pack("<II", 0, 1)


def _table(block: bytes) -> bytes:
    """Return a table of one data block; the unused block that the footer also names is the index."""
    data = _with_checksum(block)
    place = _varint(0) + _varint(len(block))
    index = _block({b"\xff": place})
    places = _varint(len(data)) + _varint(len(index))
    return data + _with_checksum(index) + (places + places).ljust(40, b"\0") + _MAGIC


def _with_checksum(block: bytes) -> bytes:
    content = block + b"\0"  # not compressed
    return content + struct.pack("<I", masked_crc32c(content))


def _varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


TENSOR2TENSOR_TARGETS: Final = (
    Target("t2t-vocabulary", _vocabulary, (b"'<pad>_'\n", b"'<EOS>_'\n", b"'\\'\n", b"'_'\n", b"\\u", b"\\12;")),
    Target("t2t-example", decode_example, (b"inputs", b"targets", b"\x1a", b"\x0a")),
    Target("t2t-records", _records, (b"inputs", b"\0\0\0\0", b"\x0a"), needs=_NEEDS),
    Target("t2t-table", _table_file, (_MAGIC,), needs=_NEEDS),
    Target("t2t-index", _index, (b"\x08\x01", b"\x12\x02\x08", b"\0\0\0\0"), needs=_NEEDS),
    Target("t2t-entry", _entry, (b"\x08\x01", b"\x12\x02\x08\x02", b"\x28", b"\x20"), needs=_NEEDS),
    Target("t2t-weights", _weights, (b'"__metadata__":', b'"crc32c":', b'"F32"', b'"data_offsets":'), needs=_NEEDS),
    Target("t2t-pointer", _pointer, (b"model_checkpoint_path: ", b'"', b"../", b"\\", b"m.ckpt-1")),
    Target("t2t-flags", _flags, (b"--data_dir=", b"--problem=", b"~", b"/", b"\n", b"\0")),
    Target("t2t-hparams", _hparams, _HPARAMS),
    Target("t2t-hparams-flag", lambda data: check_training(override(HParams(), text_of(data))), _HPARAMS),
    Target("t2t-decoding", _decoding, (b'"beam_size":', b'"alpha":', b'"problem":', b'"num_decodes":')),
    Target("t2t-decoding-flag", lambda data: override_decoding(DecodeHParams(), text_of(data)), _DECODING),
)
