"""Weights packed number by number, as the formats' documents describe it: slow, and unlike the readers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which number of eight is in which four bits, from the lowest
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


def words(numbers: Sequence[int], bits: int, order: Sequence[int] | None = None) -> list[int]:
    """Return numbers packed into int32 words, the first in the lowest bits, or number `order[i]` in place i."""
    per_word = 32 // bits
    packed = []
    for first in range(0, len(numbers), per_word):
        word = 0
        for place in range(per_word):
            source = place if order is None else order[place]
            word |= int(numbers[first + source]) << (bits * place)
        packed.append(word - (1 << 32) if word >= 1 << 31 else word)
    return packed


class Rounded:
    """A random weight [out, in] of whole numbers with a scale and a zero per group; `weight` is what it stands for."""

    def __init__(self, out: int, inputs: int, group: int, bits: int, seed: int, *, mixed: bool = False) -> None:
        random = np.random.default_rng(seed)
        groups = inputs // group
        self.bits = bits
        self.numbers = random.integers(0, 1 << bits, (inputs, out))
        self.zeros = random.integers(0, 1 << bits, (groups, out))
        self.scales = random.uniform(0.005, 0.02, (groups, out)).astype(np.float16)
        self.group = np.arange(inputs) // group
        if mixed:
            random.shuffle(self.group)
        weight = np.zeros((out, inputs))
        for place in range(inputs):
            own = self.group[place]
            for row in range(out):
                steps = self.numbers[place, row] - self.zeros[own, row]
                weight[row, place] = steps * float(self.scales[own, row])
        self.weight = weight.astype(np.float16)

    def gptq(self, *, less_one: bool) -> dict[str, np.ndarray]:
        """Return the arrays of GPTQ; `less_one` stores zeros less 1, as the first form of its files does."""
        zeros = (self.zeros - 1) % (1 << self.bits) if less_one else self.zeros
        columns = [words(column, self.bits) for column in self.numbers.T]
        return {
            "qweight": np.array(columns, np.int32).T.copy(),
            "qzeros": np.array([words(row, self.bits) for row in zeros], np.int32),
            "scales": self.scales,
            "g_idx": self.group.astype(np.int32),
        }

    def awq(self) -> dict[str, np.ndarray]:
        """Return the arrays of AWQ's form "gemm"."""
        return {
            "qweight": np.array([words(row, 4, AWQ_ORDER) for row in self.numbers], np.int32),
            "qzeros": np.array([words(row, 4, AWQ_ORDER) for row in self.zeros], np.int32),
            "scales": self.scales,
        }


def four_bits(
    shape: tuple[int, int], *, block: int, nested: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the arrays of bitsandbytes' nf4 and the weight; `nested` scales share an outer one, 0: not at all."""
    random = np.random.default_rng(seed)
    count = shape[0] * shape[1]
    indices = random.integers(0, 16, count)
    blocks = -(-count // block)
    state = {"quant_type": "nf4", "blocksize": block, "dtype": "float32", "shape": list(shape)}
    arrays: dict[str, np.ndarray] = {
        "weight": np.array(
            [[indices[at] << 4 | (indices[at + 1] if at + 1 < count else 0)] for at in range(0, count, 2)], np.uint8
        ),
        "weight.quant_map": np.array(NF4, np.float32),
    }
    if nested:
        inner = random.integers(0, 256, blocks)
        table = np.linspace(-1, 1, 256, dtype=np.float32)
        outer = random.uniform(0.01, 0.02, -(-blocks // nested)).astype(np.float32)
        scales = [float(table[inner[at]]) * float(outer[at // nested]) + 0.03 for at in range(blocks)]
        state |= {"nested_blocksize": nested, "nested_dtype": "float32", "nested_offset": 0.03}
        arrays |= {
            "weight.absmax": inner.astype(np.uint8),
            "weight.nested_absmax": outer,
            "weight.nested_quant_map": table,
        }
    else:
        scales = random.uniform(0.01, 0.05, blocks).astype(np.float32).tolist()
        arrays["weight.absmax"] = np.array(scales, np.float32)
    arrays["weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    numbers = [NF4[index] * scales[at // block] for at, index in enumerate(indices)]
    return arrays, np.array(numbers, np.float32).reshape(shape)
