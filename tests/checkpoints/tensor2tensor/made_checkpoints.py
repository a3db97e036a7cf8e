"""Checkpoints of random weights in our own form, small, with loud numbers."""

import numpy as np

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.checkpoints.tensor2tensor.layout import stored_shapes, token_tables
from slipway.checkpoints.tensor2tensor.training_checkpoint import point_to, save_weights

SMALL = HParams(hidden_size=16, filter_size=24, num_hidden_layers=2, num_heads=2, symbol_modality_num_shards=3)
VOCABULARY = 40


def random_arrays(hparams=SMALL, vocabulary=VOCABULARY, target=None):
    source = np.random.default_rng(3)
    shapes = stored_shapes(hparams, token_tables(hparams, vocabulary, target))
    return {name: source.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def save(directory, arrays, step=7):
    save_weights(directory, step, arrays)
    point_to(directory, step)
    return directory
