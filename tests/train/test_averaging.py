"""Averages: the mean of the newest checkpoints, a checkpoint itself, and what cannot be averaged."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.reader import open_stored, read_tensor2tensor
from slipway.cli.main import main
from slipway.errors import SlipwayError
from slipway.train.averaging import average_checkpoints
from tests.checkpoints.tensor2tensor.made_checkpoints import SMALL, random_arrays, save


@pytest.fixture
def directory(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path / "train", {name: value * step for name, value in random_arrays().items()}, step)
    (tmp_path / "train/hparams.json").write_text("{}")
    return tmp_path


@pytest.fixture(autouse=True)
def _made(tmp_path):
    (tmp_path / "train").mkdir()


def test_average_is_the_mean_of_the_newest_checkpoints(directory):
    step, steps = average_checkpoints(directory / "train", directory / "avg", 2)
    assert (step, steps) == (30, [20, 30])
    for name, array in open_stored(directory / "avg").arrays.items():
        np.testing.assert_allclose(array.read(), random_arrays()[name] * 25, rtol=1e-6)
    assert read_tensor2tensor(directory / "avg", SMALL).step == 30
    assert (directory / "avg/hparams.json").read_text() == "{}"


def test_command_averages_all_if_fewer_are_there(directory, capsys):
    arguments = [f"--model_dir={directory / 'train'}", f"--output_dir={directory / 'avg'}", "--n=8"]
    assert main(["t2t-avg-all", *arguments]) == 0
    assert "the mean of steps 10, 20, 30" in capsys.readouterr().out


def test_nothing_to_average_is_refused(tmp_path):
    with pytest.raises(SlipwayError, match="does not have a checkpoint"):
        average_checkpoints(tmp_path / "train", tmp_path / "avg", 2)
    with pytest.raises(SlipwayError, match="--n=0"):
        average_checkpoints(tmp_path / "train", tmp_path / "avg", 0)
    with pytest.raises(SlipwayError, match="specify another"):
        average_checkpoints(tmp_path / "train", tmp_path / "train", 1)


def test_checkpoints_of_two_trainings_are_refused_and_nothing_is_written(directory):
    save(directory / "train", random_arrays(vocabulary=41), 40)
    with pytest.raises(SlipwayError, match="are not checkpoints of one training: array"):
        average_checkpoints(directory / "train", directory / "avg", 2)
    assert not (directory / "avg").exists()


def test_damaged_checkpoint_is_refused_and_nothing_is_written(directory):
    path = directory / "train/model.ckpt-20.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(SlipwayError, match="wrong checksum"):
        average_checkpoints(directory / "train", directory / "avg", 2)
    assert not (directory / "avg").exists()
