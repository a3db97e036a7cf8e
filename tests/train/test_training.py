"""A training: the loss falls, checkpoints are whole, an interruption changes nothing, a failure loses nothing."""

from __future__ import annotations

import errno
import math
import os
import resource
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from slipway.checkpoints.tensor2tensor.hparams import from_json
from slipway.checkpoints.tensor2tensor.reader import open_stored, read_tensor2tensor
from slipway.checkpoints.tensor2tensor.training_checkpoint import newest_step
from slipway.errors import Code, SlipwayError
from slipway.train.options import TrainingOptions
from slipway.train.training_data import TrainingData
from tests.train.copying import VOCABULARY, Heard, corpus, train, training


def weights_of(directory):
    return {name: array.read().copy() for name, array in open_stored(directory).arrays.items()}


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def stop_after(steps):
    calls = iter(range(steps))
    return lambda: next(calls, None) is None


@pytest.mark.capability("2.9")
def test_copying_is_learned_and_the_checkpoint_translates(tmp_path):
    heard = train(tmp_path, steps=250, save_every=250, schedule="train_eval_and_decode")
    assert heard.losses[0] > 2.0
    assert np.mean(heard.losses[-10:]) < heard.losses[0] / 3
    figures = heard.figures[250]
    assert figures["accuracy"] > 0.9
    assert 0 < figures["loss"] < 1.0
    assert figures["approx_bleu_score"] > 0.7
    assert figures["sacrebleu"] > 50
    assert figures["exact_match"] > 0.5
    hparams = from_json((tmp_path / "hparams.json").read_text())
    checkpoint = read_tensor2tensor(tmp_path, hparams, VOCABULARY)
    assert checkpoint.step == 250
    assert len(weights_of(tmp_path)) == len(open_stored(tmp_path).arrays)


@pytest.mark.capability("2.9")
def test_same_seed_gives_the_same_losses_and_another_seed_others(tmp_path):
    first, second, other = (
        train(tmp_path / str(number), seed=seed, steps=8).losses for number, seed in enumerate((1, 1, 2))
    )
    assert first == second
    assert first != other


@pytest.mark.capability("2.9")
@pytest.mark.parametrize("optimizer", ["adam", "adafactor", "multistep_adam"])
def test_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(optimizer, tmp_path):
    text = f"optimizer={optimizer},optimizer_multistep_accumulate_steps=2"
    whole = train(tmp_path / "whole", text, steps=13)
    begun = train(tmp_path / "cut", text, steps=13, stopped=stop_after(5))
    assert newest_step(tmp_path / "cut") == len(begun.losses) == 6
    rest = train(tmp_path / "cut", text, steps=13)
    assert begun.losses + rest.losses == whole.losses
    assert_equal_weights(weights_of(tmp_path / "cut"), weights_of(tmp_path / "whole"))
    assert "continuing from step 6" in rest.notes[0]


def test_training_that_is_done_saves_nothing_new(tmp_path):
    train(tmp_path, steps=3)
    heard = train(tmp_path, steps=3)
    assert (heard.losses, heard.steps) == ([], [])


def test_oldest_checkpoints_are_removed(tmp_path):
    heard = train(tmp_path, steps=12, save_every=3, keep=2)
    assert heard.steps == [3, 6, 9, 12]
    assert sorted(path.name for path in tmp_path.glob("model.ckpt-*")) == [
        f"model.ckpt-{step}{suffix}" for step in (12, 9) for suffix in (".safetensors", ".state.pt")
    ]


@pytest.mark.capability("2.9")
def test_records_are_written_with_the_hyper_parameters(tmp_path):
    training(tmp_path, "label_smoothing=0.2", steps=1).run(lambda: False, {"flags.txt": "--model=transformer\n"})
    assert (tmp_path / "flags.txt").read_text() == "--model=transformer\n"
    assert from_json((tmp_path / "hparams.json").read_text()).label_smoothing == 0.2


