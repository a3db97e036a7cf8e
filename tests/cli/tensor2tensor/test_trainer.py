"""`t2t-trainer`: the original flags, the files that it leaves, signals, several processes, and mistakes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slipway.checkpoints.tensor2tensor.example import encode_example
from slipway.checkpoints.tensor2tensor.hparams import from_json
from slipway.checkpoints.tensor2tensor.reader import open_stored
from slipway.checkpoints.tensor2tensor.records import RecordWriter, write_records
from slipway.checkpoints.tensor2tensor.training_checkpoint import newest_step
from slipway.cli.main import main
from slipway.train import datagen
from tests.cli.tensor2tensor.copying_problem import HPARAMS, trainer_flags, write_problem

LIMIT = 120


@pytest.fixture
def directory(tmp_path):
    write_problem(tmp_path / "problem")
    return tmp_path


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}


def weights_of(path):
    return {name: array.read().copy() for name, array in open_stored(path).arrays.items()}


@pytest.mark.capability("2.9")
def test_trainer_generates_data_trains_evaluates_and_records(directory, capsys):
    torch.set_num_threads(1)
    assert main(["t2t-trainer", *trainer_flags(directory)]) == 0
    output = directory / "train"
    assert newest_step(output) == 6
    names = {path.name for path in output.iterdir()}
    assert {"checkpoint", "hparams.json", "flags.txt", "flags_t2t.txt", "model.ckpt-3.safetensors", "eval"} <= names
    assert from_json((output / "hparams.json").read_text()).hidden_size == 32
    assert "--problem=translate_counting\n" in (output / "flags.txt").read_text()
    error = capsys.readouterr().err
    assert re.search(r"step 6 of 6 \(100%\), loss \d\.\d+, [\d,]+ tokens/s", error)
    assert re.search(r"step 6 on the dev split: loss .*approx_bleu_score", error)


def test_data_that_is_made_first_is_shown_while_it_grows(directory, capsys, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr("slipway.cli.tensor2tensor.datagen._REPORT_S", 0.0)
    assert main(["t2t-trainer", *trainer_flags(directory, train_steps=1, schedule="train")]) == 0
    assert "train shards shuffled: 1 of 2\n" in capsys.readouterr().err


@pytest.mark.capability("2.9")
def test_event_files_hold_the_curves(directory):
    torch.set_num_threads(1)
    main(["t2t-trainer", *trainer_flags(directory)])
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    scalars = {}
    for part in (".", "eval"):
        events = accumulator.EventAccumulator(str(directory / "train" / part)).Reload()
        scalars[part] = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert {"loss", "learning_rate", "tokens/sec"} <= scalars["."].keys()
    assert [step for step, _ in scalars["."]["loss"]] == [1, 6]
    assert [value for _, value in scalars["."]["learning_rate"]] == pytest.approx([0.001, 0.006])
    assert [step for step, _ in scalars["eval"]["metrics-translate_counting/targets/approx_bleu_score"]] == [3, 6]


@pytest.mark.capability("2.2")
def test_registry_lists_models_sets_and_problems(directory, capsys):
    assert main(["t2t-trainer", "--registry_help", f"--t2t_usr_dir={directory / 'problem'}"]) == 0
    output = capsys.readouterr().out
    for name in ("transformer", "transformer_base", "transformer_big_tpu", "translate_ende_wmt32k_rev"):
        assert f"\n  {name}\n" in output
    assert "translate_counting" in output


@pytest.mark.capability("2.3")
def test_set_equal_to_true_is_tolerated(directory, caplog):
    torch.set_num_threads(1)
    arguments = trainer_flags(directory, hparams_set="transformer_tiny_tpu=True", train_steps=1)
    assert main(["t2t-trainer", *arguments]) == 0
    assert "the name of the set is 'transformer_tiny_tpu'" in caplog.text
    assert from_json((directory / "train/hparams.json").read_text()).optimizer == "adafactor"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_exits_0_and_the_rest_equals_an_uninterrupted_training(number, directory):
    command = [sys.executable, "-m", "slipway", "t2t-trainer"]
    arguments = trainer_flags(directory, train_steps=100_000, schedule="train", local_eval_frequency=5)
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True, env=environment())
    for line in process.stderr:
        if "saved" in line:
            break
    process.send_signal(number)
    error = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 0, error
    assert "the same command continues" in error
    stopped = newest_step(directory / "train")
    assert stopped >= 5
    torch.set_num_threads(1)
    for output in ("train", "whole"):
        more = trainer_flags(directory, train_steps=stopped + 4, schedule="train", output_dir=directory / output)
        assert main(["t2t-trainer", *more]) == 0
    resumed, whole = weights_of(directory / "train"), weights_of(directory / "whole")
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


@pytest.fixture
def own_handlers():
    """Give the test the signal handlers of a new process, and the process its own ones back."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_handlers")
