"""Entries of the cache are complete or empty, belong to one converter at a time, and are never removed while used."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from slipway.cli.sources.cache import ConvertedCache, EntryRecord, HeldEntry, cache_root, file_sizes
from slipway.cli.sources.kinds import Source, SourceKind
from slipway.cli.sources.request import ConversionRequest
from slipway.config.conversion_flags import ConversionFlags
from slipway.errors import SlipwayError

REQUEST = ConversionRequest.of(Source("owner/m", SourceKind.HUB, "m"), ConversionFlags())


@pytest.fixture
def cache(tmp_path: Path) -> ConvertedCache:
    made = ConvertedCache(tmp_path / "converted")
    made.open()
    return made


def fill(held: HeldEntry, size: int = 10) -> None:
    (held.models / "m/1").mkdir(parents=True)
    (held.models / "m/1/model.onnx").write_bytes(bytes(size))
    held.finish(EntryRecord("owner/m", "c", REQUEST, ("m",), file_sizes(held.models), "onnxruntime fp32", ()))


def add(cache: ConvertedCache, name: str, size: int = 10, used: float = 0) -> Path:
    held = cache.hold(name)
    fill(held, size)
    held.release()
    os.utime(held.directory / "lock", (used, used))
    return held.directory


def test_the_directory_is_the_users_cache_or_the_one_that_is_named():
    assert cache_root({"SLIPWAY_CACHE_DIR": "/c"}) == Path("/c/converted")
    assert cache_root({"XDG_CACHE_HOME": "/x"}) == Path("/x/slipway/converted")
    assert cache_root({}) == Path.home() / ".cache/slipway/converted"


def test_an_entry_is_empty_once_and_complete_afterwards(cache):
    held = cache.hold("m-1")
    assert held.record is None
    fill(held)
    again = cache.hold("m-1")
    assert again.record == held.record
    assert (again.models / "m/1/model.onnx").is_file()


def test_what_an_interrupted_conversion_left_is_removed(cache):
    held = cache.hold("m-1")
    (held.models / "m").mkdir(parents=True)
    (held.directory / ".slipway-x").mkdir()
    held.release()  # as at the end of a process that is killed
    assert sorted(path.name for path in cache.hold("m-1").directory.iterdir()) == ["lock"]


def test_an_entry_that_is_discarded_leaves_nothing(cache):
    held = cache.hold("m-1")
    (held.models / "m").mkdir(parents=True)
    held.discard()
    assert list(cache.root.iterdir()) == []


def hold_elsewhere(cache: ConvertedCache) -> tuple[threading.Thread, threading.Event, list[HeldEntry]]:
    waits, found = threading.Event(), []
    thread = threading.Thread(target=lambda: found.append(cache.hold("m-1", waits.set)))
    thread.start()
    return thread, waits, found


def test_an_entry_leaves_a_full_disk(cache, monkeypatch):
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    held = cache.hold("m-1")
    (held.models / "m").mkdir(parents=True)
    (held.models / "m/part").write_bytes(bytes(10))
    monkeypatch.setattr("slipway.cli.sources.cache.mkdtemp", full)
    held.discard()
    assert not list(cache.root.iterdir())
    assert cache.hold("m-1").record is None  # nobody has its lock any more


def test_a_second_process_waits_for_the_conversion_and_uses_it(cache):
    held = cache.hold("m-1")
    thread, waits, found = hold_elsewhere(cache)
    assert waits.wait(30)
    fill(held)
    thread.join(30)
    assert found[0].record == held.record


def test_a_second_process_converts_itself_if_the_first_one_fails(cache):
    held = cache.hold("m-1")
    thread, waits, found = hold_elsewhere(cache)
    assert waits.wait(30)
    held.discard()
    thread.join(30)
    assert found[0].record is None
    assert found[0].directory.is_dir()


def test_a_damaged_entry_is_converted_again_unless_it_is_in_use(cache):
    path = add(cache, "m-1")
    (path / "models/m/1/model.onnx").write_bytes(b"cut")
    held = cache.hold("m-1")
    assert held.record is None
    fill(held)
    (path / "models/m/1/model.onnx").write_bytes(b"cut")
    with pytest.raises(SlipwayError, match="is damaged, and another server uses it"):
        cache.hold("m-1")


def test_the_entry_that_was_not_used_for_the_longest_time_makes_room(tmp_path):
    cache = ConvertedCache(tmp_path / "converted", largest_bytes=25)
    cache.open()
    names = {name: add(cache, name, 10, used) for name, used in (("old", 1), ("older", 0), ("new", 2))}
    cache.trim()
    assert {name for name, path in names.items() if path.exists()} == {"old", "new"}


def test_an_entry_in_use_is_never_removed(tmp_path):
    cache = ConvertedCache(tmp_path / "converted", most_entries=1)
    cache.open()
    used, unused = add(cache, "used"), add(cache, "unused", used=5)
    held = cache.hold("used")
    os.utime(used / "lock", (0, 0))
    cache.trim()
    assert used.exists()
    assert not unused.exists()
    held.release()


def test_a_model_of_a_hub_is_found_by_its_request(cache):
    add(cache, "m-1")
    found = cache.find(REQUEST)
    assert found is not None
    assert found.content == "c"
    other = ConversionRequest.of(Source("owner/m", SourceKind.HUB, "m"), ConversionFlags(precision="fp32"))
    assert cache.find(other) is None


def test_a_cache_that_others_can_write_to_is_refused(tmp_path):
    cache = ConvertedCache(tmp_path / "converted")
    cache.root.mkdir()
    cache.root.chmod(0o777)
    with pytest.raises(SlipwayError, match="must be a directory of this user alone"):
        cache.open()


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SlipwayError, match=r"SLIPWAY_CACHE_DIR names another directory"):
        ConvertedCache(tmp_path / "file/converted").open()


@pytest.mark.parametrize(
    "changes", [{"precision": "fp32"}, {"engine": "openvino"}, {"task": "embedding"}, {"accuracy": "high"}]
)
def test_other_options_are_another_entry(changes):
    source = Source("dir", SourceKind.CHECKPOINT, "m")
    names = {ConversionRequest.of(source, ConversionFlags(**each)).entry_name("c") for each in ({}, changes)}
    assert len(names) == 2
    assert all(name.startswith("m-") for name in names)
