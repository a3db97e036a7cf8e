"""Read the settings of sentence-transformers beside a checkpoint: pooling, layers, prompts, a cross-encoder's score.

modules.json and the files it names are a closed world: a setting that cannot be reproduced exactly is refused by name,
one that is not used is noted (settings.py). Versions 1 to 6 of the library store the same settings in different places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import read_json, read_json_object
from slipway.convert.settings import unread_keys
from slipway.errors import invalid, shown

GENERAL: Final = "config_sentence_transformers.json"
TRANSFORMER_CONFIGS: Final = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
POOLING_MODES: Final = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_POOLING_KEYS: Final = {  # the boolean keys before version 5; several are concatenated in this order
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_EMBEDDING: Final = "sentence_embedding"
_LAYERS: Final = ("Dense", "LayerNorm", "Normalize")
_FOLDER: Final = re.compile(r"(?!\.\.?$)[\w .-]{0,60}")
_CROSS_ENCODER: Final = "CrossEncoder"
_MODULES: Final = ("Transformer", "Pooling", *_LAYERS, "Dropout")


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """A layer above the pooled vector: `kind` is a module of sentence-transformers, `path` holds its arrays."""

    kind: str
    path: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentenceHead:
    """How token vectors become one embedding: concatenated poolings, layers, the first `truncate` numbers."""

    poolings: tuple[str, ...]
    layers: tuple[HeadLayer, ...] = ()
    skips_prompt: bool = False  # tokens of the prompt are not pooled
    truncate: int = 0  # 0: all

    def width(self, hidden: int) -> int:
        """Return the size of an embedding over token vectors of `hidden` numbers."""
        size = hidden * len(self.poolings)
        for layer in self.layers:
            size = int(layer.settings.get("out_features", size))
        return min(size, self.truncate) if self.truncate else size


@dataclass(frozen=True, slots=True)
class SentenceDirectory:
    """A directory that sentence-transformers wrote. `transformer` is the folder of the checkpoint itself; `head` is
    None for a cross-encoder, whose score comes from the checkpoint's own head; `activation` is "" if none is set."""

    transformer: Path
    head: SentenceHead | None
    lowercase: bool = False
    prompt: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)  # by name, the default one included
    activation: str = ""
    notes: tuple[str, ...] = ()


def read_sentence_directory(directory: Path) -> SentenceDirectory | None:
    """Return the settings of a sentence-transformers directory, or None if it has no modules.json."""
    path = directory / "modules.json"
    if not path.exists():
        return None
    modules = [_Module.of(each, path) for each in _as_list(read_json(path))]
    transformer = next((directory / each.path for each in modules if each.kind == "Transformer"), directory)
    general = _optional(directory / GENERAL)
    _check_kind(general, directory / GENERAL)
    own = _transformer_config(transformer)
    crosses = general.get("model_type") == _CROSS_ENCODER or own.get("transformer_task") == "sequence-classification"
    notes: list[str] = []
    head = None if crosses else _head(directory, modules, general, notes)
    _check_outputs(own, transformer, "logits" if crosses else "last_hidden_state")
    if crosses and len(modules) > 1:
        raise invalid(f"{path}: a cross-encoder with the module '{modules[1].kind}' is not supported, only Transformer")
    notes += unread_keys("config_sentence_transformers.json", general)
    notes += unread_keys("sentence_bert_config.json", own)
    prompt = _prompt(directory, general)
    notes += _client_prompts(general, prompt)
    return SentenceDirectory(
        transformer=transformer,
        head=head,
        lowercase=bool(own.get("do_lower_case")),
        prompt=prompt,
        prompts={str(name): str(text) for name, text in (general.get("prompts") or {}).items() if text},
        activation=str(general.get("activation_fn") or "") if crosses else "",
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Module:
    kind: str
    path: str

    @staticmethod
    def of(value: Any, path: Path) -> _Module:
        """Return one entry of modules.json; refuse an unknown kind."""
        settings = value if isinstance(value, dict) else {"type": value}
        kind = str(settings.get("type")).rpartition(".")[2]
        if kind not in _MODULES:
            raise invalid(f"{path}: module '{kind}' is not supported; supported: {', '.join(_MODULES)}")
        place = settings.get("path", "")
        if not isinstance(place, str) or _FOLDER.fullmatch(place) is None:
            raise invalid(f"{path}: module '{kind}' is in '{shown(place)}', which is not a folder in this directory")
        return _Module(kind, place)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}


def _transformer_config(transformer: Path) -> dict[str, Any]:
    return next(
        (read_json_object(transformer / name) for name in TRANSFORMER_CONFIGS if (transformer / name).exists()), {}
    )


