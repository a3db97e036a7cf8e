import pytest

from slipway.repository.scan import find_model, is_single_model, scan_repositories, scan_versions


def make(path, *, versions=(), config=None):
    path.mkdir(parents=True)
    for version in versions:
        (path / version).mkdir()
    if config is not None:
        (path / "config.pbtxt").write_text(config)


def test_models_of_several_repositories_are_listed_by_name(tmp_path):
    make(tmp_path / "one" / "b", versions=["1"])
    make(tmp_path / "two" / "a", config="")
    scan = scan_repositories([tmp_path / "one", tmp_path / "two"])
    assert list(scan.models) == ["a", "b"]
    assert not scan.strays


def test_a_model_in_two_repositories_is_a_duplicate(tmp_path):
    make(tmp_path / "one" / "a", versions=["1"])
    make(tmp_path / "two" / "a", versions=["1"])
    repositories = [tmp_path / "one", tmp_path / "two"]
    assert scan_repositories(repositories).duplicates == {"a"}
    assert len(find_model(repositories, "a")) == 2


@pytest.mark.parametrize(
    ("folder", "reason"),
    [(".ipynb_checkpoints", "neither"), ("notes", "neither"), ("model ", "whitespace"), ("a\udcff", "Unicode")],
)
def test_a_stray_folder_is_named_and_is_not_a_model(tmp_path, folder, reason):
    make(tmp_path / "good", versions=["1"])
    (tmp_path / folder).mkdir()
    (tmp_path / "README.md").write_text("a file")
    scan = scan_repositories([tmp_path])
    assert list(scan.models) == ["good"]
    [(name, why)] = scan.strays
    assert name == folder
    assert reason in why


def test_a_name_with_a_trailing_blank_is_a_stray_even_when_it_holds_a_model(tmp_path):
    make(tmp_path / "model ", versions=["1"], config="")
    scan = scan_repositories([tmp_path])
    assert (scan.models, [name for name, _ in scan.strays]) == ({}, ["model "])


def test_a_path_that_is_one_models_directory_is_that_model(tmp_path):
    make(tmp_path / "m", versions=["1"], config="")
    assert is_single_model(tmp_path / "m")
    assert scan_repositories([tmp_path / "m"]).models == {"m": tmp_path / "m"}
    assert find_model([tmp_path / "m"], "m") == [tmp_path / "m"]
    assert find_model([tmp_path / "m"], "1") == []


def test_a_missing_repository_is_named(tmp_path):
    scan = scan_repositories([tmp_path / "gone"])
    assert scan.unreadable == ((str(tmp_path / "gone"), "No such file or directory"),)


def test_versions_are_the_plain_numbers(tmp_path):
    make(tmp_path / "m", versions=["0", "1", "10", "01", "1abc", "-1", "warmup", "initial_state", "configs", ".x"])
    (tmp_path / "m" / "7").write_text("a file")
    scan = scan_versions(tmp_path / "m")
    assert list(scan.paths) == [0, 1, 10]
    assert dict(scan.ignored) == {
        "01": "which contains leading zeros in its directory name",
        "1abc": "which fails to convert to integral number",
        "-1": "which fails to convert to integral number",
    }


def test_a_model_name_too_long_for_the_file_system_is_not_found(tmp_path):
    assert find_model([tmp_path], "x" * 300) == []
