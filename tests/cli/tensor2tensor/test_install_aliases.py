"""Launchers: what is written, run, refused and removed."""

from __future__ import annotations

import os
import subprocess

import pytest

from slipway import __version__
from slipway.cli.main import ALIASED, main


def test_each_launcher_runs_its_command(tmp_path, capsys):
    assert main(["install-aliases", str(tmp_path / "bin")]) == 0
    assert f"export PATH={tmp_path / 'bin'}:$PATH" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == sorted(ALIASED)
    ran = subprocess.run([tmp_path / "bin" / "tritonserver", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"tritonserver {__version__}\n"


def test_a_directory_on_the_path_is_not_advertised(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{tmp_path}")
    assert main(["install-aliases", str(tmp_path)]) == 0
    assert "PATH" not in capsys.readouterr().out


def test_launchers_are_written_again_and_removed(tmp_path):
    assert main(["install-aliases", str(tmp_path)]) == 0
    assert main(["install-aliases", str(tmp_path)]) == 0
    assert main(["install-aliases", "--remove", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    assert main(["install-aliases", "--remove", str(tmp_path)]) == 0


@pytest.mark.parametrize("flags", [[], ["--remove"]])
def test_a_file_of_somebody_else_stays(tmp_path, capsys, flags):
    other = tmp_path / "tritonserver"
    other.write_text("#!/bin/sh\n")
    assert main(["install-aliases", *flags, str(tmp_path)]) == 1
    assert f"'{other}' was not written by" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tritonserver"]
    assert other.read_text() == "#!/bin/sh\n"


def test_a_link_of_somebody_else_stays(tmp_path):
    (tmp_path / "tritonserver").symlink_to(tmp_path / "nowhere")
    assert main(["install-aliases", str(tmp_path)]) == 1
    assert (tmp_path / "tritonserver").is_symlink()
