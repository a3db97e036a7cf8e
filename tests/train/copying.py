"""A corpus that a tiny network learns quickly: the target is the input. And what tests need to train on it."""

from __future__ import annotations

import numpy as np
import torch

from slipway.checkpoints.tensor2tensor.hparams import named_hparams, override
from slipway.train.loader import Share
from slipway.train.options import TrainingOptions
from slipway.train.processes import Processes
from slipway.train.training import Training
from slipway.train.training_data import TrainingData

VOCABULARY = 20
SET = (
    "hidden_size=32,filter_size=64,num_hidden_layers=1,num_heads=2,batch_size=256,max_length=16,symbol_modality_num_shards=2,"
    "learning_rate_schedule=constant*linear_warmup,learning_rate_constant=0.01,learning_rate_warmup_steps=10"
)


def pairs_of(count, seed):
    source = np.random.default_rng(seed)
    rows = [np.append(source.integers(2, VOCABULARY, source.integers(1, 8)), 1).astype(np.int32) for _ in range(count)]
    return [(row, row) for row in rows]


def corpus(count=400):
    train, dev = pairs_of(count, 1), pairs_of(40, 2)
    return TrainingData(
        "copying", VOCABULARY, lambda: iter(train), lambda: iter(dev), lambda ids: " ".join(str(each) for each in ids)
    )


class Heard:
    """A reporter that keeps everything."""

    def __init__(self):
        self.reports, self.figures, self.steps, self.notes = [], {}, [], []

    def trained(self, report):
        self.reports.append(report)

    def evaluated(self, step, figures):
        self.figures[step] = figures

    def saved(self, step):
        self.steps.append(step)

    def note(self, text):
        self.notes.append(text)

    @property
    def losses(self):
        return [report.loss for report in self.reports]


def training(directory, text="", *, heard=None, data=None, **options):
    """Return a training in `directory` that is ready to run."""
    torch.set_num_threads(1)
    hparams = override(override(named_hparams("transformer_tiny"), SET), text)
    options = {"steps": 20, "save_every": 10, "schedule": "train", "gpus": 0} | options
    processes = Processes(Share(), torch.device("cpu"))
    return Training(
        TrainingOptions(directory, **options), hparams, data or corpus(), processes, Heard() if heard is None else heard
    )


def train(directory, text="", *, stopped=lambda: False, **options):
    """Train, and return what was reported."""
    heard = options.pop("heard", None) or Heard()
    training(directory, text, heard=heard, **options).run(stopped, {})
    return heard
