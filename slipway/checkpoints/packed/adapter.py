"""LoRA adapters (PEFT directories), merged into the weights of their base: W + scale * B A.

    adapter_config.json, and adapter_model.safetensors with
    base_model.model.NAME.lora_A.weight [r, in], base_model.model.NAME.lora_B.weight [out, r]
    base_model.model.NAME.lora_embedding_A [r, vocabulary], base_model.model.NAME.lora_embedding_B [hidden, r]
    base_model.model.NAME.weight, whole weights of modules that were trained too

Source: PEFT's `tuners/lora/layer.py` for the scale, Hu et al. 2021 for the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.checkpoints.huggingface.safetensors_file import open_safetensors
from slipway.checkpoints.huggingface.settings import read_json
from slipway.checkpoints.huggingface.weight_files import has_weight_files
from slipway.errors import invalid, shown, unsupported
from slipway.transformer.weights import Array

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_SHOWN: Final = 5  # names in a message
_FACTORS: Final = 2  # of a product, and the dimensions of each
# Settings that would change the product, with the values that do not.
_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "bias": ("none",),
    "fan_in_fan_out": (False, True),
    # The others subtract something from the base that the adapter is trained on.
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal", "mica"),
    "kasa_config": (None,),
    "layer_replication": (None,),
    "lora_bias": (False,),
    "megatron_config": (None,),
    "monteclora_config": (None,),
    "target_parameters": (None, []),
    "trainable_token_indices": (None,),
    "use_bdlora": (None, False),
    "use_dora": (False,),
    "use_qalora": (False,),
}
# Read here, or only about training and PEFT itself.
_KNOWN: Final = frozenset(
    {
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha",
        "lora_dropout", "lora_ga_config", "megatron_core", "modules_to_save", "peft_type", "peft_version",
        "qalora_group_size", "r", "rank_pattern", "runtime_config", "target_modules", "task_type", "use_rslora",
        "velora_config",
    }
)  # fmt: skip
_CONV1D: Final = re.compile(r"\.(c_attn|c_fc|c_proj|q_attn)$")  # GPT-2's, whose weights are [in, out]
_FORM: Final = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?P<weight>\.weight)?")


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two factors of one module. With `embedding`, they are those of a token table, [r, rows] and [width, r]."""

    a: Array
    b: Array
    embedding: bool


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter, opened. `base` is what its configuration calls its base: a hub id or a path."""

    path: Path
    base: str
    config: Mapping[str, Any]
    arrays: Mapping[str, Array]

    @property
    def ignored(self) -> tuple[str, ...]:
        """The settings that are set and not read, in order."""
        known = _NEUTRAL.keys() | _KNOWN
        return tuple(sorted(name for name, value in self.config.items() if value is not None and name not in known))

    def merged(self, stored: Mapping[str, Array]) -> dict[str, Array]:
        """Return the base's arrays with the adapter in them; raise INVALID_ARG if it belongs to another base."""
        pairs, whole = self._pairs()
        names = {module: _stored_name(module, stored) for module in pairs} | {
            name.removesuffix(".weight"): _stored_name(name.removesuffix(".weight"), stored) for name in whole
        }
        absent = [module for module, name in names.items() if not name]
        if absent:
            more = f" and {len(absent) - _SHOWN} others" if len(absent) > _SHOWN else ""
            raise invalid(
                f"'{self.path}' does not fit this base: it changes {shown(', '.join(absent[:_SHOWN]))}{more}, which "
                f"are not in the base; it was made for '{shown(self.base)}'"
            )
        result = dict(stored)
        for name, array in whole.items():
            target = names[name.removesuffix(".weight")]
            if stored[target].shape != array.shape:
                raise self._misfit(name, list(array.shape), list(stored[target].shape))
            result[target] = array
        gpt2 = any(_is_conv1d(name, array) for name, array in stored.items())
        for module, pair in pairs.items():  # after the whole weights: a token table is stored whole and changed
            inputs_first = gpt2 and _CONV1D.search(module) is not None
            result[names[module]] = self._sum(module, result[names[module]], pair, inputs_first=inputs_first)
        return result

    def _pairs(self) -> tuple[dict[str, _Pair], dict[str, Array]]:
        """Return the factors by module, and the arrays that replace one of the base."""
        sides: dict[str, dict[str, Array]] = {}
        embeddings: set[str] = set()
        whole: dict[str, Array] = {}
        for name, array in self.arrays.items():
            plain = name.removeprefix(_PREFIX)
            form = _FORM.fullmatch(plain)
            if form is None:
                whole[plain.replace(".modules_to_save.default", "").replace(".base_layer", "")] = array
                continue
            sides.setdefault(form["module"], {})[form["side"]] = array
            if form["embedding"]:
                embeddings.add(form["module"])
        alone = [
            module
            for module, own in sides.items()
            if len(own) != _FACTORS or any(len(a.shape) != _FACTORS for a in own.values())
        ]
        if alone:
            raise invalid(f"'{self.path}': {shown(alone[0])} does not have two factors of two dimensions")
        odd = [name for name in whole if not name.endswith(".weight")]
        if odd:
            raise unsupported(f"'{self.path}': array {shown(odd[0])} is neither a factor of LoRA nor a whole weight")
        return {module: _Pair(own["A"], own["B"], module in embeddings) for module, own in sides.items()}, whole

    def _sum(self, module: str, base: Array, pair: _Pair, *, inputs_first: bool) -> Array:
        rank, inner = pair.a.shape
        outer, same = pair.b.shape
        turned = pair.embedding or inputs_first  # the change of a token table [rows, width] is (B A) transposed
        product = (inner, outer) if turned else (outer, inner)
        if rank != same or product != base.shape:
            raise self._misfit(module, list(product), list(base.shape))
        scale = self._scale(module, rank)

        def read() -> np.ndarray:
            change = (pair.b.read().astype(np.float32) @ pair.a.read().astype(np.float32)) * np.float32(scale)
            weight = base.read()
            total: np.ndarray = (weight.astype(np.float32) + (change.T if turned else change)).astype(weight.dtype)
            return total

        return Array(base.shape, read)

    def _scale(self, module: str, rank: int) -> float:
        alpha = _of_pattern(self.config.get("alpha_pattern"), module, self.config.get("lora_alpha", 8))
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not isfinite(alpha):
            raise invalid(f"{self.path / CONFIG}: 'lora_alpha' is {shown(json.dumps(alpha))}, expected a number")
        return float(alpha) / (sqrt(rank) if self.config.get("use_rslora") else rank)

    def _misfit(self, name: str, own: list[int], base: list[int]) -> Exception:
        return invalid(
            f"'{self.path}' does not fit this base: its {shown(name)} has shape {own}, the base's has {base}; it was "
            f"made for '{shown(self.base)}'"
        )


