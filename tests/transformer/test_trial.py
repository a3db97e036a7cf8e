"""The choice of the fastest way to compute."""

from __future__ import annotations

import errno
import os

import pytest

from slipway.transformer import trial
from slipway.transformer.ctranslate2.loading import thread_choices
from slipway.transformer.trial import FILE, fastest, remember, remembered


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [(1, 1, [1]), (2, 1, [1, 2]), (16, 1, [1, 8, 16]), (16, 4, [1, 2, 4]), (2, 8, [1])],
)
def test_one_thread_and_the_cores_that_a_worker_may_have_are_tried(cores, workers, expected):
    assert thread_choices(cores, workers) == expected


class Clock:
    """Time that only work makes pass."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: (1.0, 8.0), 2: (2.0, 3.0)}, 2),
        ({1: (1.0, 2.0), 2: (2.0, 1.5)}, 1),
        ({1: (1.0, 1.0), 2: (0.95, 0.95)}, 1),  # not worth a core
    ],
)
def test_the_fastest_over_small_and_large_batches_wins(seconds, best):
    clock, loaded = Clock(), []

    def load(threads):
        loaded.append(f"{threads}")
        return threads

    def run(model, batch):
        clock.now += seconds[model][batch > 1]

    def release(model):
        loaded.append(f"not {model}")

    assert fastest([1, 2], load, run, release, clock=clock) == (best, best)
    assert loaded == (["1", "not 1", "2"] if best == 2 else ["1", "not 1", "2", "not 2", "1"])


def test_a_way_that_fails_is_released_and_its_error_raised():
    released = []
    with pytest.raises(ZeroDivisionError):
        fastest(["a", "b"], str, lambda model, batch: batch // (model == "a"), released.append)
    assert released == ["a", "b"]


def test_a_way_may_try_its_own():
    inner = lambda _: fastest([3], int, lambda _model, _batch: None, lambda _: None)[0]  # noqa: E731
    assert fastest(["a"], inner, lambda _model, _batch: None, lambda _: None) == ("a", 3)


def test_an_answer_is_remembered_per_question(tmp_path):
    assert remembered(tmp_path, "threads") == ""
    remember(tmp_path, "threads", "2")
    remember(tmp_path, "engine", "torch")
    assert [remembered(tmp_path, question) for question in ("threads", "engine", "dtype")] == ["2", "torch", ""]
    for damaged in ("[", "[]", "3"):
        (tmp_path / FILE).write_text(damaged)
        assert remembered(tmp_path, "threads") == ""
        remember(tmp_path, "threads", "2")
        assert remembered(tmp_path, "threads") == "2"


def test_an_answer_that_cannot_be_kept_leaves_what_was_there(tmp_path, monkeypatch):
    remember(tmp_path, "threads", "2")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trial.json, "dump", full)
    remember(tmp_path, "engine", "torch")
    remember(tmp_path / "nowhere", "engine", "torch")
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (remembered(tmp_path, "threads"), remembered(tmp_path, "engine")) == ("2", "")
