import pytest

from slipway.repository.remote.listing import RemoteObject, group


def objects(*paths, **fields):
    return [RemoteObject(path, f"bucket/{path}", 0 if path.endswith("/") else 3, **fields) for path in paths]


def test_objects_are_grouped_to_models():
    listing = group(objects("a/config.pbtxt", "a/1/model.onnx", "a/1/data/x", "b/1/", "README.md"), "models")
    assert sorted(listing.models) == ["a", "b"]
    assert sorted(listing.models["a"].files) == ["1/data/x", "1/model.onnx", "config.pbtxt"]
    assert listing.models["a"].directories == {"1", "1/data"}
    assert listing.models["b"].directories == {"1"}
    assert listing.strays == ()


def test_a_location_that_is_a_model_has_only_that_model():
    listing = group(objects("config.pbtxt", "1/model.onnx"), "resnet")
    assert list(listing.models) == ["resnet"]
    assert sorted(listing.models["resnet"].files) == ["1/model.onnx", "config.pbtxt"]


@pytest.mark.parametrize(
    "path",
    [
        "a/../../etc/passwd",
        "a//etc/passwd",
        "a/./x",
        "a/1/..",
        "a/x\\y",
        "a/x\0y",
        "a/x\ny",
        "a/" + "x" * 256,
        "a/" + "é" * 128,
        "a/" + "/".join("d" * 100 for _ in range(11)),
        "a/" + "d/" * 65 + "x",
        "a/\udcff",
    ],
)
def test_a_name_that_a_local_file_must_not_have_is_the_fault_of_its_model_alone(path):
    listing = group(objects("a/config.pbtxt", path, "b/config.pbtxt"), "models")
    assert listing.models["a"].fault
    assert not listing.models["b"].fault
    assert path.removeprefix("a/") not in listing.models["a"].files


@pytest.mark.parametrize("path", ["/etc/passwd", "../a/config.pbtxt", "./config.pbtxt", "\x1b[2J/config.pbtxt"])
def test_a_folder_that_a_local_directory_must_not_be_is_not_a_model(path):
    listing = group(objects(path, "b/config.pbtxt"), "models")
    assert list(listing.models) == ["b"]
    assert len(listing.strays) == 1


@pytest.mark.parametrize("folder", ["notes", "notes/sub", "notes/01", "notes/1a"])
def test_a_folder_without_config_and_version_is_named(folder):
    listing = group(objects(f"{folder}/x.txt"), "models")
    assert listing.strays == (("notes", "it contains neither config.pbtxt nor a version directory"),)


def test_a_file_that_is_a_directory_too_is_a_fault():
    model = group(objects("a/config.pbtxt", "a/1", "a/1/model.onnx"), "models").models["a"]
    assert model.fault == "'1' is both a file and a directory"


def test_a_size_that_is_not_known_is_a_fault():
    model = group([RemoteObject("a/config.pbtxt", "k", -1)], "models").models["a"]
    assert "its size is not known" in model.fault


def test_every_change_changes_the_fingerprint_and_the_time_of_the_copy():
    one = RemoteObject("a/1/x", "k", 3, modified=1_700_000_000, tag="t")
    others = [
        RemoteObject("a/1/x", "k", 3, modified=1_700_000_000, tag="u"),
        RemoteObject("a/1/x", "k", 3, modified=1_700_000_000, tag="t", md5=b"1"),
        RemoteObject("a/1/x", "k", 3, modified=1_700_000_000, tag="t", crc32c=b"1"),
        RemoteObject("a/1/x", "k", 3, modified=1_700_000_001, tag="t"),
    ]
    assert len({each.mtime_ns for each in (one, *others)}) == 5
    assert all(each.mtime_ns // 10**9 - 1_700_000_000 in (0, 1) for each in (one, *others))
    looks = [group([each], "m").models["a"].fingerprint for each in (one, *others, RemoteObject("a/1/x", "k", 4))]
    assert all(looks[0] != look for look in looks[1:])
    assert looks[0] == group([one], "m").models["a"].fingerprint
    assert (
        group(objects("a/1/x"), "m").models["a"].fingerprint
        != group(objects("a/1/x", "a/2/"), "m").models["a"].fingerprint
    )


@pytest.mark.parametrize("modified", [-(10**30), 10**30])
def test_a_foreign_time_stays_one_that_a_file_can_have(modified):
    assert 0 <= RemoteObject("a/x", "k", 1, modified=modified).mtime_ns < 2**63
