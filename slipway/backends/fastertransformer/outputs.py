"""Turn hypotheses into FasterTransformer's output tensors: [rows, beams, width], cut or filled to the width.

A finished row is padded with its end id up to the length of the request's longest row; all columns after that are 0.
Knows no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.transformer.generation import Hypothesis

Results = Sequence[Sequence[Hypothesis]]


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """The form of one answer: `width` columns for ids, `steps` columns for figures per generated token.

    `prompts` precede the generated tokens, for models whose answer begins with them.
    """

    beams: int
    width: int
    steps: int
    end_ids: Sequence[int]
    prompts: Sequence[np.ndarray] | None = None


def token_arrays(results: Results, layout: OutputLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids, int32 [rows, beams, width], and how many of them are not padding, int32 [rows, beams]."""
    rows, beams = len(results), layout.beams
    ids = np.zeros((rows, beams, layout.width), np.int32)
    lengths = np.zeros((rows, beams), np.int32)
    for row, hypotheses in enumerate(results):
        prompt = layout.prompts[row] if layout.prompts is not None else ()
        for beam, hypothesis in enumerate(hypotheses[:beams]):
            size = len(prompt) + len(hypothesis.ids)
            ids[row, beam, : len(prompt)] = prompt
            ids[row, beam, len(prompt) : size] = hypothesis.ids
            lengths[row, beam] = size
    longest = int(lengths.max(initial=0))
    for row in range(rows):
        for beam in range(beams):
            ids[row, beam, lengths[row, beam] : longest] = layout.end_ids[row]
    return ids, lengths


def log_probability_arrays(results: Results, layout: OutputLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities: sums, float32 [rows, beams], and those of each token, float32 [rows, beams, steps]."""
    rows, beams = len(results), layout.beams
    sums = np.zeros((rows, beams), np.float32)
    figures = np.zeros((rows, beams, layout.steps), np.float32)
    for row, hypotheses in enumerate(results):
        for beam, hypothesis in enumerate(hypotheses[:beams]):
            sums[row, beam] = hypothesis.log_probability
            figures[row, beam, : len(hypothesis.log_probabilities)] = hypothesis.log_probabilities
    return sums, figures


def padded(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return `arrays` stacked, each padded with zeros to `shape`, float32."""
    stacked = np.zeros((len(arrays), *shape), np.float32)
    for target, array in zip(stacked, arrays, strict=True):
        target[tuple(slice(size) for size in array.shape)] = array
    return stacked


def declared(signature: ModelSignature, arrays: dict[str, np.ndarray], *, batched: bool = True) -> list[Tensor]:
    """Return the `arrays` that the model declares, in the declared datatypes; without `batched` only row 0."""
    tensors = []
    for name, array in arrays.items():
        spec = signature.outputs.get(name)
        if spec is not None:
            dtype = BY_NAME[spec.datatype].numpy
            tensors.append(Tensor.from_array(name, (array if batched else array[0]).astype(dtype, copy=False)))
    return tensors
