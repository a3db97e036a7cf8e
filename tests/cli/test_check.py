"""`slipway check` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from slipway.cli.main import main
from tests.kits.lint_cases import BATCHES, CASES, ONNX, chain, model, onnx_model, python_model

# One case of each kind of mistake: ensembles, batch sizes, directories, graphs, instances, platforms and fields.
SPECIFIED = (
    ("ensemble-batch-size", "e/config.pbtxt", "maximum batch size 8"),
    ("preferred-size-above-max", "m/config.pbtxt", "preferred size"),
    ("name-not-directory", "m/config.pbtxt", "name is 'other'"),
    ("datatype-not-graph", "m/config.pbtxt", "for input 'x'"),
    ("instance-count", "m/config.pbtxt", "count 0"),
    ("unknown-field", "m/config.pbtxt", '"prefered_batch_size"'),
)


@pytest.mark.capability("4.14")
@pytest.mark.parametrize(("rule", "file", "field"), SPECIFIED)
def test_a_broken_rule_names_file_and_field_and_exits_with_1(tmp_path, capsys, rule, file, field):
    CASES[rule](tmp_path)
    assert main(["check", str(tmp_path)]) == 1
    [line, *_] = [line for line in capsys.readouterr().out.splitlines() if line.endswith(f"[{rule}]")]
    assert f"{tmp_path}/{file}:" in line
    assert field in line


def test_a_good_repository_prints_one_line_and_exits_with_0(tmp_path, capsys):
    chain(tmp_path)
    assert main(["check", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "3 models checked: 0 errors, 0 warnings, 0 hints\n"


def test_warnings_alone_exit_with_0(tmp_path):
    CASES["label-count"](tmp_path)
    assert main(["check", str(tmp_path)]) == 0


def test_the_document_has_everything_that_the_text_has(tmp_path, capsys):
    CASES["preferred-size-above-max"](tmp_path)
    assert main(["check", str(tmp_path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["summary"] == {"errors": 1, "warnings": 0, "hints": 0}
    [finding] = document["findings"]
    place = (finding["file"], finding["line"], finding["column"])
    assert place == (str(tmp_path / "m" / "config.pbtxt"), 6, 30)
    assert (finding["severity"], finding["rule"], finding["fixable"]) == ("error", "preferred-size-above-max", True)


def test_fix_writes_and_shows_the_difference_and_what_is_left(tmp_path, capsys):
    directory = onnx_model(tmp_path, ONNX.replace('"x"', '"z"') + 'name: "other"\n')
    assert main(["check", str(tmp_path), "--fix"]) == 1
    printed = capsys.readouterr().out
    assert '-name: "other"\n+name: "m"\n' in printed
    assert "[name-not-directory]" not in printed
    assert "[tensor-not-in-graph]" in printed
    assert (directory / "config.pbtxt").read_text().endswith('name: "m"\n')


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    directory = model(tmp_path, f'{BATCHES}name: "other"\n')
    assert main(["check", str(tmp_path), "--fix", "--dry-run"]) == 1
    assert '+name: "m"\n' in capsys.readouterr().out
    assert (directory / "config.pbtxt").read_text() == f'{BATCHES}name: "other"\n'


def test_the_rules_can_be_listed(capsys):
    assert main(["check", "--rules"]) == 0
    assert "preferred-size-above-max" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["--dry-run", "."]])
def test_wrong_usage_exits_with_1(arguments, capsys):
    try:
        code = main(["check", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_pipe_gets_no_colours_and_no_lines_of_the_log(tmp_path):
    onnx_model(tmp_path, None)
    command = [sys.executable, "-W", "error", "-m", "slipway", "check", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout


def test_colours_are_for_terminals(tmp_path, capsys, monkeypatch):
    CASES["label-count"](tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    main(["check", str(tmp_path)])
    assert "\x1b[33mwarning\x1b[0m" in capsys.readouterr().out
    for arguments, variable in (["--no-color"], ""), ([], "1"):
        monkeypatch.setenv("NO_COLOR", variable)
        main(["check", str(tmp_path), *arguments])
        assert "\x1b" not in capsys.readouterr().out


PRINTS = """import sys

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        print("a word of the model's own", flush=True)
        config.add_input({"name": "x", "data_type": "TYPE_FP32", "dims": [1]})
        config.add_output({"name": "y", "data_type": "TYPE_FP32", "dims": [1]})
        return config
"""


@pytest.mark.parametrize("words", [["check", "--json"], ["config", "show", "--json"]])
def test_what_a_model_prints_stays_out_of_the_document(tmp_path, words):
    python_model(tmp_path, PRINTS)
    command = [sys.executable, "-m", "slipway", *words, str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)
    assert "a word of the model's own" in done.stderr
