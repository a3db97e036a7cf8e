"""config.json and generation_config.json of a Hugging Face directory: values of the right type, or an error.

Knows no architecture: the families' modules know which keys matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

from slipway.checkpoints.huggingface.consulted import Consulted
from slipway.errors import invalid, shown
from slipway.foreign_json import read_foreign
from slipway.transformer.spec import Activation

# `hidden_act` and similar keys; transformers' "gelu_new" and "gelu_pytorch_tanh" are the same tanh approximation.
ACTIVATIONS: Final = {
    "relu": Activation.RELU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
}
# Keys of a checkpoint that joins an encoder and a decoder which are not settings of the decoder.
_OF_THE_WHOLE: Final = (
    "architectures", "auto_map", "decoder", "dtype", "encoder", "is_encoder_decoder", "model_type",
    "tie_word_embeddings", "torch_dtype", "transformers_version",
)  # fmt: skip
_COUNTED: Final = ("layer", "head", "num_experts", "num_local_experts")
_MOST_LAYERS: Final = 4096  # the tables of arrays have rows for each layer, before a file is opened
_LARGEST_SIZE: Final = 1 << 31
_FLOAT_LIMIT: Final = 1e300


@dataclass(frozen=True, slots=True)
class HuggingFaceSettings:
    """The two JSON files of one directory; generation_config.json takes precedence over config.json."""

    path: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """The class that wrote the checkpoint, "" if the config does not say."""
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    @property
    def model_type(self) -> str:
        """The family's name, "" if the config does not say."""
        return str(self.config.get("model_type") or "")

    @property
    def of_decoder(self) -> HuggingFaceSettings:
        """The settings of the part that generates: in a checkpoint that joins two models, those of the decoder, with
        the token ids and other generation settings that the whole sets."""
        decoder = self.config.get("decoder")
        if not isinstance(decoder, dict):
            return self
        own = {key: value for key, value in self.config.items() if key not in _OF_THE_WHOLE and value is not None}
        return HuggingFaceSettings(self.path, {**decoder, **own}, self.generation)

    def sizes(self, *names: str) -> tuple[int, ...]:
        """Return the positive whole numbers of these names; raise INVALID_ARG naming every invalid one."""
        values = [self.config.get(name) for name in names]
        bad = [
            f"'{name}' is {shown(json.dumps(value))}"
            for name, value in zip(names, values, strict=True)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _most(name)
        ]
        if bad:
            raise invalid(
                f"{self.path}: expected positive whole numbers (up to {_MOST_LAYERS} for layers, heads and experts, "
                f"else up to {_LARGEST_SIZE}), but {', '.join(bad)}"
            )
        return tuple(int(value) for value in values if value is not None)

    def size(self, name: str, default: int) -> int:
        """Return one positive whole number, `default` if it is absent or null."""
        return default if self.config.get(name) is None else self.sizes(name)[0]

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a truth value, `default` if it is absent or null."""
        value = self.config.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(f"{self.path}: '{name}' is {shown(json.dumps(value))}, expected true or false")
        return default if value is None else value

    def number(self, name: str, default: float) -> float:
        """Return a number, `default` if it is absent or null."""
        value = self.config.get(name)
        if value is not None and not is_number(value):
            raise invalid(f"{self.path}: '{name}' is {shown(json.dumps(value))}, expected a number")
        return default if value is None else float(value)

    def positive(self, name: str, default: float | None) -> float:
        """Return a number above zero, `default` if it is absent or null; without a default, it must be set."""
        if self.config.get(name) is None and default is not None:
            return default
        value = self.config.get(name)
        if not is_number(value) or not value > 0:
            raise invalid(f"{self.path}: '{name}' is {shown(json.dumps(value))}, expected a number above 0")
        return float(value)

    def first(self, names: Sequence[str]) -> str:
        """Return the first of `names` that the file sets, else the first one: what a setting is called differs."""
        given = Consulted.of(self.config).given
        for name in names:
            self.config.get(name)
        return next((name for name in names if given.get(name) is not None), names[0])

    def indices(self, name: str, below: int) -> tuple[int, ...]:
        """Return a list of whole numbers from 0 to below `below`, () if it is absent or null."""
        value = self.config.get(name)
        values = [] if value is None else value
        if not isinstance(values, list) or not all(type(each) is int and 0 <= each < below for each in values):
            text = shown(json.dumps(value))
            raise invalid(f"{self.path}: '{name}' is {text}, expected a list of numbers from 0 to {below - 1}")
        return tuple(values)

    def inner(self, name: str, values: Mapping[str, Any]) -> HuggingFaceSettings:
        """Return the settings of an object within this one; errors name both."""
        return HuggingFaceSettings(Path(f"{self.path}: {name}"), Consulted(values), {})

    def activation(self, name: str, default: str) -> Activation:
        """Return the activation that `name` names."""
        return self.known_activation(str(self.config.get(name) or default))

    def known_activation(self, value: str) -> Activation:
        """Return the activation called `value`; raise INVALID_ARG, listing the known ones, if it is unknown."""
        if value not in ACTIVATIONS:
            raise invalid(f"{self.path}: activation '{value}' is unknown, expected one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def token_ids(self, name: str) -> tuple[int, ...]:
        """Return the ids of a token setting, for example eos_token_id, which may be one or a list; () if unset."""
        value = self.generation.get(name)
        value = self.config.get(name) if value is None else value
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(is_number(each) and isinstance(each, int) and abs(each) < _LARGEST_SIZE for each in values):
            raise invalid(f"{self.path}: '{name}' is {shown(json.dumps(value))}, expected a token id")
        return tuple(values)

    def token_id(self, *names: str, default: int) -> int:
        """Return the first id of the first of these settings that is set."""
        return next((ids[0] for name in names if (ids := self.token_ids(name))), default)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value of JSON is a number that a computation can use: not true, NaN, or beyond a double."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FLOAT_LIMIT


def _most(name: str) -> int:
    return _MOST_LAYERS if any(part in name for part in _COUNTED) else _LARGEST_SIZE


def read_settings(directory: Path) -> HuggingFaceSettings:
    """Return the settings of `directory`; raise INVALID_ARG when config.json is missing or not a JSON object."""
    if not directory.is_dir():
        raise invalid(f"'{directory}' is not a directory")
    path = directory / "config.json"
    if not path.is_file():
        raise invalid(f"'{directory}' has no config.json, so it is not a Hugging Face checkpoint")
    generation = directory / "generation_config.json"
    return HuggingFaceSettings(path, read_json(path), read_json(generation) if generation.is_file() else {})


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise INVALID_ARG when it contains anything else."""
    value = read_foreign(path)
    if not isinstance(value, dict):
        raise invalid(f"{path}: expected a JSON object")
    return value