def test_loss_that_is_not_a_number_stops_with_the_step_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    train(tmp_path, steps=4, save_every=2)
    before = weights_of(tmp_path)
    with pytest.raises(
        SlipwayError, match=r"step 6: training stopped, the last good checkpoint is that of step 4"
    ) as caught:
        train(tmp_path, "learning_rate_constant=1e38", steps=20)
    assert caught.value.code is Code.INTERNAL
    assert newest_step(tmp_path) == 4
    assert_equal_weights(weights_of(tmp_path), before)


def test_broken_weights_are_not_saved(tmp_path):
    with pytest.raises(SlipwayError, match=r"arrays hold NaN or infinity .*no checkpoint was saved"):
        train(tmp_path, "learning_rate_constant=1e39", steps=20, save_every=1)
    assert newest_step(tmp_path) is None


@pytest.mark.parametrize("file", [".safetensors", ".state.pt", "checkpoint"])
def test_full_disk_while_saving_keeps_the_last_good_checkpoint(file, tmp_path, monkeypatch):
    train(tmp_path, steps=2)
    before = weights_of(tmp_path)
    replace = Path.replace

    def refuse(self, target):
        if (str(target).endswith(file) and "model.ckpt-3" in str(self)) or target.name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(SlipwayError, match=r"step 3 is not saved: .*No space.* the checkpoint of step 2 is intact"):
        train(tmp_path, steps=3)
    monkeypatch.undo()
    assert newest_step(tmp_path) == 2
    assert_equal_weights(weights_of(tmp_path), before)
    assert not list(tmp_path.glob("*incomplete*")) + list(tmp_path.glob("model.ckpt-3*"))
    assert train(tmp_path, steps=3).steps == [3]


@pytest.mark.parametrize("file", [".safetensors", ".state.pt"])
def test_file_that_cannot_be_written_to_its_end_keeps_the_last_good_checkpoint(file, tmp_path):
    train(tmp_path, steps=2)
    before = weights_of(tmp_path)
    limit = (tmp_path / f"model.ckpt-2{file}").stat().st_size - 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Limited(Heard):
        def trained(self, _report):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    try:
        with pytest.raises(SlipwayError, match=r"step 3 is not saved: .* the checkpoint of step 2 is intact") as caught:
            train(tmp_path, steps=3, heard=Limited())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code is Code.UNAVAILABLE
    assert newest_step(tmp_path) == 2
    assert_equal_weights(weights_of(tmp_path), before)
    assert not list(tmp_path.glob("*incomplete*")) + list(tmp_path.glob("model.ckpt-3*"))


def test_damaged_state_is_refused_and_a_missing_one_begins_with_an_empty_optimiser(tmp_path):
    train(tmp_path, steps=2)
    state = tmp_path / "model.ckpt-2.state.pt"
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlipwayError, match=r"state\.pt' is damaged"):
        train(tmp_path, steps=3)
    state.unlink()
    assert len(train(tmp_path, steps=3).losses) == 1


def test_a_changed_number_in_the_state_is_noticed(tmp_path):
    train(tmp_path, steps=2)
    state = tmp_path / "model.ckpt-2.state.pt"
    with ZipFile(state) as archive:
        parts = archive.infolist()
    largest = max(range(len(parts) - 1), key=lambda index: parts[index].file_size)
    place = parts[largest + 1].header_offset - parts[largest].file_size // 2
    damaged = bytearray(state.read_bytes())
    damaged[place] ^= 0x40
    state.write_bytes(damaged)
    part = parts[largest].filename
    with pytest.raises(SlipwayError, match=rf"state\.pt' is damaged: its part '{part}' has a wrong checksum"):
        train(tmp_path, steps=3)
    assert newest_step(tmp_path) == 2


def test_state_of_another_seed_or_optimiser_is_refused(tmp_path):
    train(tmp_path, steps=2)
    with pytest.raises(SlipwayError, match="--random_seed=1234, not 5"):
        train(tmp_path, steps=3, seed=5)
    with pytest.raises(SlipwayError, match="belongs to the optimiser Adam, not Adafactor"):
        train(tmp_path, "optimizer=adafactor", steps=3)
    with pytest.raises(SlipwayError, match="hyper-parameters describe"):
        train(tmp_path, "hidden_size=16", steps=3)


