"""bitsandbytes: 8-bit weights with a scale per output, or 4-bit weights that are indices of a table, with a scale per
block.

    8 bits: NAME.weight int8 [out, in], NAME.SCB float32 [out], the largest magnitude of each output;
            NAME.weight_format uint8, the order of the numbers: 0 in rows, others as some GPUs need them
    4 bits: NAME.weight uint8 [numbers / 2, 1], NAME.weight.absmax [blocks], NAME.weight.quant_map float32 [16],
            NAME.weight.quant_state.bitsandbytes__{nf4, fp4} uint8, a JSON object; the scales may be quantised again:
            NAME.weight.nested_absmax float32 [outer blocks], NAME.weight.nested_quant_map float32 [256]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, ClassVar, Final

import numpy as np

from slipway.checkpoints.packed.gptq import check_shapes
from slipway.checkpoints.packed.setting_values import PackedSettings
from slipway.errors import invalid, shown, unsupported
from slipway.foreign_json import parse_foreign
from slipway.transformer.weights import Array

_LEVELS: Final = 127.0
_LARGEST: Final = 1 << 31
_DTYPES: Final = {"float16": np.float16, "bfloat16": np.float32, "float32": np.float32}


@dataclass(frozen=True, slots=True)
class EightBits:
    """A checkpoint saved with `load_in_8bit`."""

    name: ClassVar[str] = "bitsandbytes, 8 bits"
    first: ClassVar[str] = "SCB"
    others: ClassVar[tuple[str, ...]] = ("weight",)
    optional: ClassVar[tuple[str, ...]] = ("weight_format",)

    def weight(self, name: str, arrays: Mapping[str, Array]) -> Array:
        """Return the weight [out, in] in float32 that `arrays`, by part, stand for."""
        shape = arrays["weight"].shape
        check_shapes(name, arrays, {"SCB": shape[:1]})
        if "weight_format" in arrays and arrays["weight_format"].read().any():
            raise unsupported(f"{name}: only weights in rows can be read, but weight_format is another")

        def read() -> np.ndarray:
            numbers = arrays["weight"].read()
            if numbers.dtype != np.int8:
                raise invalid(f"{name}.weight has the type {numbers.dtype}, expected int8")
            return numbers.astype(np.float32) * (arrays["SCB"].read().astype(np.float32) / _LEVELS)[:, None]

        return Array(shape, read)


@dataclass(frozen=True, slots=True)
class FourBits:
    """A checkpoint saved with `load_in_4bit`; `kind` is the name of its table."""

    kind: str

    name: ClassVar[str] = "bitsandbytes, 4 bits"
    first: ClassVar[str] = "weight.absmax"
    optional: ClassVar[tuple[str, ...]] = ("weight.nested_absmax", "weight.nested_quant_map")

    @property
    def others(self) -> tuple[str, ...]:
        """The other parts of a weight."""
        return "weight", "weight.quant_map", self._state

    @property
    def _state(self) -> str:
        return f"weight.quant_state.bitsandbytes__{self.kind}"

    def weight(self, name: str, arrays: Mapping[str, Array]) -> Array:
        """Return the weight [out, in] that `arrays`, by part, stand for."""
        state = _state(name, arrays[self._state].read())
        shape, block = tuple(state["shape"]), state["blocksize"]
        count = prod(shape)
        blocks = ceil(count / block)
        nested = "weight.nested_absmax" in arrays
        check_shapes(
            name,
            arrays,
            {
                "weight.absmax": (blocks,),
                "weight.quant_map": (16,),
                "weight.nested_quant_map": (256,),
                "weight.nested_absmax": (ceil(blocks / state["nested_blocksize"]),),
            },
        )
        if prod(arrays["weight"].shape) != ceil(count / 2):
            raise invalid(f"{name}.weight has {prod(arrays['weight'].shape)} bytes for {list(shape)} numbers of 4 bits")

        def read() -> np.ndarray:
            packed = arrays["weight"].read().reshape(-1)
            indices = np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1)[:count]
            scales = arrays["weight.absmax"].read()
            if nested:
                outer = np.repeat(arrays["weight.nested_absmax"].read(), state["nested_blocksize"])[: len(scales)]
                scales = arrays["weight.nested_quant_map"].read()[scales] * outer + state["nested_offset"]
            numbers = arrays["weight.quant_map"].read()[indices] * np.repeat(scales, block)[:count]
            weight: np.ndarray = numbers.astype(_DTYPES[state["dtype"]]).reshape(shape)
            return weight

        return Array(shape, read)


def settings_of(settings: PackedSettings) -> EightBits | FourBits:
    """Return the form that a `quantization_config` describes; raise `SlipwayError` if it is not supported."""
    eight = settings.flag("load_in_8bit", default=False) or settings.flag("_load_in_8bit", default=False)
    four = settings.flag("load_in_4bit", default=False) or settings.flag("_load_in_4bit", default=False)
    if eight == four:
        raise invalid(f"{settings.path}: expected one of 'load_in_8bit' and 'load_in_4bit' to be true")
    return EightBits() if eight else FourBits(settings.one_of("bnb_4bit_quant_type", ("nf4", "fp4"), "fp4"))


def _state(name: str, stored: np.ndarray) -> dict[str, Any]:
    """Return the settings of one weight, checked."""
    state = parse_foreign(stored.tobytes(), f"the settings of {name}")
    if not isinstance(state, dict):
        raise invalid(f"the settings of {name} are not a JSON object")
    shape = state.get("shape")
    if not (isinstance(shape, list) and len(shape) == 2 and all(_is_size(each) for each in shape)):
        raise invalid(f"the settings of {name}: 'shape' is {shown(repr(shape))}, expected two sizes")
    state.setdefault("nested_blocksize", 256)
    state.setdefault("nested_offset", 0.0)
    for key in ("blocksize", "nested_blocksize"):
        if not _is_size(state.get(key)):
            raise invalid(f"the settings of {name}: '{key}' is {shown(repr(state.get(key)))}, expected a size")
    if state.get("dtype") not in _DTYPES or not isinstance(state["nested_offset"], float | int):
        raise invalid(f"the settings of {name}: dtype {shown(repr(state.get('dtype')))}")
    return state


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < _LARGEST
