"""The digest of a source follows its content, and large files are read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway.cli.sources import content
from slipway.cli.sources.content import LARGE, FileDigests, content_digest
from tests.convert.graphs import write_external


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "digests.json"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "1_Pooling").mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "1_Pooling/config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(bytes(LARGE))
    return directory


@pytest.fixture
def settled(monkeypatch):
    """Let files that were written just now count as written long ago."""
    monkeypatch.setattr(content, "_SETTLED_NS", -(10**12))


def digest(source: Path, kept: Path) -> str:
    return content_digest(source, FileDigests(kept))


def test_a_copy_elsewhere_has_the_same_digest(source, tmp_path, kept):
    before = digest(source, kept)
    assert digest(source.rename(tmp_path / "elsewhere"), kept) == before


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "model.safetensors"])
def test_a_change_in_any_file_changes_the_digest(source, kept, name):
    before = digest(source, kept)
    data = bytearray((source / name).read_bytes())
    data[-1] ^= 1
    (source / name).write_bytes(data)
    assert digest(source, kept) != before


def test_a_file_more_or_with_another_name_changes_the_digest(source, kept):
    found = {digest(source, kept)}
    (source / "vocab.txt").write_text("a")
    found.add(digest(source, kept))
    (source / "vocab.txt").rename(source / "vocabulary.txt")
    found.add(digest(source, kept))
    assert len(found) == 3


def test_hidden_files_and_pipes_do_not_count(source, kept):
    before = digest(source, kept)
    (source / ".cache").mkdir()
    (source / ".cache/log").write_text("x")
    os.mkfifo(source / "pipe")
    (source / "nothing").symlink_to("missing")
    (source / "itself").symlink_to(".")
    assert digest(source, kept) == before


def test_the_external_data_of_a_graph_belongs_to_it(tmp_path, kept):
    path = write_external(tmp_path / "encoder.onnx", "weights.bin")
    before = digest(path, kept)
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert digest(path, kept) != before


@pytest.mark.usefixtures("settled")
def test_a_large_file_is_read_once(source, kept):
    first, second = FileDigests(kept), FileDigests(kept)
    expected = content_digest(source, first)
    again = FileDigests(kept)
    assert content_digest(source, again) == expected
    assert first.bytes_read > LARGE
    assert again.bytes_read == 4  # the small ones
    assert content_digest(source, second) == expected


@pytest.mark.usefixtures("settled")
def test_a_large_file_that_changed_is_read_again(source, kept):
    before = digest(source, kept)
    state = (source / "model.safetensors").stat()
    (source / "model.safetensors").write_bytes(b"\1" + bytes(LARGE - 1))
    os.utime(source / "model.safetensors", ns=(state.st_atime_ns, state.st_mtime_ns))  # as rsync or cp -p do
    assert digest(source, kept) != before


def test_a_large_file_that_was_written_just_now_is_not_trusted(source, kept):
    digest(source, kept)
    again = FileDigests(kept)
    content_digest(source, again)
    assert again.bytes_read > LARGE


def test_a_damaged_file_of_digests_is_as_none(source, kept):
    before = digest(source, kept)
    kept.write_text('{"a": 1}')
    assert digest(source, kept) == before
