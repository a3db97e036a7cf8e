"""The command table: what runs, what is refused, with which exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest
from onnx import TensorProto

from slipway import __version__
from slipway.cli.main import COMMANDS, main
from tests.kits import onnx_graphs as graphs


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"slipway {__version__}\n"


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["serve", "--log-verbose=x"]])
def test_help_and_mistaken_flags_need_no_heavy_library(words):
    heavy = {"asyncio", "grpc", "numpy", "tritonclient", "uvloop"}
    program = (
        "import atexit, sys\nfrom slipway.cli.main import main\n"  # main ends the process after a mistake
        f"atexit.register(lambda: print(sorted({heavy} & sys.modules.keys())))\n"
        "main(sys.argv[1:])"
    )
    result = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["sevre"], ["--bogus"]])
def test_an_unknown_command_is_named_and_fails(capsys, arguments):
    assert main(arguments) == 1
    assert f"error: unknown command '{arguments[0]}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["infer", "convert"])
def test_wrong_usage_is_one_line_and_exit_code_1(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([command, "--bogus"])
    assert caught.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_known_error_is_one_line_and_exit_code_1(capsys, tmp_path):
    assert main(["convert", str(tmp_path / "no"), "--name", "m", "--repository", str(tmp_path / "r")]) == 1
    assert (
        capsys.readouterr().err
        == f"error: '{tmp_path / 'no'}' is not a directory, a file, or the id of a model on a hub\n"
    )


def test_an_error_is_followed_by_what_to_do_about_it(tmp_path, capsys):
    path = graphs.identity(tmp_path / "m", TensorProto.FLOAT, shape=None) / "1" / "model.onnx"
    assert main(["config", "create", str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: the model file does not specify the shape of input 'x'")
    assert lines[1].startswith("  fix: declare every input, this one as {")
