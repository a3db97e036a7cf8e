"""What a row of the table of decoder-only families says: the names of arrays and settings, and what the network does.

Data only; `decoder.py` reads a checkpoint by it, `decoder_families.py` is the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.checkpoints.huggingface.fused_arrays import Cut
from slipway.checkpoints.huggingface.rotary_settings import PLAIN_ROTARY, RotaryRule
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import AS_IS, ArrayTransform

Fields = dict[str, Any]  # values of `spec.Stack` by name


@dataclass(frozen=True, slots=True)
class SettingNames:
    """What the settings of a stack are called; of several names, the first that is set counts. () if there is none."""

    layers: tuple[str, ...] = ("num_hidden_layers",)
    heads: tuple[str, ...] = ("num_attention_heads",)
    key_value_heads: tuple[str, ...] = ("num_key_value_heads",)  # default: as many as heads
    head_size: tuple[str, ...] = ("head_dim",)  # default: hidden / heads
    hidden: tuple[str, ...] = ("hidden_size",)
    inner: tuple[str, ...] = ("intermediate_size",)  # default: 4 * hidden
    vocabulary: tuple[str, ...] = ("vocab_size",)
    context: tuple[str, ...] = ("max_position_embeddings",)
    norm_epsilon: tuple[str, ...] = ("rms_norm_eps",)
    activation: tuple[str, ...] = ("hidden_act",)


@dataclass(frozen=True, slots=True)
class Fused:
    """A part that is stored together with others under one of `names`, and how it is cut out."""

    cut: Cut
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExpertArrays:
    """The products of all experts: one array `fused`, cut, or one array for each expert; one of `each` with "{}" for
    the expert's index."""

    fused: str
    each: tuple[str, ...]
    cut: Cut = lambda _: AS_IS


# Canonical part (without "decoder." and the layer) -> what it is called below the layer, or below the root.
PartNames = dict[str, str | tuple[str, ...] | Fused]


@dataclass(frozen=True, slots=True)
class WindowRule:
    """Which layers have an attention window.

    `flag` names the setting that turns windows on (default: off), "" if `sliding_window` alone does. `layers` returns
    the layers that have one unless `layer_types` lists them; with `ignores_types`, nothing else than its answer counts,
    and a list that differs is refused.
    """

    layers: Callable[[HuggingFaceSettings, int], tuple[int, ...]]
    flag: str = ""
    ignores_types: bool = False


@dataclass(frozen=True, slots=True)
class ExpertRule:
    """The settings of expert layers.

    `inner` and `shared_inner` are "" if experts are as wide as the feed-forward blocks, and if no expert is shared.
    With `sparse`, some layers have none (`decoder_sparse_step`, `mlp_only_layers`).
    `normalised` names a flag (default: off); "" if weights always add up to 1.
    """

    count: tuple[str, ...]
    arrays: Mapping[str, ExpertArrays]  # "up", "gated", "down"
    inner: str = ""
    shared_inner: str = ""
    sparse: bool = False
    normalised: str = ""


@dataclass(frozen=True, slots=True)
class DecoderFamily:
    """One family of decoder-only checkpoints.

    `network` are values of `spec.Stack` that all its models share; `flags` and `numbers` map others to the name of a
    setting and its default. `scores` does the same for `spec.Transformer`. `defaults` are settings that files may leave
    out.
    """

    title: str
    parts: PartNames
    network: dict[str, Any]
    names: SettingNames = SettingNames()
    roots: tuple[str, ...] = ("model.",)  # what comes before all names but the head's; the first that occurs, or ""
    layers: str = "layers"
    head: tuple[str, ...] = ("lm_head",)
    head_bias: bool = False
    activation: str = "silu"  # the default
    legacy_gelu: bool = False  # "gelu" means the tanh approximation
    flags: dict[str, tuple[str, bool]] = field(default_factory=dict)
    numbers: dict[str, tuple[str, float]] = field(default_factory=dict)
    scores: dict[str, tuple[str, float]] = field(default_factory=dict)
    logit_divisor: str = ""  # the setting that scores over the vocabulary are divided by (Granite)
    scale_setting: str = ""  # the setting whose root divides attention scores, instead of the head size (Gemma)
    embedding_by_width: bool = False  # embeddings are multiplied by the root of their width (Gemma)
    rotary: RotaryRule | None = PLAIN_ROTARY
    windows: WindowRule | None = None
    experts: ExpertRule | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    special: Callable[[HuggingFaceSettings, Fields], Fields] | None = None
    norm_change: ArrayTransform = AS_IS  # of the scale of every normalisation
    changes: Mapping[str, ArrayTransform] = field(default_factory=dict)  # of other arrays, by part
    within: str = ""  # the setting that contains those of the decoder (the text part of Gemma 3)
    also: tuple[str, ...] = ()  # for the documentation: what `special` reads
    ignorable: tuple[str, ...] = ()  # further patterns of arrays that need not be read
