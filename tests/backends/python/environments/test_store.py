"""Environments are unpacked once per content, and removed when nobody uses them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from slipway.backends.python.environments import store
from slipway.backends.python.environments.store import EnvironmentStore
from slipway.backends.python.environments.unpacking import UnsafeArchiveError
from slipway.errors import SlipwayError
from tests.backends.python.environments.archives import member, write_archive


@pytest.fixture
def unpacked(monkeypatch):
    """Return the list of archives that are unpacked."""
    real, names = store.unpack, []

    def counted(archive, directory):
        names.append(archive.name)
        real(archive, directory)

    monkeypatch.setattr(store, "unpack", counted)
    return names


def archive(path, content):
    return write_archive(path, member("bin/activate", content=content.encode()))


def test_equal_archives_are_unpacked_once(tmp_path, unpacked):
    first = archive(tmp_path / "a.tar.gz", "x")
    second = tmp_path / "b.tar.gz"
    second.write_bytes(first.read_bytes())
    one, two = (EnvironmentStore(tmp_path / "store").unpacked(path) for path in (first, second))
    assert one.directory == two.directory
    assert (one.directory / "bin/activate").read_text() == "x"
    assert unpacked == ["a.tar.gz"]


def test_another_content_under_the_same_name_is_another_environment(tmp_path, unpacked):
    path = archive(tmp_path / "a.tar.gz", "x")
    before = EnvironmentStore(tmp_path / "store").unpacked(path).directory
    archive(path, "y")
    after = EnvironmentStore(tmp_path / "store").unpacked(path).directory
    assert [(each / "bin/activate").read_text() for each in (before, after)] == ["x", "y"]
    assert len(unpacked) == 2


def test_many_loads_at_a_time_unpack_once(tmp_path, unpacked):
    path = archive(tmp_path / "a.tar.gz", "x")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: EnvironmentStore(tmp_path / "store").unpacked(path).directory, range(16)))
    assert len(found) == 1
    assert unpacked == ["a.tar.gz"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    bad = write_archive(tmp_path / "a.tar.gz", member("good"), member("../bad"))
    with pytest.raises(UnsafeArchiveError):
        EnvironmentStore(tmp_path / "store").unpacked(bad)
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".lock"]


def test_the_least_recently_used_ones_without_a_user_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "UNUSED_KEPT", 2)
    place = EnvironmentStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/mine").mkdir()  # not an entry
    taken = []
    for index in range(5):
        each = place.unpacked(archive(tmp_path / f"{index}.tar.gz", str(index)))
        os.utime(each.directory, (index, index))
        taken.append(each)
    assert all(each.directory.is_dir() for each in taken)
    for each in taken[1:]:
        each.release()
    place.unpacked(archive(tmp_path / "new.tar.gz", "new"))
    kept = [index for index, each in enumerate(taken) if each.directory.is_dir()]
    assert kept == [0, 3, 4]
    assert (tmp_path / "store/mine").is_dir()
    taken[0].release()
    taken[0].release()


def test_a_store_that_others_could_have_filled_is_refused(tmp_path):
    path = archive(tmp_path / "a.tar.gz", "x")
    open_to_all = tmp_path / "store"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(SlipwayError, match="must be a directory of this user alone"):
        EnvironmentStore(open_to_all).unpacked(path)
