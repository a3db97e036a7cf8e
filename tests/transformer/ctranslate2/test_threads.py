"""The choice of a number of threads."""

from __future__ import annotations

import pytest

from slipway.transformer.ctranslate2.threads import candidates, fastest, remember, remembered


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [(1, 1, [1]), (2, 1, [1, 2]), (16, 1, [1, 8, 16]), (16, 4, [1, 2, 4]), (2, 8, [1])],
)
def test_one_thread_and_the_cores_that_a_worker_may_have_are_tried(cores, workers, expected):
    assert candidates(cores, workers) == expected


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
        loaded.append(threads)
        return threads

    def run(model, batch):
        clock.now += seconds[model][batch > 1]

    assert fastest([1, 2], load, run, clock=clock) == (best, best)
    assert loaded == ([1, 2] if best == 2 else [1, 2, 1])


def test_a_choice_is_remembered_per_number_of_workers(tmp_path):
    assert remembered(tmp_path, 1) == 0
    remember(tmp_path, 1, 2)
    remember(tmp_path, 2, 1)
    assert (remembered(tmp_path, 1), remembered(tmp_path, 2), remembered(tmp_path, 3)) == (2, 1, 0)
    (tmp_path / "threads.json").write_text("[")
    assert remembered(tmp_path, 1) == 0
    remember(tmp_path, 1, 2)
    assert remembered(tmp_path, 1) == 2