def test_warm_start_begins_with_other_weights_and_no_steps(tmp_path):
    train(tmp_path / "first", steps=60)
    cold = train(tmp_path / "cold", steps=1)
    heard = train(tmp_path / "second", steps=1, warm_start=tmp_path / "first")
    assert heard.losses[0] < cold.losses[0] - 0.5
    assert heard.steps == [1]
    assert "starting with the weights" in heard.notes[0]


def test_what_changes_in_a_training_that_continues_is_named(tmp_path):
    train(tmp_path, steps=1)
    assert train(tmp_path, steps=2).notes == [f"continuing from step 1 in '{tmp_path}'"]
    heard = train(tmp_path, "num_heads=4,batch_size=128", steps=3, warm_start=tmp_path)
    assert heard.notes[1:] == [
        "--warm_start_from is ignored: only a new training starts with other weights",
        "hyper-parameters that differ from those so far: num_heads 4 instead of 2, batch_size 128 instead of 256",
    ]


def test_gradients_are_clipped_only_when_asked(tmp_path, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *given: norms.append(given[1]) or clip(*given))
    plain = train(tmp_path / "plain", steps=3).losses
    assert norms == []
    clipped = train(tmp_path / "clipped", "clip_grad_norm=0.01,optimizer_adam_epsilon=0.1", steps=3).losses
    assert norms == [0.01] * 3
    assert plain != clipped


def test_activations_in_bfloat16_train_as_those_in_float32(tmp_path):
    text = "layer_prepostprocess_dropout=0,attention_dropout=0,relu_dropout=0"
    exact = train(tmp_path / "float32", text, steps=30).losses
    rounded = train(tmp_path / "bfloat16", f"{text},activation_dtype=bfloat16", steps=30).losses
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.1)
    assert math.isfinite(train(tmp_path / "dropout", "activation_dtype=bfloat16", steps=2).losses[-1])


def test_long_pairs_are_left_out_with_a_note(tmp_path):
    heard = train(tmp_path, "max_length=4", steps=1)
    assert "more than 4 tokens (max_length)" in heard.notes[-1]


def test_evaluation_alone_reads_the_newest_checkpoint(tmp_path):
    with pytest.raises(SlipwayError, match="does not have a checkpoint"):
        train(tmp_path, schedule="evaluate")
    train(tmp_path, steps=2)
    heard = train(tmp_path, schedule="evaluate", eval_batches=2)
    assert heard.losses == []
    assert {"loss", "sacrebleu"} <= heard.figures[2].keys()
    assert all(math.isfinite(value) for value in heard.figures[2].values())
    data = corpus()
    with pytest.raises(SlipwayError, match="does not have a dev split"):
        train(tmp_path, schedule="evaluate", data=TrainingData("copying", VOCABULARY, data.train, None))


def test_a_dev_split_without_pairs_has_no_figures(tmp_path):
    whole = corpus()
    data = TrainingData("copying", VOCABULARY, whole.train, lambda: iter(()), whole.decode)
    heard = train(tmp_path, steps=1, schedule="continuous_train_and_eval", data=data)
    assert (heard.steps, heard.figures) == ([1], {})


def test_evaluation_after_each_checkpoint_does_not_change_the_training(tmp_path):
    alone = train(tmp_path / "alone", steps=6).losses
    heard = train(tmp_path / "both", steps=6, save_every=2, schedule="continuous_train_and_eval")
    assert sorted(heard.figures) == [2, 4, 6]
    assert ["sacrebleu" in heard.figures[step] for step in (2, 4, 6)] == [False, False, True]
    assert heard.losses == alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "train_and_evalute"}, "did you mean 'train_and_evaluate'"),
        ({"schedule": "x"}, "the schedules are continuous_train_and_eval"),
        ({"steps": 0, "keep": 0}, "--train_steps=0: expected at least 1; --keep_checkpoint_max=0"),
        ({"seed": -1}, "--random_seed=-1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(SlipwayError, match=message):
        TrainingOptions(Path("x"), **options)


def test_hyper_parameters_that_cannot_be_honoured_are_refused(tmp_path):
    with pytest.raises(SlipwayError, match=r"weight_noise is 0.5"):
        training(tmp_path, "weight_noise=0.5", heard=Heard())
