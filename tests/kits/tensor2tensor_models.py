"""Tiny models of tensor2tensor with random weights, as training leaves them, and their problem's data directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slipway.checkpoints.tensor2tensor.hparams import HParams, to_json
from slipway.checkpoints.tensor2tensor.layout import stored_shapes, token_tables
from slipway.checkpoints.tensor2tensor.subwords import RESERVED, SubwordTextEncoder
from slipway.checkpoints.tensor2tensor.training_checkpoint import point_to, save_weights

PROBLEM = "translate_ende_wmt8k"
VOCABULARY_NAME = "vocab.translate_ende_wmt8k.8192.subwords"
HPARAMS = HParams(hidden_size=16, filter_size=24, num_hidden_layers=2, num_heads=2, symbol_modality_num_shards=3)
WORDS = ("hello_", "world_", "good", "bye_", "again_", "and_", "hallo_", "welt_")
LETTERS = "abcdefghijklmnopqrstuvwxyzäöüß ABCDEFGHIJKLMNOPQRSTUVWXYZ.,-'!?\\_;0123456789"


def vocabulary() -> SubwordTextEncoder:
    return SubwordTextEncoder([*(f"{name}_" for name in RESERVED), *WORDS, *dict.fromkeys(LETTERS)])


def write_trained(directory: Path, *, seed: int = 0, step: int = 7, spread: float = 0.4, end: float = 1.0) -> Path:
    """Write an output directory; a higher `end` makes translations shorter."""
    directory.mkdir(parents=True, exist_ok=True)
    tables = token_tables(HPARAMS, vocabulary().vocabulary_size)
    random = np.random.default_rng(seed)
    arrays = {
        name: random.normal(0, spread, shape).astype(np.float32)
        for name, shape in stored_shapes(HPARAMS, tables).items()
    }
    arrays[f"{tables.head.scope}/weights_0"][1] *= end
    save_weights(directory, step, arrays)
    (directory / "hparams.json").write_text(to_json(HPARAMS))
    point_to(directory, step)
    return directory


def write_data(directory: Path) -> Path:
    """Write a data directory, of which only the vocabulary is needed after training."""
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary().save(directory / VOCABULARY_NAME)
    return directory
