"""The named sets of hyper-parameters: a table of what each one changes in another.

From tensor2tensor's `models/transformer.py`, version 1.15. The ablations change one field of `transformer_base`
(Vaswani et al. 2017, table 3). Data only: `hparams.named_hparams` makes the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class HParamSet:
    """A set: the one that it starts from ("" for the defaults), what it changes, and whether `FOR_TPU`
    follows."""

    base: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    tpu: bool = False


_V1: Final = {
    "layer_preprocess_sequence": "none",
    "layer_postprocess_sequence": "dan",
    "attention_dropout": 0.0,
    "relu_dropout": 0.0,
    "learning_rate_schedule": "legacy",
    "learning_rate_constant": 1.0,
    "learning_rate": 0.1,
    "learning_rate_warmup_steps": 4000,
    "optimizer_adam_beta2": 0.98,
}
_V2: Final = {
    "layer_preprocess_sequence": "n",
    "layer_postprocess_sequence": "da",
    "layer_prepostprocess_dropout": 0.1,
    "attention_dropout": 0.1,
    "relu_dropout": 0.1,
    "learning_rate_warmup_steps": 8000,
    "learning_rate": 0.2,
}
_TINY: Final = {"num_hidden_layers": 2, "hidden_size": 128, "filter_size": 512, "num_heads": 4}
_WIDE: Final = {"hidden_size": 1024, "filter_size": 4096}
_NO_DROPOUT: Final = {"layer_prepostprocess_dropout": 0.0, "attention_dropout": 0.0, "relu_dropout": 0.0}
_RELATIVE: Final = {"pos": None, "self_attention_type": "dot_product_relative", "max_relative_position": 20}
_ABLATIONS: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    "l": ("num_hidden_layers", (2, 4, 8, 10)),
    "h": ("num_heads", (1, 4, 16, 32)),
    "k": ("attention_key_channels", (128, 256)),
    "ff": ("filter_size", (1024, 4096)),
    "hs": ("hidden_size", (256, 1024)),
}

SETS: Final[Mapping[str, HParamSet]] = {
    "transformer_base_v1": HParamSet("", _V1),
    "transformer_base_v2": HParamSet("transformer_base_v1", _V2),
    "transformer_base_v3": HParamSet(""),
    "transformer_base": HParamSet("transformer_base_v3"),
    "transformer_base_single_gpu": HParamSet(
        "transformer_base",
        {
            "batch_size": 1024,
            "learning_rate_schedule": "constant*linear_warmup*rsqrt_decay",
            "learning_rate_constant": 0.1,
            "learning_rate_warmup_steps": 16000,
        },
    ),
    "transformer_base_multistep8": HParamSet(
        "transformer_base", {"optimizer": "multistep_adam", "optimizer_multistep_accumulate_steps": 8}
    ),
    "transformer_big": HParamSet(
        "transformer_base", {**_WIDE, "batch_size": 2048, "num_heads": 16, "layer_prepostprocess_dropout": 0.3}
    ),
    "transformer_big_single_gpu": HParamSet(
        "transformer_big", {"layer_prepostprocess_dropout": 0.1, "learning_rate_warmup_steps": 16000}
    ),
    "transformer_tiny": HParamSet("transformer_base", _TINY),
    "transformer_small": HParamSet(
        "transformer_base", {"num_hidden_layers": 2, "hidden_size": 256, "filter_size": 1024, "num_heads": 4}
    ),
    "transformer_test": HParamSet(
        "transformer_base", {"num_hidden_layers": 2, "hidden_size": 16, "filter_size": 8, "num_heads": 2}
    ),
    "transformer_tpu": HParamSet("transformer_base", tpu=True),
    "transformer_big_tpu": HParamSet("transformer_big", tpu=True),
    "transformer_tiny_tpu": HParamSet("transformer_tiny", tpu=True),
    "transformer_packed_tpu": HParamSet("transformer_base", tpu=True),
    **{
        f"transformer_{letter}{value}": HParamSet("transformer_base", {name: value})
        for letter, (name, values) in _ABLATIONS.items()
        for value in values
    },
    "transformer_dr0": HParamSet("transformer_base", {"layer_prepostprocess_dropout": 0.0}),
    "transformer_dr2": HParamSet("transformer_base", {"layer_prepostprocess_dropout": 0.2}),
    "transformer_ls0": HParamSet("transformer_base", {"label_smoothing": 0.0}),
    "transformer_ls2": HParamSet("transformer_base", {"label_smoothing": 0.2}),
    "transformer_relative": HParamSet("transformer_base", _RELATIVE),
    "transformer_relative_tiny": HParamSet("transformer_relative", _TINY),
    "transformer_relative_big": HParamSet("transformer_big", _RELATIVE),
    "transformer_clean": HParamSet("transformer_base_v2", {**_NO_DROPOUT, "label_smoothing": 0.0, "max_length": 0}),
    "transformer_clean_big": HParamSet("transformer_clean", _WIDE),
}

# tensor2tensor's `update_hparams_for_tpu`: Adafactor, one shard, short sequences, shared dropout masks. A larger batch
# becomes `MOST_TOKENS_OF_TPU`.
FOR_TPU: Final[Mapping[str, Any]] = {
    "optimizer": "adafactor",
    "learning_rate_schedule": "rsqrt_decay",
    "learning_rate_warmup_steps": 10000,
    "symbol_modality_num_shards": 1,
    "max_length": 64,
    "attention_dropout_broadcast_dims": "0,1",  # rows, heads
    "relu_dropout_broadcast_dims": "1",  # positions
    "layer_prepostprocess_dropout_broadcast_dims": "1",
}
MOST_TOKENS_OF_TPU: Final = 2048
