import subprocess
import sys

import pytest

from slipway.config.remote_location import read_location
from slipway.errors import SlipwayError
from slipway.repository.remote.local_copy import cache_directory, take_copy

LOCATION = read_location("s3://bucket/models")


def test_the_cache_is_in_tritons_variable_or_in_the_users_cache(tmp_path):
    named = {"TRITON_AWS_MOUNT_DIRECTORY": "/aws", "TRITON_GCS_MOUNT_DIRECTORY": "/gcs", "XDG_CACHE_HOME": "/xdg"}
    assert str(cache_directory("s3", named)) == "/aws"
    assert str(cache_directory("gs", named)) == "/gcs"
    assert str(cache_directory("as", named)) == "/xdg/slipway/repositories"
    assert str(cache_directory("https", named)) == "/xdg/slipway/repositories"


def test_the_next_server_finds_the_copy_of_the_last_one(tmp_path):
    copy = take_copy(LOCATION, tmp_path)
    (copy.models / "m").mkdir()
    (copy.incoming / "half").mkdir()
    copy.close()
    again = take_copy(LOCATION, tmp_path)
    assert again.models == copy.models
    assert (again.models / "m").is_dir()
    assert list(again.incoming.iterdir()) == []
    again.close()


def test_servers_that_run_at_the_same_time_have_a_copy_each(tmp_path):
    copies = [take_copy(LOCATION, tmp_path) for _ in range(3)]
    assert len({copy.models for copy in copies}) == 3
    assert take_copy(read_location("s3://bucket/other"), tmp_path).models not in {copy.models for copy in copies}
    copies[1].close()
    assert take_copy(LOCATION, tmp_path).models == copies[1].models


def test_a_server_that_was_killed_leaves_its_copy_to_the_next(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from slipway.config.remote_location import read_location\n"
        "from slipway.repository.remote.local_copy import take_copy\n"
        f"print(take_copy(read_location('{LOCATION.text}'), Path(sys.argv[1])).models, flush=True)\nos.abort()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert str(take_copy(LOCATION, tmp_path).models) == ran.stdout.strip()


def test_a_directory_that_others_could_fill_is_refused(tmp_path):
    copy = take_copy(LOCATION, tmp_path)
    copy.close()
    copy.models.chmod(0o770)
    with pytest.raises(SlipwayError, match="must be a directory of this user alone"):
        take_copy(LOCATION, tmp_path)
    copy.models.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    copy.models.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SlipwayError, match="must be a directory of this user alone"):
        take_copy(LOCATION, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SlipwayError, match="cannot hold a copy of s3://bucket/models"):
        take_copy(LOCATION, tmp_path / "file")
