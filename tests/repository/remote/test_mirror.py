from hashlib import sha256

import pytest

from slipway.config.remote_location import read_location
from slipway.errors import SlipwayError, unavailable
from slipway.repository.remote.listing import RemoteObject
from slipway.repository.remote.local_copy import take_copy
from slipway.repository.remote.mirror import Mirror

LOCATION = read_location("s3://bucket/models")


class Shelf:
    """A storage in memory: contents by path, and what was fetched."""

    def __init__(self, **models):
        self.contents = {f"{name}/{path}": data for name, files in models.items() for path, data in files.items()}
        self.fetched = []
        self.broken = set()

    def objects(self, folder=""):
        return [
            RemoteObject(path, path, len(data), 1_700_000_000, sha256(data).hexdigest())
            for path, data in self.contents.items()
            if path.startswith(f"{folder}/" if folder else "")
        ]

    def fetch(self, wanted):
        for each, target in wanted:
            self.fetched.append(each.path)
            target.write_bytes(self.contents[each.path])
            if each.path in self.broken:
                raise unavailable(f"'{each.path}' is broken")

    def close(self):
        pass


@pytest.fixture
def shelf():
    return Shelf(
        a={"config.pbtxt": b"one", "1/model.onnx": b"weights", "1/data/x": b"x"},
        b={"config.pbtxt": b"two", "1/": b""},
    )


@pytest.fixture
def mirror(shelf, tmp_path):
    mirror = Mirror(LOCATION, shelf, take_copy(LOCATION, tmp_path))
    mirror.refresh()
    return mirror


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


def test_a_model_is_copied_with_its_directories(mirror):
    assert contents(mirror.copy_model("a")) == {
        "1": None,
        "1/data": None,
        "1/data/x": b"x",
        "1/model.onnx": b"weights",
        "config.pbtxt": b"one",
    }
    assert contents(mirror.copy_model("b")) == {"1": None, "config.pbtxt": b"two"}


def test_only_changed_files_are_fetched_again(mirror, shelf, tmp_path):
    mirror.copy_model("a")
    shelf.fetched.clear()
    shelf.contents["a/1/data/x"] = b"y"  # of the same size and second
    mirror.refresh()
    assert contents(mirror.copy_model("a"))["1/data/x"] == b"y"
    assert shelf.fetched == ["a/1/data/x"]
    mirror.close()
    again = Mirror(LOCATION, shelf, take_copy(LOCATION, tmp_path))
    again.refresh()
    again.copy_model("a")
    assert shelf.fetched == ["a/1/data/x"]  # a new process recognises the files


def test_a_transfer_that_fails_leaves_the_earlier_copy_whole(mirror, shelf):
    before = contents(mirror.copy_model("a"))
    shelf.contents.update({"a/config.pbtxt": b"new", "a/1/model.onnx": b"new weights"})
    del shelf.contents["a/1/data/x"]
    shelf.broken.add("a/1/model.onnx")
    mirror.refresh()
    with pytest.raises(SlipwayError, match=r"'a/1/model\.onnx' is broken"):
        mirror.copy_model("a")
    assert contents(mirror.directory("a")) == before
    assert list(mirror.directory("a").parent.parent.joinpath("incoming").iterdir()) == []
    shelf.broken.clear()
    assert contents(mirror.copy_model("a")) == {"1": None, "1/model.onnx": b"new weights", "config.pbtxt": b"new"}


def test_what_is_gone_is_removed_and_what_the_model_wrote_is_kept(mirror, shelf):
    directory = mirror.copy_model("a")
    (directory / "1" / "__pycache__").mkdir()
    (directory / "1" / "__pycache__" / "model.pyc").write_bytes(b"compiled")
    (directory / "1" / "written.db").write_bytes(b"rows")
    del shelf.contents["a/1/data/x"]
    mirror.refresh()
    left = contents(mirror.copy_model("a"))
    assert "1/data" not in left
    assert left["1/written.db"] == b"rows"
    assert left["1/__pycache__/model.pyc"] == b"compiled"
    del shelf.contents["a/1/model.onnx"]
    shelf.contents["a/2/model.onnx"] = b"second"
    mirror.refresh()
    assert contents(mirror.copy_model("a")) == {"2": None, "2/model.onnx": b"second", "config.pbtxt": b"one"}