def _check_kind(general: Mapping[str, Any], path: Path) -> None:
    """Refuse models whose output is not one vector or one score: sparse and multi-vector ones."""
    kind = general.get("model_type") or "SentenceTransformer"
    if kind not in ("SentenceTransformer", _CROSS_ENCODER):
        raise invalid(
            f"{path}: models of the kind '{kind}' are not supported, only SentenceTransformer and {_CROSS_ENCODER}; "
            f"to convert the checkpoint without the modules of sentence-transformers, remove modules.json"
        )


def _check_outputs(own: Mapping[str, Any], transformer: Path, output: str) -> None:
    """Refuse a Transformer module that pools or projects with another method."""
    modality = (own.get("modality_config") or {}).get("text")
    method = None if modality is None else (modality.get("method"), modality.get("method_output_name"))
    if method not in (None, ("forward", output)) or own.get("query_expansion"):
        wanted = "query_expansion" if own.get("query_expansion") else f"{method[0]}() -> {method[1]}"  # type: ignore[index]
        raise invalid(f"'{transformer}': its Transformer module uses {wanted}; supported: forward() -> {output}")


def _head(directory: Path, modules: list[_Module], general: Mapping[str, Any], notes: list[str]) -> SentenceHead:
    path = directory / "modules.json"
    pooling: tuple[tuple[str, ...], bool] | None = None
    layers: list[HeadLayer] = []
    for module in modules:
        place = directory / module.path
        if module.kind == "Pooling":
            pooling = _pooling(place / "config.json", notes)
        elif module.kind in _LAYERS:
            if pooling is None:
                raise invalid(f"{path}: module '{module.kind}' comes before the Pooling module, which is not supported")
            layers.append(_layer(module.kind, place, notes))
    if pooling is None:
        raise invalid(f"{path}: no Pooling module, so the embedding of a text is undefined")
    truncate = general.get("truncate_dim") or 0
    if not isinstance(truncate, int) or truncate < 0:
        raise invalid(f"{directory / GENERAL}: 'truncate_dim' should be an integer but is {truncate!r}")
    return SentenceHead(pooling[0], tuple(layers), skips_prompt=pooling[1], truncate=truncate)


def _layer(kind: str, place: Path, notes: list[str]) -> HeadLayer:
    settings = _optional(place / "config.json")
    for key in ("module_input_name", "module_output_name"):
        if settings.get(key) not in (None, _EMBEDDING):
            raise invalid(f"{place / 'config.json'}: '{key}' is '{settings[key]}'; supported: {_EMBEDDING}")
    notes += unread_keys(f"{kind}/config.json", settings)
    return HeadLayer(kind, place, settings)


def _pooling(path: Path, notes: list[str]) -> tuple[tuple[str, ...], bool]:
    """Return the modes of a Pooling module, and whether it leaves out the prompt's tokens."""
    config = read_json_object(path)
    if "pooling_mode" in config:
        modes = tuple(map(str, _as_list(config["pooling_mode"])))
    else:
        unknown = [
            key for key, on in config.items() if key.startswith("pooling_mode_") and on and key not in _POOLING_KEYS
        ]
        modes = (*(mode for key, mode in _POOLING_KEYS.items() if config.get(key)), *unknown) or ("mean",)
    unknown_modes = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown_modes or not modes:
        raise invalid(
            f"{path}: pooling {' + '.join(modes) or 'none'} is not supported; supported: {', '.join(POOLING_MODES)}"
        )
    notes += unread_keys("Pooling/config.json", config)
    return modes, config.get("include_prompt") is False


def _prompt(directory: Path, general: Mapping[str, Any]) -> str:
    """Return the default prompt, "" if there is none."""
    name = general.get("default_prompt_name")
    if name is None:
        return ""
    prompts = general.get("prompts") or {}
    if name not in prompts:
        known = ", ".join(prompts) or "none"
        raise invalid(f"{directory / GENERAL}: the default prompt '{name}' is not among the prompts: {known}")
    return str(prompts[name] or "")


def _client_prompts(general: Mapping[str, Any], prompt: str) -> list[str]:
    """Return a note on the prompts that a client must add itself, because the served model adds only the default."""
    others = {name: text for name, text in (general.get("prompts") or {}).items() if text and text != prompt}
    if not others:
        return []
    said = ", ".join(f"{name}: {text!r}" for name, text in others.items())
    default = f"every text gets {prompt!r}" if prompt else "no prompt is put before a text"
    return [f"{default}; the client must add the checkpoint's other prompts itself: {said}"]
