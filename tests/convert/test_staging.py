"""Either all models move into the repository or none, even after an interruption."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway.convert.staging import staged
from slipway.errors import SlipwayError

NAMES = ("a", "b", "c")


def write(directory: Path, text: str) -> None:
    for name in NAMES:
        (directory / name).mkdir(parents=True)
        (directory / name / "config.pbtxt").write_text(text)


def contents(repository: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in sorted(repository.glob("*/config.pbtxt"))}


@pytest.mark.parametrize("failing", range(1, 7))
def test_an_interruption_between_two_renames_brings_the_old_models_back(tmp_path, monkeypatch, failing):
    repository = tmp_path / "models"
    write(repository, "old")
    calls = 0
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), staged(repository, NAMES, overwrite=True) as (new, _):
        write(new, "new")
    assert contents(repository) == dict.fromkeys(NAMES, "old")
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_model_that_was_not_written_again_is_removed(tmp_path):
    repository = tmp_path / "models"
    write(repository, "old")
    with staged(repository, NAMES, overwrite=True) as (new, _):
        (new / "a").mkdir()
        (new / "a" / "config.pbtxt").write_text("new")
    assert contents(repository) == {"a": "new"}


def test_directories_created_for_a_failed_conversion_are_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "x" / "y" / "models", NAMES, overwrite=False):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not os.path.ismount("/dev/shm") or not os.access("/dev/shm", os.W_OK),  # noqa: S108  a mount point on every Linux
    reason="there is no mount point to write to",
)
def test_a_repository_that_is_a_mount_point_is_written_from_inside():
    repository = Path("/dev/shm")  # noqa: S108  as above
    name = f"slipway-test-{os.getpid()}"
    before = {path.name for path in repository.iterdir() if path.name.startswith(".slipway-")}
    try:
        with staged(repository, (name,), overwrite=False) as (new, _):
            (new / name).mkdir()
        assert (repository / name).is_dir()
        assert {path.name for path in repository.iterdir() if path.name.startswith(".slipway-")} == before
    finally:
        (repository / name).rmdir()


def test_a_repository_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(SlipwayError, match="cannot write to the repository"),
        staged(tmp_path / "file" / "models", NAMES, overwrite=False),
    ):
        pass
