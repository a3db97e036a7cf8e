"""An archive is unpacked into its directory and nowhere else."""

from __future__ import annotations

import gzip
import stat
import tarfile

import pytest

from slipway.backends.python.environments.unpacking import UnsafeArchiveError, unpack
from tests.backends.python.environments.archives import member, write_archive

UNSAFE = {
    "an absolute path": ([member("/etc/x")], "member '/etc/x' would be outside of the environment"),
    "a path upwards": ([member("a/../../x")], "member 'a/../../x' would be outside of the environment"),
    "a file through a link": (
        [member("out", tarfile.SYMTYPE, link="/etc"), member("out/x")],
        "a member would be written through the link 'out'",
    ),
    "a directory through a link": (
        [member("a/out", tarfile.SYMTYPE, link=".."), member("a/out/b", tarfile.DIRTYPE)],
        "a member would be written through the link 'a/out'",
    ),
    "a hard link to what is not in it": (
        [member("x", tarfile.LNKTYPE, link="missing")],
        "member 'x' links to 'missing', which is not a file in it",
    ),
    "a hard link upwards": ([member("x", tarfile.LNKTYPE, link="../y")], "member '../y' would be outside"),
    "a hard link through a link": (
        [member("l", tarfile.SYMTYPE, link="/etc"), member("x", tarfile.LNKTYPE, link="l/passwd")],
        "member 'x' links to 'l/passwd', which is not a file in it",
    ),
    "a device": ([member("x", tarfile.CHRTYPE)], "member 'x' is a device or a FIFO"),
    "a fifo": ([member("x", tarfile.FIFOTYPE)], "member 'x' is a device or a FIFO"),
    "itself as a file": ([member(".")], "member '.' is not a directory"),
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_what_could_do_harm_is_refused(tmp_path, kind):
    members, message = UNSAFE[kind]
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(UnsafeArchiveError) as caught:
        unpack(write_archive(tmp_path / "a.tar.gz", *members), target)
    assert message in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "target"}


def test_files_links_and_modes_come_out_as_they_were_packed(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    archive = write_archive(
        tmp_path / "a.tar.gz",
        member("./bin", tarfile.DIRTYPE, mode=0o555),
        member("./bin/tool", content=b"run", mode=0o6755),
        member("./bin/python", tarfile.SYMTYPE, link="/usr/bin/python3"),
        member("lib64", tarfile.SYMTYPE, link="lib"),
        member("lib/deep/module.py", content=b"x = 1", mode=0o444),
        member("lib/same.py", tarfile.LNKTYPE, link="lib/deep/module.py"),
    )
    unpack(archive, target)
    assert (target / "bin/tool").read_bytes() == b"run"
    assert stat.S_IMODE((target / "bin/tool").stat().st_mode) == 0o755
    assert str((target / "bin/python").readlink()) == "/usr/bin/python3"
    assert (target / "lib64/same.py").read_text() == "x = 1"


def test_a_later_member_replaces_a_link_instead_of_following_it(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    target = tmp_path / "target"
    target.mkdir()
    members = [member("x", tarfile.SYMTYPE, link=str(outside)), member("x", content=b"theirs")]
    unpack(write_archive(tmp_path / "a.tar.gz", *members), target)
    assert outside.read_text() == "mine"
    assert (target / "x").read_text() == "theirs"


def test_the_number_of_members_and_the_size_are_bounded(tmp_path):
    archive = write_archive(tmp_path / "a.tar.gz", *(member(f"f{n}", content=b"x" * 100) for n in range(5)))
    for limits, message in (({"most_members": 4}, "more than 4 members"), ({"most_bytes": 499}, "too large")):
        target = tmp_path / message.split()[0]
        target.mkdir()
        with pytest.raises(UnsafeArchiveError, match=message):
            unpack(archive, target, **limits)


@pytest.mark.parametrize("content", [b"", b"not a tar", gzip.compress(b"not a tar"), b"\x1f\x8b\x08damaged"])
def test_what_is_not_an_archive_is_named_as_such(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    (tmp_path / "target").mkdir()
    with pytest.raises(UnsafeArchiveError, match="cannot be read as a tar archive"):
        unpack(path, tmp_path / "target")


def test_an_archive_that_was_cut_off_is_refused(tmp_path):
    whole = write_archive(tmp_path / "a.tar.gz", member("f", content=bytes(range(256)) * 400)).read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "target").mkdir()
    with pytest.raises(UnsafeArchiveError, match="cannot be read as a tar archive"):
        unpack(cut, tmp_path / "target")
