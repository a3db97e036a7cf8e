"""The plain arrays that packed weights stand for: a mapping from stored names to stored names.

Each packed weight becomes `NAME.weight`, which is unpacked when it is read; all other arrays stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from slipway.checkpoints.packed import bitsandbytes
from slipway.checkpoints.packed.awq import Awq
from slipway.checkpoints.packed.gptq import Gptq
from slipway.checkpoints.packed.setting_values import PackedSettings
from slipway.errors import invalid, shown, unsupported
from slipway.transformer.weights import Array


class PackedForm(Protocol):
    """A way to store weights. `first` is the part (what follows the name of the weight) by which one is recognised."""

    @property
    def name(self) -> str:
        """Its name, for reports."""

    @property
    def first(self) -> str:
        """The part that every packed weight has."""

    @property
    def others(self) -> tuple[str, ...]:
        """The further parts that it must have."""

    @property
    def optional(self) -> tuple[str, ...]:
        """The parts that it may have."""

    def weight(self, name: str, arrays: Mapping[str, Array]) -> Array:
        """Return the weight [out, in] that `arrays`, by part, stand for; raise INVALID_ARG if they do not fit."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The arrays of a checkpoint, with packed weights as plain ones; `form` names how they are stored, and `ignored`
    the settings that were not read."""

    arrays: Mapping[str, Array]
    form: str
    weights: int
    ignored: tuple[str, ...]


_FORMS: Final[Mapping[str, Callable[[PackedSettings], PackedForm]]] = {
    "awq": Awq.of,
    "bitsandbytes": bitsandbytes.settings_of,
    "gptq": Gptq.of,
}


def unpack(path: Path, config: Any, stored: Mapping[str, Array]) -> Unpacked:
    """Return the arrays of a checkpoint whose `quantization_config`, read from `path`, is `config`.

    Raise UNSUPPORTED for another way of packing, INVALID_ARG if arrays are missing or do not fit.
    """
    if not isinstance(config, dict):
        raise invalid(f"{path}: 'quantization_config' is not a JSON object")
    method = config.get("quant_method")
    if not isinstance(method, str) or method not in _FORMS:
        known = ", ".join(_FORMS)
        raise unsupported(f"{path}: 'quant_method' is {shown(repr(method))}; weights packed by {known} can be read")
    settings = PackedSettings(path, config)
    settings.without_effect("quant_method")
    form = _FORMS[method](settings)
    arrays = dict(stored)
    suffix = f".{form.first}"
    names = [name.removesuffix(suffix) for name in stored if name.endswith(suffix)]
    if not names:
        raise invalid(f"{path}: 'quant_method' is '{method}', but no array's name ends with '{suffix}'")
    for name in names:
        parts = (form.first, *form.others, *(part for part in form.optional if f"{name}.{part}" in stored))
        absent = [f"{name}.{part}" for part in parts if f"{name}.{part}" not in stored]
        if absent:
            raise invalid(f"{path.parent}: the packed weight {name} lacks {shown(', '.join(absent))}")
        weight = form.weight(name, {part: stored[f"{name}.{part}"] for part in parts})
        for part in parts:
            del arrays[f"{name}.{part}"]
        arrays[f"{name}.weight"] = weight
    return Unpacked(arrays, form.name, len(names), settings.unread)
