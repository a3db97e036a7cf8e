"""AWQ in AutoAWQ's form "gemm": numbers of 4 bits with a scale and a zero per group of inputs, in an order of its own.

NAME.qweight int32 [in, out / 8], NAME.qzeros int32 [groups, out / 8], NAME.scales float16 [groups, out]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from slipway.checkpoints.packed.bits import WORD, unpacked
from slipway.checkpoints.packed.gptq import check_shapes, dimensions, scaled
from slipway.checkpoints.packed.setting_values import PackedSettings
from slipway.errors import invalid
from slipway.transformer.weights import Array

_BITS: Final = 4
_ORDER: Final = (0, 4, 1, 5, 2, 6, 3, 7)  # the place of each number in its word


@dataclass(frozen=True, slots=True)
class Awq:
    """The settings of an AWQ checkpoint."""

    group_size: int  # inputs per group; -1: one group

    name: ClassVar[str] = "AWQ"
    first: ClassVar[str] = "qweight"
    others: ClassVar[tuple[str, ...]] = ("qzeros", "scales")
    optional: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, settings: PackedSettings) -> Awq:
        """Return the settings in a `quantization_config`; raise `SlipwayError` for those that are not supported."""
        settings.number("bits", (_BITS,))
        settings.one_of("version", ("gemm", "GEMM"), "gemm")
        settings.one_of("checkpoint_format", ("gemm",), "gemm")
        if not settings.flag("zero_point", default=True):
            raise invalid(f"{settings.path}: 'zero_point' is false, but the form \"gemm\" always has zeros")
        return cls(settings.group_size())

    def weight(self, name: str, arrays: Mapping[str, Array]) -> Array:
        """Return the weight [out, in] in float16 that `arrays`, by part, stand for."""
        inputs, columns = dimensions(arrays["qweight"], name)
        groups, out = dimensions(arrays["scales"], name)
        check_shapes(name, arrays, {"qweight": (inputs, out * _BITS // WORD), "qzeros": (groups, columns)})
        size = inputs if self.group_size < 1 else self.group_size
        if groups != -(-inputs // size):
            raise invalid(f"{name}: {groups} groups of {size} for {inputs} inputs")

        def read() -> np.ndarray:
            numbers = unpacked(arrays["qweight"].read(), _BITS, 1, _ORDER)
            zeros = unpacked(arrays["qzeros"].read(), _BITS, 1, _ORDER)
            group = np.arange(inputs) // size
            return scaled(numbers, zeros[group], arrays["scales"].read()[group]).T

        return Array((out, inputs), read)
