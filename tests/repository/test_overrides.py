import pytest

from slipway.errors import SlipwayError
from slipway.repository.overrides import check_files, remove_files, write_files


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "1/../../x",
        "/etc/passwd",
        "..",
        "1/../../../root/new",
        "",
        "1/",
        "a" * 256 + "/model.py",
        "1\\x",
        "1/\0",
    ],
)
def test_a_path_that_could_leave_the_model_directory_is_refused(path):
    with pytest.raises(SlipwayError, match="Invalid file parameter 'file:"):
        check_files({path: b""}, has_config=True)


def test_files_need_a_config():
    with pytest.raises(SlipwayError, match=r"^Load parameter 'config' must be specified for model file override$"):
        check_files({"1/model.py": b""}, has_config=False)


def test_files_are_written_to_a_directory_of_their_own_and_removed_again():
    files = {"1/model.py": b"code", "1/deep/weights.bin": b"\x00", "labels.txt": b"a\nb"}
    check_files(files, has_config=True)
    directory = write_files("m", files)
    assert directory.name == "m"
    assert {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()} == (
        files
    )
    remove_files(directory)
    assert not directory.parent.exists()


def test_a_file_that_is_also_a_directory_is_refused_and_leaves_nothing_behind():
    with pytest.raises(SlipwayError, match="the files of model 'm' cannot be written") as caught:
        write_files("m", {"1": b"", "1/model.py": b""})
    assert "slipway-model-" not in caught.value.message
