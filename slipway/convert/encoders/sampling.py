"""Sample inputs for a model with known tensors but unknown meaning: random values, and masks if names suggest text.

Recognises the tensor names that all exporters of encoders use; fills all others by datatype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from slipway.backends.shared.probing import Sizes
from slipway.convert.array_file import read_arrays
from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.candidates.subject import Case, Interface
from slipway.core.signature import TensorSpec
from slipway.datatypes import BY_NAME
from slipway.errors import invalid

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
SHORT: Final = 9
_FLAGS: Final = ("mask", "token_type_ids")  # names of inputs that contain only 0 and 1
_LONG: Final = 64
_CALIBRATION_ROWS: Final = 100
_CALIBRATION_LENGTH: Final = 128
_ROWS: Final = 64  # random rows, enough to make the share of equal labels meaningful


class InputSampler:
    """Makes sample inputs for an interface. Integer inputs are below their value in `limits`. Those without a limit are
    only 0 and 1, which shows little about the effect of quantisation (`unknown_ranges`). `sizes` are the sizes that
    variable dims may have, None for any."""

    def __init__(self, interface: Interface, limits: Mapping[str, int], sizes: Sizes | None = None) -> None:
        self._interface = interface
        self._limits = limits
        self._sizes = sizes.sizes if sizes else ()
        self._fixed = sizes.fixed if sizes else {}
        self._masked = interface.max_batch_size > 0 and {IDS, MASK} <= {spec.name for spec in interface.inputs}
        strings = [spec.name for spec in interface.inputs if spec.datatype == "BYTES"]
        if strings:
            raise invalid(f"input '{strings[0]}' takes strings, and the gate cannot generate sample strings")

    def unknown_ranges(self) -> tuple[str, ...]:
        """Return the integer inputs with unknown range, except masks and token types."""
        return tuple(
            spec.name
            for spec in self._interface.inputs
            if np.dtype(BY_NAME[spec.datatype].numpy).kind in "iu"
            and spec.name not in self._limits
            and not spec.name.endswith(_FLAGS)
        )

    def cases(self) -> Iterator[Case]:
        """Yield batches of 1, 2 and max rows with lengths 1, short and long, and padded rows if there is a mask."""
        random = np.random.default_rng(0)
        if not self._interface.max_batch_size:
            for size in (self._sizes or (1, 2, SHORT, _LONG)) if self._variable else (SHORT,) * 4:
                inputs = self.rows(random, [size])
                yield Case(f"random values, size {size}", inputs, (inputs,))
            return
        lengths = (self._sizes or (1, SHORT, _LONG)) if self._variable else (SHORT,)
        for rows in (1, 2, MAX_BATCH_SIZE):
            for length in lengths:
                yield self._case(f"random values, {rows} x {length}", self.rows(random, [length] * rows))
                if self._masked and rows > 1 and length > 1:
                    spread = [1 + row * (length - 1) // (rows - 1) for row in range(rows)]
                    yield self._case(f"random values, {rows} x {length} padded", self.rows(random, spread))
        for start in range(0, _ROWS, MAX_BATCH_SIZE):
            batch = self.rows(random, [self._sizes[0] if self._sizes else SHORT] * MAX_BATCH_SIZE)
            yield self._case(f"random rows {start}-{start + MAX_BATCH_SIZE - 1}", batch)

    def sample(self, length: int, rows: int) -> Arrays:
        """Return rows of `length`, the same on every call."""
        return self.rows(np.random.default_rng(length), [length] * rows)

    def calibration(self) -> list[Arrays]:
        """Return single rows of many lengths to calibrate models that take no text."""
        random = np.random.default_rng(1)
        any_length = range(1, _CALIBRATION_LENGTH + 1)
        lengths = (int(random.choice(self._sizes or any_length)) for _ in range(_CALIBRATION_ROWS))
        return [self.rows(random, [length]) for length in lengths]

    def example(self) -> Arrays:
        """Return two rows to trace a module with."""
        return self.rows(np.random.default_rng(2), [self._sizes[-1] if self._sizes else 7] * 2)

    @property
    def _variable(self) -> bool:
        return any(-1 in spec.dims for spec in self._interface.inputs)

    def rows(self, random: np.random.Generator, lengths: Sequence[int]) -> Arrays:
        """Return one row for each length; variable dims have the longest length, and shorter rows are masked."""
        longest = max(lengths)
        arrays = {spec.name: self._fill(random, spec, len(lengths), longest) for spec in self._interface.inputs}
        if MASK in arrays:
            arrays[MASK] = np.ones_like(arrays[MASK])
        if self._masked:
            mask = np.arange(longest) < np.array(lengths)[:, None]
            arrays[MASK] = mask.astype(arrays[MASK].dtype)
            arrays[IDS][~mask] = 0
        if "token_type_ids" in arrays:
            arrays["token_type_ids"] = np.zeros_like(arrays["token_type_ids"])
        return arrays

    def _fill(self, random: np.random.Generator, spec: TensorSpec, rows: int, size: int) -> np.ndarray:
        first = int(self._interface.max_batch_size > 0)
        dims = tuple(
            self._fixed.get((spec.name, first + index), size) if dim == -1 else dim
            for index, dim in enumerate(spec.dims)
        )
        shape = (rows, *dims) if self._interface.max_batch_size else dims
        dtype = BY_NAME[spec.datatype].numpy
        if spec.datatype == "BOOL":
            return random.integers(0, 2, shape).astype(np.bool_)
        if np.dtype(dtype).kind in "iu":
            return random.integers(0, self._limits.get(spec.name, 2), shape).astype(dtype)
        return random.standard_normal(shape).astype(dtype)

    def _case(self, name: str, batch: Arrays) -> Case:
        rows = len(next(iter(batch.values())))
        return Case(name, batch, tuple(self._alone(batch, row) for row in range(rows)))

    def _alone(self, batch: Arrays, row: int) -> Arrays:
        alone = {name: array[row : row + 1] for name, array in batch.items()}
        if not self._masked:
            return alone
        length = int(alone[MASK].sum())
        return {
            spec.name: alone[spec.name][:, :length] if spec.dims[:1] == (-1,) else alone[spec.name]
            for spec in self._interface.inputs
        }


def read_calibration(path: Path, interface: Interface) -> list[Arrays]:
    """Return the rows of an .npz file with one array per input; raise `SlipwayError` naming the problem."""
    arrays = read_arrays(path, f"calibration file '{path}' is not an .npz file of arrays")
    names = [spec.name for spec in interface.inputs]
    missing = [name for name in names if name not in arrays]
    counts = {len(array) for name, array in arrays.items() if name in names and array.ndim}
    if missing or len(counts) != 1 or 0 in counts:
        problem = f"it lacks '{missing[0]}'" if missing else "its arrays are empty or differ in their number of rows"
        raise invalid(f"calibration file '{path}' does not fit the model: {problem} (inputs: {', '.join(names)})")
    step = slice(None) if interface.max_batch_size else 0
    count = counts.pop()
    return [{name: arrays[name][row : row + 1][step] for name in names} for row in range(count)]
