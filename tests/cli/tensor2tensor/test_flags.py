"""Flags as absl reads them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from slipway import __version__
from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.config.flags import BOOLEAN, TEXT, whole


@dataclass(frozen=True, slots=True)
class _Options:
    data_dir: str = flag("", TEXT, "directory of the data")
    train_steps: int = flag(250_000, whole(1), "steps to train")
    generate_data: bool = flag(False, BOOLEAN, "generate the data first")
    inputs: tuple[str, ...] = flag((), TEXT, "inputs", gather=tuple)


PROGRAM = AbslCommand("t2t-example", "Show an example.", _Options, ignored={"use_tpu": "there are no TPUs here"})
REQUIRING = AbslCommand("t2t-example", "Show an example.", _Options, required=("data_dir",))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--data_dir=d --train_steps=5", _Options("d", 5)),
        ("--data_dir d --train_steps 5", _Options("d", 5)),
        ("--data-dir=d --train-steps 5", _Options("d", 5)),
        ("-data_dir=d", _Options("d")),
        ("--data_dir=", _Options("")),
        ("--data_dir=a=b", _Options("a=b")),
        ("--data_dir=-1", _Options("-1")),
        ("--data_dir=a --data_dir=b", _Options("b")),
        ("--inputs=a --inputs=b", _Options(inputs=("a", "b"))),
        ("--generate_data", _Options(generate_data=True)),
        ("--generate-data=true", _Options(generate_data=True)),
        ("--generate_data=False", _Options()),
        ("--generate_data --nogenerate_data", _Options()),
        ("--no-generate-data", _Options()),
        ("--generate_data --data_dir d", _Options("d", generate_data=True)),
    ],
)
def test_a_flag_is_read_in_each_of_its_forms(words, expected):
    assert read_flags(PROGRAM, words.split()) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data_dri=d", "unknown flag '--data_dri=d'; did you mean --data_dir?"),
        ("--nodata_dir", "unknown flag '--nodata_dir'; did you mean --data_dir?"),
        ("--zzz", "unknown flag '--zzz'\n"),
        ("--train_steps=many", "--train_steps"),
        ("--train_steps=0", "out of bound"),
        ("--train_steps", "--train_steps needs a value"),
        ("--generate_data=perhaps", "invalid value for bool option: perhaps"),
        ("train", "unexpected argument 'train'"),
        ("--generate_data true", "unexpected argument 'true'"),
    ],
)
def test_a_mistake_is_named_with_exit_code_2(capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        read_flags(PROGRAM, words.split())
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_all_mistakes_are_listed_together(capsys):
    with pytest.raises(SystemExit):
        read_flags(PROGRAM, ["--data_dri=d", "--train_steps=many"])
    assert capsys.readouterr().err.count("error: ") == 2


def test_a_flag_that_is_required_is_missed(capsys):
    with pytest.raises(SystemExit) as caught:
        read_flags(REQUIRING, [])
    assert caught.value.code == 2
    assert "error: --data_dir is missing" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--use_tpu", "--use-tpu=true", "--nouse_tpu", "--use_tpu true"])
def test_a_flag_without_effect_is_warned_about(capsys, words):
    assert read_flags(PROGRAM, words.split()) == _Options()
    assert capsys.readouterr().err == "warning: --use_tpu is ignored: there are no TPUs here\n"


def test_version_is_printed_whatever_else_is_there(capsys):
    with pytest.raises(SystemExit) as caught:
        read_flags(REQUIRING, ["--bogus", "--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"t2t-example {__version__}\n"


def test_help_lists_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        read_flags(REQUIRING, ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "--train_steps N" in printed
    assert "(default: 250000)" in printed
    assert "directory of the data; required" in printed
