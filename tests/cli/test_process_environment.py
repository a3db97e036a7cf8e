"""What `slipway serve` adds to its own environment before native libraries read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.cli.process_environment import HUGE_PAGES, SPINNING, missing_settings
from tests.server.running import running_server

MADVISE = "always [madvise] never\n"


def test_huge_pages_and_short_spinning_are_added_where_the_kernel_waits_to_be_asked():
    assert missing_settings({}, pages=MADVISE, libc="glibc") == dict([HUGE_PAGES, SPINNING])


@pytest.mark.parametrize(
    ("pages", "libc"),
    [("[always] madvise never", "glibc"), ("always madvise [never]", "glibc"), ("", "glibc"), (MADVISE, "musl")],
)
def test_pages_are_left_alone_where_asking_is_needless_or_impossible(pages, libc):
    assert missing_settings({}, pages=pages, libc=libc) == dict([SPINNING])


def test_what_the_user_has_set_stays():
    assert missing_settings({"GLIBC_TUNABLES": "x"}, pages=MADVISE, libc="glibc") == dict([SPINNING])
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        assert missing_settings({name: "1"}, pages=MADVISE, libc="glibc") == dict([HUGE_PAGES])


def test_a_server_runs_with_the_settings_under_the_process_id_it_was_started_with(tmp_path, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with running_server(tmp_path) as server:
        words = Path(f"/proc/{server.process.pid}/environ").read_bytes().split(b"\0")
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().split(b"\0")
    assert "=".join(SPINNING).encode() in words
    assert b"serve" in command