def is_adapter(directory: Path) -> bool:
    """Return whether a directory holds an adapter, and not a whole model; some tools copy the base's config.json."""
    return (directory / CONFIG).is_file() and not has_weight_files(directory)


def named_base(directory: Path, base: str) -> str:
    """Return `base`, or what an adapter calls its base if that is ""; "" for a source that is not an adapter."""
    if not is_adapter(directory):
        return ""
    named = read_json(directory / CONFIG).get("base_model_name_or_path")
    return base or (named if isinstance(named, str) else "")


def read_adapter(directory: Path) -> Adapter:
    """Return the adapter in a directory; raise `SlipwayError` if it is damaged or not LoRA."""
    path = directory / CONFIG
    config = read_json(path)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise unsupported(f"{path}: 'peft_type' is {shown(json.dumps(kind))}; only LORA can be merged")
    for name, neutral in _NEUTRAL.items():
        if config.get(name, neutral[0]) not in neutral:
            raise unsupported(f"{path}: '{name}' is {shown(json.dumps(config[name]))}, which is not supported")
    if not (directory / WEIGHTS).is_file():
        raise invalid(f"'{directory}' has no {WEIGHTS}")
    return Adapter(directory, named_base(directory, ""), config, open_safetensors(directory / WEIGHTS))


def _is_conv1d(name: str, array: Array) -> bool:
    """Return whether an array is GPT-2's product for queries, keys and values, [in, 3 in]."""
    return name.endswith(".c_attn.weight") and array.shape[0] < array.shape[-1]


def _stored_name(module: str, stored: Mapping[str, Array]) -> str:
    """Return the name of a module's weight in the base, whose names may lack the prefix of the model; "" if absent."""
    candidates: tuple[Callable[[str], str], ...] = (
        lambda name: name,
        lambda name: name.removeprefix("model."),
        lambda name: name.removeprefix("transformer."),
        lambda name: f"model.{name}",
    )
    return next((own for each in candidates if (own := f"{each(module)}.weight") in stored), "")


def _of_pattern(pattern: object, module: str, usual: Any) -> Any:
    """Return the value of the first key of a `*_pattern` setting that the module's name ends with."""
    if not isinstance(pattern, dict):
        return usual
    for key, value in pattern.items():
        plain = str(key).removeprefix("^")
        if module == plain or module.endswith(f".{plain}"):
            return value
        if not re.fullmatch(r"[\w.]+", plain):
            raise unsupported(f"a pattern of modules, {shown(str(key))}, is not a plain name")
    return usual
