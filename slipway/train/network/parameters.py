"""The parameters of the network under tensor2tensor's names: first values, and to and from what a checkpoint stores.

Kernels are [in, out]. A token table is one parameter here, `<scope>/weights`, and several arrays in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.checkpoints.tensor2tensor.layout import TokenTable, TokenTables, stored_shapes, token_tables
from slipway.checkpoints.tensor2tensor.reader import open_stored, read_tensor2tensor
from slipway.transformer.weights import Shape


def table_name(table: TokenTable) -> str:
    """Return the name of a whole token table."""
    return f"{table.scope}/weights"


def expected_parameters(hparams: HParams, vocabulary: int) -> dict[str, Shape]:
    """Return every parameter's shape by name."""
    tables = token_tables(hparams, vocabulary)
    pieces = {name for table in _each(tables) for name in table.shapes(hparams.hidden_size)}
    shapes: dict[str, Shape] = {table_name(table): (table.rows, hparams.hidden_size) for table in _each(tables)}
    return shapes | {name: shape for name, shape in stored_shapes(hparams, tables).items() if name not in pieces}


def initial_parameters(hparams: HParams, vocabulary: int, seed: int) -> dict[str, Tensor]:
    """Return the first values, as tensor2tensor draws them: kernels uniform within sqrt(6 gain / (in + out))
    ("uniform_unit_scaling"), tables normal with deviation hidden^-0.5, biases 0, scales 1."""
    generator = torch.Generator().manual_seed(seed)
    tables = {table_name(table) for table in _each(token_tables(hparams, vocabulary))}
    values: dict[str, Tensor] = {}
    for name, shape in expected_parameters(hparams, vocabulary).items():
        if name in tables:
            values[name] = torch.randn(shape, generator=generator) * hparams.hidden_size**-0.5
        elif len(shape) == 1:
            values[name] = torch.ones(shape) if name.endswith("scale") else torch.zeros(shape)
        else:
            limit = sqrt(6.0 * hparams.initializer_gain / sum(shape))
            values[name] = (torch.rand(shape, generator=generator) * 2 - 1) * limit
    return values


def stored_parameters(checkpoint: Path, hparams: HParams, vocabulary: int) -> dict[str, Tensor]:
    """Return the parameters in a checkpoint, TensorFlow's or ours; raise as `read_tensor2tensor` does."""
    tables = read_tensor2tensor(checkpoint, hparams, vocabulary).tables  # it names everything that does not fit
    arrays = open_stored(checkpoint).arrays
    values: dict[str, np.ndarray] = {}
    for table in _each(tables):
        values[table_name(table)] = np.concatenate([arrays[name].read() for name in table.shapes(hparams.hidden_size)])
    shapes = expected_parameters(hparams, vocabulary)
    values |= {name: arrays[name].read().reshape(shape) for name, shape in shapes.items() if name not in values}
    return {name: torch.from_numpy(values[name].astype(np.float32)) for name in shapes}


def to_stored(values: Mapping[str, np.ndarray], hparams: HParams, vocabulary: int) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint for the parameters: views, with token tables cut into pieces."""
    arrays = dict(values)
    for table in _each(token_tables(hparams, vocabulary)):
        whole, start = arrays.pop(table_name(table)), 0
        for name, (rows, _) in table.shapes(hparams.hidden_size).items():
            arrays[name] = whole[start : start + rows]
            start += rows
    return arrays


def _each(tables: TokenTables) -> tuple[TokenTable, ...]:
    """Return each token table once."""
    return tuple(dict.fromkeys((tables.source, tables.target, tables.head)))
