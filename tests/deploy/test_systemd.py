"""The systemd unit: systemd accepts it, it is hardened, and it waits for the server longer than the server takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.config.options import parse_options
from tests.deploy.test_image import DEPLOY

UNIT = DEPLOY / "systemd" / "slipway.service"
SETTINGS = DEPLOY / "systemd" / "slipway.toml"


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def analyze() -> str:
    path = shutil.which("systemd-analyze")
    if path is None:
        pytest.skip("systemd-analyze is not installed")
    return path


def test_systemd_accepts_the_unit(analyze, tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/slipway/bin/slipway", sys.executable))
    done = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True, check=False)
    about = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert (done.returncode, about) == (0, [])


def test_the_service_is_exposed_little(analyze):
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=20", UNIT], capture_output=True, text=True, check=False
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd is too old")
    assert done.returncode == 0, done.stdout[-400:]


def test_the_server_reads_its_settings_and_is_not_killed_before_it_ends(tmp_path):
    command = settings()["ExecStart"].split()
    assert command[:2] == ["/opt/slipway/bin/slipway", "serve"]
    arguments = [word.replace("/etc/slipway/slipway.toml", str(SETTINGS)) for word in command[2:]]
    pairs = re.findall(r"(SLIPWAY_\w+)=(\S+)", settings()["Environment"])
    options = parse_options(arguments, dict(pairs))
    assert options.model_repository == (Path("/srv/models"),)
    assert not [warning for warning in options.warnings if "has no effect" in warning]
    taken = options.drain_delay_secs + options.exit_timeout_secs
    assert int(settings()["TimeoutStopSec"].removesuffix("s")) >= taken + 10
    assert settings()["Type"] == "notify"  # which `slipway serve` does once it answers
    assert settings()["KillMode"] == "mixed"  # only the server gets SIGTERM, and it ends its models' processes


def test_the_server_writes_only_where_the_unit_allows_it():
    environment = dict(pair.split("=", 1) for pair in settings()["Environment"].split())
    assert settings()["ProtectSystem"] == "strict"
    own = f"/var/cache/{settings()['CacheDirectory']}"
    assert environment["HOME"] == environment["SLIPWAY_CACHE_DIR"] == settings()["WorkingDirectory"] == own
