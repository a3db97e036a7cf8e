"""Converted models on disk: found again, whole or not there, bounded."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from weakref import ref

import numpy as np
import pytest

from slipway.errors import Code, SlipwayError
from slipway.transformer.conversion_cache import ConversionCache, default_directory, digest
from slipway.transformer.ctranslate2.engine import CTranslate2Engine
from slipway.transformer.generation import Decoding, SequenceRequest, collect
from slipway.transformer.mapped_pages import MappedPages
from slipway.transformer.weights import Array, Weights

A, B, C = ("a" * 40, "b" * 40, "c" * 40)


def file_of(size):
    return lambda directory: (directory / "model.bin").write_bytes(b"x" * size)


def entries(directory):
    return sorted(path.name for path in directory.iterdir())


def changed(weights, name):
    """Return the weights with one figure of one array changed."""
    array = np.array(weights[name])
    array.flat[0] += 1
    arrays = {key: Array(shape, lambda key=key: weights[key]) for key, shape in weights.shapes.items()}
    return Weights(arrays | {name: Array(array.shape, lambda: array)})


def test_the_digest_shows_every_difference(opened):
    checkpoint = opened("bart")[0].checkpoint
    spec, weights = checkpoint.spec, checkpoint.weights
    one = digest(spec, weights, "float32", "4.8")
    others = [
        digest(spec, weights, "int8", "4.8"),
        digest(spec, weights, "float32", "4.9"),
        digest(replace(spec, logit_scale=0.5), weights, "float32", "4.8"),
        digest(spec, changed(weights, "decoder.layers.1.feed_forward.down.bias"), "float32", "4.8"),
    ]
    assert one == digest(spec, weights, "float32", "4.8")
    assert len({one, *others}) == 5


def test_a_model_is_converted_once(opened, tmp_path):
    checkpoint = opened("bart")[0].checkpoint
    first = CTranslate2Engine.open(checkpoint.spec, checkpoint.weights, cache_directory=tmp_path)
    [entry] = tmp_path.iterdir()
    written = (entry / "model.bin").stat().st_mtime_ns
    second = CTranslate2Engine.open(checkpoint.spec, checkpoint.weights, cache_directory=tmp_path)
    assert (entry / "model.bin").stat().st_mtime_ns == written
    assert first.description == second.description == f"ctranslate2 float32, 1 thread, cached at {entry}"


def test_a_damaged_entry_is_converted_again(opened, tmp_path):
    checkpoint = opened("gpt2")[0].checkpoint
    CTranslate2Engine.open(checkpoint.spec, checkpoint.weights, cache_directory=tmp_path)
    [entry] = tmp_path.iterdir()
    whole = (entry / "model.bin").read_bytes()
    (entry / "model.bin").write_bytes(whole[: len(whole) // 2])
    engine = CTranslate2Engine.open(checkpoint.spec, checkpoint.weights, cache_directory=tmp_path)
    assert (entry / "model.bin").read_bytes() == whole
    assert len(collect(engine, [SequenceRequest(np.array([3]), Decoding(3, end_id=-1))])[0][0].ids) == 3


def test_engines_that_convert_at_the_same_time_share_one_entry(tmp_path):
    cache, barrier, paths = ConversionCache(tmp_path), threading.Barrier(4), []

    def write(directory):
        barrier.wait()  # all are converting
        file_of(10)(directory)

    def work():
        paths.append(cache.entry(A, write, needed_bytes=10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / A] * 4
    assert entries(tmp_path) == [A]


def test_too_little_room_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(SlipwayError, match=r"needs \d+ MiB in .* MiB are free.*SLIPWAY_CACHE_DIR") as caught:
        ConversionCache(tmp_path).entry(A, file_of(1), needed_bytes=2**60)
    assert caught.value.code is Code.UNAVAILABLE
    assert entries(tmp_path) == []


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    def write(directory):
        file_of(10)(directory)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SlipwayError, match=r"No space left on device.*SLIPWAY_CACHE_DIR") as caught:
        ConversionCache(tmp_path).entry(A, write, needed_bytes=1)
    assert caught.value.code is Code.UNAVAILABLE
    assert entries(tmp_path) == []


def test_a_conversion_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        ConversionCache(tmp_path).entry(
            A, lambda directory: file_of(10 // len(entries(directory)))(directory), needed_bytes=1
        )
    assert entries(tmp_path) == []


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SlipwayError, match=r"cannot write the converted model to .*file"):
        ConversionCache(tmp_path / "file").entry(A, file_of(1), needed_bytes=1)


def used(path, hours_ago):
    moment = path.stat().st_mtime - hours_ago * 3600
    os.utime(path, (moment, moment))


@pytest.mark.parametrize("limits", [{"largest_bytes": 25}, {"most_entries": 2}])
def test_the_least_recently_used_entry_makes_room(tmp_path, limits):
    cache = ConversionCache(tmp_path, **limits)
    for name, hours in ((A, 5), (B, 9)):
        used(cache.entry(name, file_of(10), needed_bytes=10), hours)
    cache.entry(C, file_of(10), needed_bytes=10)
    assert entries(tmp_path) == [A, C]


def test_what_was_just_used_or_is_not_ours_stays(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / ".partial-young").mkdir()
    (tmp_path / ".partial-old").mkdir()
    used(tmp_path / "notes", 1000)
    used(tmp_path / ".partial-old", 1000)
    cache = ConversionCache(tmp_path, largest_bytes=1)
    cache.entry(A, file_of(10), needed_bytes=10)
    cache.entry(B, file_of(10), needed_bytes=10)
    assert entries(tmp_path) == [".partial-young", A, B, "notes"]


def test_the_directory_is_the_users_cache_unless_the_environment_names_one(monkeypatch, tmp_path):
    monkeypatch.delenv("SLIPWAY_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "slipway" / "ctranslate2"
    monkeypatch.setenv("SLIPWAY_CACHE_DIR", str(tmp_path / "mine"))
    assert default_directory() == tmp_path / "mine"


def test_conversion_holds_one_array_at_a_time(opened, tmp_path):
    from slipway.transformer.ctranslate2.model_writer import write_model

    checkpoint = opened("bart")[0].checkpoint
    alive, most = 0, 0
    held = []

    class Counted(np.ndarray):
        def __array_finalize__(self, base):
            pass

    def read(name):
        nonlocal alive, most
        alive = sum(reference() is not None for reference in held)
        most = max(most, alive + 1)
        array = np.array(checkpoint.weights[name]).view(Counted)
        held.append(ref(array))
        return array

    shapes = checkpoint.weights.shapes
    weights = Weights({name: Array(shape, lambda name=name: read(name)) for name, shape in shapes.items()})
    write_model(checkpoint.spec, weights, tmp_path, storage="float32")
    assert most <= 3  # queries, keys and values are side by side


def test_reading_a_mapped_file_leaves_no_page_of_it_in_memory(tmp_path):
    path = tmp_path / "weights"
    np.ones(2**23, np.float32).tofile(path)
    pages = MappedPages()
    array = pages.read(np.memmap(path, np.float32, mode="c").reshape(2**11, -1)[1:].view(np.ndarray))
    assert array.sum() == array.size
    before = mapped_bytes()
    pages.release()
    assert before - mapped_bytes() > 2**24
    assert array.sum() == array.size


def mapped_bytes():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile")]
    return int(line.split()[1]) * 1024