def test_a_new_process_trusts_nothing_that_is_not_listed(mirror, shelf, tmp_path):
    directory = mirror.copy_model("a")
    mirror.close()
    (tmp_path / "secret").write_bytes(b"weights")
    (directory / "1" / "model.onnx").unlink()
    (directory / "1" / "model.onnx").symlink_to(tmp_path / "secret")
    (directory / "1" / "data" / "x").unlink()
    (directory / "1" / "data").rmdir()
    (directory / "1" / "data").symlink_to(tmp_path)
    (directory / "2").mkdir()
    (directory / "2" / "model.onnx").write_bytes(b"foreign")
    (directory / "extra.txt").write_bytes(b"foreign")
    again = Mirror(LOCATION, shelf, take_copy(LOCATION, tmp_path))
    again.refresh()
    again.copy_model("a")
    assert contents(directory) == {
        "1": None,
        "1/data": None,
        "1/data/x": b"x",
        "1/model.onnx": b"weights",
        "config.pbtxt": b"one",
    }
    assert not (directory / "1" / "model.onnx").is_symlink()
    assert (tmp_path / "secret").read_bytes() == b"weights"
    assert not (tmp_path / "x").exists()


def test_a_file_becomes_a_directory_and_back(mirror, shelf):
    mirror.copy_model("a")
    shelf.contents["a/1/model.onnx/model.onnx"] = shelf.contents.pop("a/1/model.onnx")
    mirror.refresh()
    assert contents(mirror.copy_model("a"))["1/model.onnx/model.onnx"] == b"weights"
    shelf.contents["a/1/model.onnx"] = shelf.contents.pop("a/1/model.onnx/model.onnx")
    mirror.refresh()
    assert contents(mirror.copy_model("a"))["1/model.onnx"] == b"weights"


def test_a_model_that_is_gone_loses_its_copy(mirror, shelf):
    mirror.copy_model("a")
    mirror.copy_model("b")
    shelf.contents = {path: data for path, data in shelf.contents.items() if path.startswith("b/")}
    mirror.refresh()
    assert list(mirror.listing.models) == ["b"]
    assert not mirror.directory("a").exists()
    with pytest.raises(SlipwayError, match="it is gone"):
        mirror.copy_model("a")


def test_an_empty_repository_is_an_error_that_removes_nothing(mirror, shelf):
    mirror.copy_model("a")
    shelf.contents.clear()
    with pytest.raises(SlipwayError, match="there is nothing at s3://bucket/models"):
        mirror.refresh()
    assert sorted(mirror.listing.models) == ["a", "b"]
    assert mirror.directory("a").is_dir()


def test_one_model_can_be_listed_alone(mirror, shelf):
    shelf.contents["c/config.pbtxt"] = b"three"
    shelf.contents["d/config.pbtxt"] = b"four"
    mirror.refresh_model("c")
    assert sorted(mirror.listing.models) == ["a", "b", "c"]
    del shelf.contents["c/config.pbtxt"]
    mirror.refresh_model("c")
    mirror.refresh_model("../a")
    assert sorted(mirror.listing.models) == ["a", "b"]


def test_a_repository_that_is_one_model_is_listed_and_copied(tmp_path):
    shelf = Shelf()
    shelf.contents = {"config.pbtxt": b"own", "1/model.onnx": b"weights"}
    mirror = Mirror(LOCATION, shelf, take_copy(LOCATION, tmp_path))
    mirror.refresh()
    shelf.contents["2/model.onnx"] = b"second"
    mirror.refresh_model("models")
    assert sorted(contents(mirror.copy_model("models"))) == ["1", "1/model.onnx", "2", "2/model.onnx", "config.pbtxt"]


def test_a_copy_that_does_not_fit_on_the_disk_is_refused_before_it_begins(mirror, shelf):
    class Vast(bytes):
        def __len__(self):
            return 2**60

    shelf.contents["a/1/model.onnx"] = Vast(b"x")
    mirror.refresh()
    with pytest.raises(SlipwayError, match="MiB are to be copied, but only"):
        mirror.copy_model("a")
    assert "a/1/model.onnx" not in shelf.fetched


def test_a_model_with_a_fault_is_not_copied_at_all(mirror, shelf):
    shelf.contents["a/../../x"] = b"escape"
    mirror.refresh()
    with pytest.raises(SlipwayError, match=r"its name contains '\.' or '\.\.'"):
        mirror.copy_model("a")
    assert not mirror.directory("a").exists()
