"""Attention windows as config.json describes them: `sliding_window`, and the layers that have one."""

from __future__ import annotations

import json
from typing import Final

from slipway.checkpoints.huggingface.decoder_family import WindowRule
from slipway.checkpoints.huggingface.rotary_settings import FULL, SLIDING
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.errors import invalid, shown, unsupported
from slipway.nearest import nearest_or_all

_TYPES: Final = (FULL, SLIDING)


def read_windows(settings: HuggingFaceSettings, rule: WindowRule, layers: int) -> tuple[int, tuple[int, ...]]:
    """Return the width of the window in tokens, and the layers that have it; (0, ()) if none has."""
    usual = rule.layers(settings, layers)
    listed = listed_layers(settings, layers)
    on = settings.flag(rule.flag, default=False) if rule.flag else True
    window = settings.config.get("sliding_window")
    if not on or window is None:
        return 0, ()
    if rule.ignores_types and listed is not None and listed != usual:
        raise unsupported(
            f"{settings.path}: 'layer_types' differ between layers, which this model type does not support"
        )
    chosen = usual if listed is None or rule.ignores_types else listed
    return (settings.sizes("sliding_window")[0], chosen) if chosen else (0, ())


def listed_layers(settings: HuggingFaceSettings, layers: int) -> tuple[int, ...] | None:
    """Return the layers with a window by `layer_types`, None if it is absent."""
    types = settings.config.get("layer_types")
    if types is None:
        return None
    if not isinstance(types, list) or len(types) != layers:
        raise invalid(
            f"{settings.path}: 'layer_types' is {shown(json.dumps(types))}, expected a list for {layers} layers"
        )
    for kind in types:
        if kind not in _TYPES:
            known = nearest_or_all(str(kind), _TYPES)
            raise invalid(f"{settings.path}: 'layer_types' has the unknown type '{shown(kind)}'{known}")
    return tuple(layer for layer, kind in enumerate(types) if kind == SLIDING)


def every_layer(_: HuggingFaceSettings, layers: int) -> tuple[int, ...]:
    """Return all layers."""
    return tuple(range(layers))


def upper_layers(settings: HuggingFaceSettings, layers: int) -> tuple[int, ...]:
    """Return the layers from `max_window_layers` on (Qwen 2 and 3)."""
    return tuple(range(_below(settings, layers), layers))


def even_lower_layers(settings: HuggingFaceSettings, layers: int) -> tuple[int, ...]:
    """Return every second layer below `max_window_layers` (Qwen2-MoE)."""
    return tuple(range(0, min(_below(settings, layers), layers), 2))


def all_but_every(settings: HuggingFaceSettings, layers: int) -> tuple[int, ...]:
    """Return all layers but every `sliding_window_pattern`-th (Gemma 2: 2, Gemma 3: 6)."""
    period = settings.size("sliding_window_pattern", settings.sizes("_sliding_window_pattern")[0])
    return tuple(layer for layer in range(layers) if (layer + 1) % period)


def unrotated(settings: HuggingFaceSettings, layers: int) -> tuple[int, ...]:
    """Return the layers without positions (SmolLM 3): those with 0 in `no_rope_layers`, or every n-th."""
    flags = settings.config.get("no_rope_layers")
    period = settings.size("no_rope_layer_interval", 4)
    if flags is None:
        return tuple(layer for layer in range(layers) if (layer + 1) % period == 0)
    if not isinstance(flags, list) or len(flags) < layers or any(flag not in (0, 1) for flag in flags):
        text = shown(json.dumps(flags))
        raise invalid(f"{settings.path}: 'no_rope_layers' is {text}, expected 0 or 1 for each of {layers} layers")
    return tuple(layer for layer in range(layers) if not flags[layer])


def _below(settings: HuggingFaceSettings, layers: int) -> int:
    value = settings.config.get("max_window_layers")
    if value is None:
        return layers
    if type(value) is not int or value < 0:
        raise invalid(
            f"{settings.path}: 'max_window_layers' is {shown(json.dumps(value))}, expected a number of layers"
        )
    return value
