"""The parameters of the network under tensor2tensor's names, with their shapes and first values.

Kernels are [in, out]. The token tables are whole here; tensor2tensor stores a table of V rows as
`symbol_modality_num_shards` arrays `weights_<i>`, of which the first V mod n have one row more (`split_tables`,
`join_tables`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
import torch
from torch import Tensor

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.errors import invalid

Shape = tuple[int, ...]

ROOT: Final = "transformer"
BODY: Final = f"{ROOT}/body"
TARGET_SPACE: Final = f"{BODY}/target_space_embedding/kernel"
_TARGET_SPACES: Final = 32


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of the token tables: all the same name if one table is shared."""

    inputs: str
    targets: str
    softmax: str

    @classmethod
    def of(cls, hparams: HParams, vocabulary: int) -> Tables:
        """Return the names for this vocabulary."""
        scope = f"{ROOT}/symbol_modality_{vocabulary}_{hparams.hidden_size}"
        if hparams.shared_embedding_and_softmax_weights:
            return cls(*[f"{scope}/shared/weights"] * 3)
        return cls(*(f"{scope}/{part}/weights" for part in ("input_emb", "target_emb", "softmax")))

    @property
    def names(self) -> tuple[str, ...]:
        """Each name once."""
        return tuple(dict.fromkeys((self.inputs, self.targets, self.softmax)))


def norm_name(prefix: str) -> str:
    """Return the prefix of a normalisation's arrays."""
    return f"{prefix}/layer_prepostprocess/layer_norm/layer_norm"


def expected_parameters(hparams: HParams, vocabulary: int) -> dict[str, Shape]:
    """Return every parameter's shape by name: a closed world."""
    hidden = hparams.hidden_size
    shapes: dict[str, Shape] = dict.fromkeys(Tables.of(hparams, vocabulary).names, (vocabulary, hidden))
    if hparams.use_target_space_embedding:
        shapes[TARGET_SPACE] = (_TARGET_SPACES, hidden)
    for stack, layers in (("encoder", hparams.encoder_layers), ("decoder", hparams.decoder_layers)):
        blocks = ["self_attention", *(["encdec_attention"] if stack == "decoder" else [])]
        for layer in range(layers):
            prefix = f"{BODY}/{stack}/layer_{layer}"
            for block in blocks:
                shapes |= _norm(f"{prefix}/{block}", hidden)
                for part in ("q", "k", "v", "output_transform"):
                    shapes[f"{prefix}/{block}/multihead_attention/{part}/kernel"] = (hidden, hidden)
            shapes |= _norm(f"{prefix}/ffn", hidden)
            for part, into, out in (("conv1", hidden, hparams.filter_size), ("conv2", hparams.filter_size, hidden)):
                shapes[f"{prefix}/ffn/{part}/kernel"] = (into, out)
                shapes[f"{prefix}/ffn/{part}/bias"] = (out,)
        if hparams.pre_norm:
            shapes |= _norm(f"{BODY}/{stack}", hidden)
    return shapes


def initial_parameters(hparams: HParams, vocabulary: int, seed: int) -> dict[str, Tensor]:
    """Return the first values, as tensor2tensor draws them: kernels uniform within
    sqrt(6 gain / (in + out)) ("uniform_unit_scaling"), tables normal with deviation hidden^-0.5, biases 0, scales 1."""
    generator = torch.Generator().manual_seed(seed)
    tables = Tables.of(hparams, vocabulary).names
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


def split_tables(
    arrays: Mapping[str, np.ndarray], hparams: HParams, vocabulary: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every array as tensor2tensor stores it: token tables in shards."""
    tables = Tables.of(hparams, vocabulary).names
    for name, value in arrays.items():
        if name in tables:
            shards = np.array_split(value, hparams.symbol_modality_num_shards)  # the first V mod n get one row more
            yield from ((f"{name}_{index}", shard) for index, shard in enumerate(shards))
        else:
            yield name, value


def join_tables(
    shapes: Mapping[str, Shape], read: Callable[[str], np.ndarray], hparams: HParams, vocabulary: int
) -> dict[str, np.ndarray]:
    """Return the parameters from stored arrays: `shapes` has the stored names, `read` returns one array.

    Raise INVALID_ARG naming every missing, unused and misshapen array.
    """
    expected = expected_parameters(hparams, vocabulary)
    tables = Tables.of(hparams, vocabulary).names
    stored: dict[str, list[str]] = {}
    for name in expected:
        shards = [f"{name}_{index}" for index in range(len(shapes)) if f"{name}_{index}" in shapes]
        stored[name] = shards if name in tables else [name]
    used = {each for names in stored.values() for each in names}
    problems = [f"missing: {name} {list(expected[name])}" for name, names in stored.items()
                if not names or any(each not in shapes for each in names)]  # fmt: skip
    problems += [f"unused: {name} {list(shapes[name])}" for name in sorted(shapes.keys() - used)]
    if problems:
        raise invalid("the weights do not fit the hyper-parameters:\n  " + "\n  ".join(problems))
    values = {}
    for name, names in stored.items():
        value = np.concatenate([read(each) for each in names]) if name in tables else read(name)
        if value.shape != expected[name]:
            problems.append(f"{name} has shape {list(value.shape)}, expected {list(expected[name])}")
        values[name] = value
    if problems:
        raise invalid("the weights do not fit the hyper-parameters:\n  " + "\n  ".join(problems))
    return values


def _norm(prefix: str, hidden: int) -> dict[str, Shape]:
    return {f"{norm_name(prefix)}_{part}": (hidden,) for part in ("scale", "bias")}
