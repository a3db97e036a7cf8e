"""GPTQ: numbers of 2, 4 or 8 bits with a scale and a zero per group of inputs, as GPTQModel and AutoGPTQ write it.

NAME.qweight int32 [in * bits / 32, out], NAME.qzeros int32 [groups, out * bits / 32],
NAME.scales float16 [groups, out], NAME.g_idx int32 [in] (the group of each input)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from slipway.checkpoints.packed.bits import WORD, unpacked
from slipway.checkpoints.packed.setting_values import PackedSettings
from slipway.errors import invalid
from slipway.transformer.weights import Array


@dataclass(frozen=True, slots=True)
class Gptq:
    """The settings of a GPTQ checkpoint. `zeros_minus_one`: the first form of its files stores zeros less 1."""

    bits: int
    group_size: int  # inputs per group; -1: one group
    zeros_minus_one: bool

    name: ClassVar[str] = "GPTQ"
    first: ClassVar[str] = "qweight"
    others: ClassVar[tuple[str, ...]] = ("qzeros", "scales")
    optional: ClassVar[tuple[str, ...]] = ("g_idx",)

    @classmethod
    def of(cls, settings: PackedSettings) -> Gptq:
        """Return the settings in a `quantization_config`; raise `SlipwayError` for those that are not supported."""
        form = settings.one_of("checkpoint_format", ("gptq", "gptq_v2"), "gptq")
        return cls(settings.number("bits", (2, 4, 8)), settings.group_size(), form == "gptq")

    def weight(self, name: str, arrays: Mapping[str, Array]) -> Array:
        """Return the weight [out, in] in float16 that `arrays`, by part, stand for."""
        words, scales = arrays["qweight"], arrays["scales"]
        groups, out = dimensions(scales, name)
        rows, columns = dimensions(words, name)
        inputs = rows * WORD // self.bits
        expected = {"qweight": (rows, out), "qzeros": (groups, out * self.bits // WORD), "g_idx": (inputs,)}
        check_shapes(name, arrays, expected)
        size = inputs if self.group_size < 1 else self.group_size
        if groups != -(-inputs // size) or columns != out:
            raise invalid(f"{name}: {groups} groups of {size} for {inputs} inputs")
        return Array((out, inputs), self._reader(arrays, size))

    def _reader(self, arrays: Mapping[str, Array], size: int) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            numbers = unpacked(arrays["qweight"].read(), self.bits, 0)
            zeros = unpacked(arrays["qzeros"].read(), self.bits, 1).astype(np.int16) + self.zeros_minus_one
            zeros &= (1 << self.bits) - 1 if self.zeros_minus_one else -1
            group = arrays["g_idx"].read() if "g_idx" in arrays else np.arange(len(numbers)) // size
            scales = arrays["scales"].read()
            if not 0 <= int(group.min()) <= int(group.max()) < len(scales):
                raise invalid(f"g_idx names groups from {group.min()} to {group.max()}, but there are {len(scales)}")
            weight: np.ndarray = scaled(numbers, zeros[group], scales[group]).T
            return weight

        return read


def scaled(numbers: np.ndarray, zeros: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return (numbers - zeros) * scales, rounded to float16 once."""
    weight: np.ndarray = ((numbers.astype(np.float32) - zeros) * scales.astype(np.float32)).astype(np.float16)
    return weight


def check_shapes(name: str, arrays: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise INVALID_ARG naming every part of a weight with another shape than `expected`."""
    wrong = [
        f"{name}.{part} has shape {list(arrays[part].shape)}, expected {list(shape)}"
        for part, shape in expected.items()
        if part in arrays and arrays[part].shape != shape
    ]
    if wrong:
        raise invalid("; ".join(wrong))


def dimensions(array: Array, name: str) -> tuple[int, int]:
    """Return the two dimensions of an array of weight `name`; raise INVALID_ARG if it has more or fewer."""
    if len(array.shape) != 2:
        raise invalid(f"{name}: an array of shape {list(array.shape)}, expected two dimensions")
    return array.shape[0], array.shape[1]
