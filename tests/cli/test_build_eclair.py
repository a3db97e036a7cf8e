"""`slipway build-eclair`: four settings from options or the environment, each fault by name, and a second run."""

from __future__ import annotations

import json

import pytest

from slipway.cli import build_eclair
from slipway.cli.build_eclair import SETTINGS
from slipway.cli.main import main
from slipway.convert.report import source_hash

VARIABLES = [setting.variable for setting in SETTINGS]


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The settings of a `.env` file, with an empty checkpoint; returns a function that changes them."""
    (tmp_path / "checkpoints/reader").mkdir(parents=True)
    values = {
        "ECLAIR_CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
        "ECLAIR_CHECKPOINT_NAME": "reader",
        "ECLAIR_MODEL_DIR": str(tmp_path / "models"),
    }
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def set_values(**changes: str | None) -> None:
        for name, value in (values | changes).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    set_values()
    return set_values


@pytest.fixture
def converted(monkeypatch):
    """The command lines of `slipway convert` that were run."""
    lines: list[list[str]] = []

    def run(words):
        lines.append(words)
        return 0

    monkeypatch.setattr(build_eclair.convert, "run", run)
    return lines


def test_the_environment_says_what_to_build(environment, converted, tmp_path):
    assert main(["build-eclair"]) == 0
    assert converted == [
        [
            str(tmp_path / "checkpoints/reader"), "--name", "eclair", "--repository", str(tmp_path / "models"),
            "--task", "document-reading", "--max-batch-size", "16",
        ]
    ]  # fmt: skip


def test_the_batch_size_is_honoured_and_options_take_precedence(environment, converted, tmp_path):
    environment(ECLAIR_BATCH_SIZE="4", ECLAIR_MODEL_DIR="elsewhere")
    assert main(["build-eclair", "--model-dir", str(tmp_path / "mine"), "--precision", "fp32"]) == 0
    [words] = converted
    assert words[words.index("--max-batch-size") + 1] == "4"
    assert words[words.index("--repository") + 1] == str(tmp_path / "mine")
    assert words[-2:] == ["--precision", "fp32"]


def test_every_missing_setting_is_named_at_once(environment, converted, capsys):
    environment(ECLAIR_CHECKPOINT_DIR=None, ECLAIR_CHECKPOINT_NAME=None, ECLAIR_MODEL_DIR="")
    assert main(["build-eclair"]) == 1
    error = capsys.readouterr().err
    for setting in SETTINGS[:3]:
        assert f"{setting.variable} is not set: set it, or {setting.option}" in error
    assert not converted


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ECLAIR_BATCH_SIZE": "0"}, "ECLAIR_BATCH_SIZE is '0', expected a number from 1 to 1024"),
        ({"ECLAIR_BATCH_SIZE": "many"}, "ECLAIR_BATCH_SIZE is 'many'"),
        ({"ECLAIR_BATCH_SIZE": "9" * 5000}, "ECLAIR_BATCH_SIZE is '999"),
        ({"ECLAIR_BATCH_SIZE": "³"}, "ECLAIR_BATCH_SIZE is '³'"),
        ({"ECLAIR_CHECKPOINT_NAME": "raeder"}, "did you mean 'reader'?"),
        ({"ECLAIR_CHECKPOINT_NAME": "../models"}, "which is not a directory inside"),
        ({"ECLAIR_CHECKPOINT_DIR": "/no/such"}, "ECLAIR_CHECKPOINT_DIR is '/no/such', which is not a directory"),
        ({"ECLAIR_BATCHSIZE": "8"}, "ECLAIR_BATCHSIZE is not a setting: did you mean ECLAIR_BATCH_SIZE?"),
    ],
    ids=["zero", "word", "long", "superscript", "misspelt", "outside", "no-directory", "variable"],
)
def test_a_wrong_setting_is_named(environment, converted, capsys, changes, reason):
    environment(**changes)
    assert main(["build-eclair"]) == 1
    assert reason in capsys.readouterr().err
    assert not converted


def test_variables_of_clients_are_left_alone(environment, converted):
    environment(ECLAIR_GRPC_TRITON="triton:8001", ECLAIR_TRITON_HOST="triton-eclair", ECLAIR_TRITON_PORT="8001")
    assert main(["build-eclair"]) == 0
    assert len(converted) == 1


def test_options_that_the_command_decides_are_refused(environment, converted, capsys):
    with pytest.raises(SystemExit):
        main(["build-eclair", "--name=mine"])
    assert "--name is set by this command" in capsys.readouterr().err


def built(tmp_path, *, rows: int = 16, digest: str | None = None, options: str = "") -> None:
    """Write what an earlier run left, as far as the command reads it."""
    for name in ("eclair", "eclair-model"):
        (tmp_path / "models" / name).mkdir(parents=True)
    (tmp_path / "models/eclair/config.pbtxt").write_text(f'name: "eclair" max_batch_size: {rows}')
    digest = digest or source_hash(tmp_path / "checkpoints/reader")
    report = {"source_sha256": digest, "reproduce": f"slipway convert reader --name eclair {options}"}
    (tmp_path / "models/eclair-model/report.json").write_text(json.dumps(report))


def test_a_second_run_leaves_the_same_model_alone(environment, converted, capsys, tmp_path):
    built(tmp_path)
    assert main(["build-eclair"]) == 0
    assert not converted
    assert "was built from the same checkpoint" in capsys.readouterr().out
    assert main(["build-eclair", "--overwrite"]) == 0
    assert converted[0][-1] == "--overwrite"


def test_a_model_that_was_built_with_other_options_is_not_passed_off_as_this_one(
    environment, converted, capsys, tmp_path
):
    built(tmp_path, options="--precision fp32")
    assert main(["build-eclair", "--precision", "fp32"]) == 0
    assert main(["build-eclair", "--precision", "int8"]) == 1
    assert "was not built with --precision int8; --overwrite builds it again" in capsys.readouterr().err
    assert not converted


@pytest.mark.parametrize(
    ("left", "reason"),
    [({"rows": 8}, "was built for up to 8 pages in a request"), ({"digest": "0"}, "was built from another checkpoint")],
    ids=["rows", "checkpoint"],
)
def test_another_model_in_its_place_is_not_passed_off_as_this_one(
    environment, converted, capsys, tmp_path, left, reason
):
    built(tmp_path, **left)
    assert main(["build-eclair"]) == 1
    assert f"{reason}; --overwrite replaces it" in capsys.readouterr().err
    assert not converted