@pytest.mark.parametrize("command", ["t2t-trainer", "t2t-datagen"])
def test_sigterm_while_data_is_made_ends_at_once_and_leaves_no_part_of_it(command, directory, monkeypatch):
    written = []

    class Terminating(RecordWriter):
        def write(self, payload):
            super().write(payload)
            written.append(self.path)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(datagen, "RecordWriter", Terminating)
    names = () if command == "t2t-trainer" else ("problem", "t2t_usr_dir", "data_dir", "tmp_dir")
    flags = [flag for flag in trainer_flags(directory) if not names or flag.split("=")[0].strip("-") in names]
    assert main([command, *flags]) == 128 + signal.SIGTERM
    assert len(written) == 1
    assert not list((directory / "data").glob("*train*"))


def test_two_processes_train_as_one_with_both_batches(directory):
    plain = f"{HPARAMS},layer_prepostprocess_dropout=0,attention_dropout=0,relu_dropout=0"
    one = trainer_flags(
        directory, output_dir=directory / "one", hparams=plain.replace("batch_size=512", "batch_size=1024")
    )
    torch.set_num_threads(1)
    assert main(["t2t-trainer", *one]) == 0
    two = trainer_flags(directory, output_dir=directory / "two", hparams=plain)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "slipway"]
    done = subprocess.run(
        [*command, "t2t-trainer", *two], env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert newest_step(directory / "two") == 6
    first, second = weights_of(directory / "one"), weights_of(directory / "two")
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert done.stderr.count("step 6 on the dev split") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"problem": "translate_ende_wmt23k"}, "did you mean 'translate_ende_wmt32k'"),
        ({"hparams_set": "transformer_bse"}, "did you mean 'transformer_base'"),
        ({"hparams": "hidden_sise=4"}, "did you mean 'hidden_size'"),
        ({"model": "transfomer"}, "did you mean 'transformer'"),
        ({"worker_gpu": 4}, "torchrun --nproc_per_node=4"),
        ({"schedule": "trian"}, "did you mean 'train'"),
        ({"hparams": "num_heads=3"}, "hidden_size is 128"),
        ({"generate_data": False}, "t2t-datagen or --generate_data makes it"),
    ],
)
def test_mistakes_are_explained(flags, message, directory, capsys):
    assert main(["t2t-trainer", *trainer_flags(directory, **flags)]) == 1
    assert message in capsys.readouterr().err


def test_an_output_directory_that_cannot_be_made_is_named(directory, capsys):
    (directory / "file").touch()
    assert main(["t2t-trainer", *trainer_flags(directory, output_dir=directory / "file/train")]) == 1
    assert f"directory '{directory / 'file/train'}' cannot be created: Not a directory" in capsys.readouterr().err


def test_all_missing_flags_are_named(capsys):
    assert main(["t2t-trainer"]) == 1
    assert "--problem is missing; --hparams_set is missing; --data_dir is missing" in capsys.readouterr().err


def test_vocabulary_that_does_not_belong_to_the_shards_is_refused(directory, capsys):
    torch.set_num_threads(1)
    assert main(["t2t-trainer", *trainer_flags(directory, train_steps=1)]) == 0
    shard = directory / "data/translate_counting-train-00001-of-00002"
    write_records(shard, [encode_example({"inputs": [5, 1], "targets": [9999, 1]})])
    assert main(["t2t-trainer", *trainer_flags(directory, output_dir=directory / "other")]) == 1
    assert "has the id 9999, but 'vocab.translate_counting.100.subwords' has" in capsys.readouterr().err


def test_damaged_shard_is_refused_with_its_name(directory, capsys):
    torch.set_num_threads(1)
    assert main(["t2t-trainer", *trainer_flags(directory, train_steps=1)]) == 0
    shard = directory / "data/translate_counting-train-00001-of-00002"
    shard.write_bytes(shard.read_bytes()[:-3])
    assert main(["t2t-trainer", *trainer_flags(directory, output_dir=directory / "other")]) == 1
    assert shard.name in capsys.readouterr().err
