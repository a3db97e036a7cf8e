"""Which values of the hyper-parameters can be computed here: a table, and an error that names every other value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from math import inf
from typing import Any, Final

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.errors import SlipwayError, unsupported

_POSITIVE: Final = "hidden_size filter_size num_hidden_layers num_heads symbol_modality_num_shards batch_size".split()
_NETWORK: Final[Mapping[str, tuple[Any, ...]]] = {
    "norm_type": ("layer",),
    "pos": ("timing",),
    "position_start_index": (None,),
    "ffn_layer": ("dense_relu_dense", "conv_hidden_relu"),  # both are two dense layers, the second name is the older
    "self_attention_type": ("dot_product",),
    "max_relative_position": (0,),
    "symbol_modality_skip_top": (False,),
    "multiply_embedding_mode": ("sqrt_depth",),
    "nbr_decoder_problems": (1,),
    "proximity_bias": (False,),
    "causal_decoder_self_attention": (True,),
    "unidirectional_encoder": (False,),
    "attention_variables_3d": (False,),
    "hard_attention_k": (0,),
    "compress_steps": (0,),
    "prepend_mode": ("none",),
    "input_modalities": ("default", ""),
    "target_modality": ("default", ""),
}
_TRAINING: Final[Mapping[str, tuple[Any, ...]]] = {
    "symbol_dropout": (0.0,),
    "weight_noise": (0.0,),
    "grad_noise_scale": (0.0,),
    "initializer": ("uniform_unit_scaling",),
    "scheduled_sampling_prob": (0.0,),
    "num_sampled_classes": (0,),
    "optimizer_adafactor_decay_type": ("pow", "adam"),
    "learning_rate_minimum": (None,),
    "split_to_length": (0,),
    "eval_run_autoregressive": (False,),
    "activation_dtype": ("float32", "bfloat16"),
    "weight_dtype": ("float32",),
}
_ORDERS: Final = (("n", "da"), ("none", "dan"), ("", "dan"))
_DIMENSIONS: Final = re.compile(r"(?:[0-3](?:,[0-3])*)?")
_SHARES: Final = frozenset(  # from 0 to less than 1, as every dropout
    "label_smoothing optimizer_adam_beta1 optimizer_adam_beta2 optimizer_adafactor_beta1 "
    "optimizer_adafactor_beta2".split()
)
_OPTIMISERS: Final = ("adam", "true_adam", "multistep_adam", "adafactor")


def check_network(hparams: HParams) -> None:
    """Raise UNSUPPORTED naming every hyper-parameter that describes a network which cannot be computed here."""
    problems = _others(hparams, _NETWORK)
    order = hparams.layer_preprocess_sequence, hparams.layer_postprocess_sequence
    if order not in _ORDERS:
        problems.append(
            f"layer_preprocess_sequence and layer_postprocess_sequence are {order}, expected one of {_ORDERS}"
        )
    for name in ("attention_key_channels", "attention_value_channels"):
        if getattr(hparams, name) not in (0, hparams.hidden_size):
            problems.append(
                f"{name} is {getattr(hparams, name)}, expected 0 or hidden_size ({hparams.hidden_size}): narrower "
                "keys or values are not supported"
            )
    problems += [f"{name} is {getattr(hparams, name)}, expected 1 or more" for name in _POSITIVE
                 if getattr(hparams, name) < 1]  # fmt: skip
    if hparams.hidden_size % 2 or (hparams.num_heads > 0 and hparams.hidden_size % hparams.num_heads):
        problems.append(
            f"hidden_size is {hparams.hidden_size}, expected an even multiple of num_heads ({hparams.num_heads})"
        )
    if not 0 <= hparams.norm_epsilon < inf:
        problems.append(f"norm_epsilon is {hparams.norm_epsilon}, expected at least 0 and finite")
    if problems:
        raise _refusal(problems)


def check_training(hparams: HParams) -> None:
    """Raise UNSUPPORTED naming every hyper-parameter that training cannot honour, those of the network included."""
    check_network(hparams)
    problems = _others(hparams, _TRAINING)
    if hparams.optimizer.lower() not in _OPTIMISERS:
        problems.append(f"optimizer is '{hparams.optimizer}', expected one of {', '.join(_OPTIMISERS)}")
    for name, value in ((each.name, getattr(hparams, each.name)) for each in fields(hparams)):
        if name.endswith("_broadcast_dims") and not _DIMENSIONS.fullmatch(value):
            problems.append(f"{name} is '{value}', expected a list such as 0,1")
        elif (name.endswith("dropout") or name in _SHARES) and not 0 <= value < 1:
            problems.append(f"{name} is {value}, expected at least 0 and less than 1")
        elif isinstance(value, int | float) and not 0 <= value < inf:
            finite = " and finite" if isinstance(value, float) else ""
            problems.append(f"{name} is {value}, expected at least 0{finite}")
    if problems:
        raise _refusal(problems)


def _others(hparams: HParams, table: Mapping[str, tuple[Any, ...]]) -> list[str]:
    return [
        f"{name} is {getattr(hparams, name)!r}, expected {' or '.join(map(repr, values))}"
        for name, values in table.items()
        if getattr(hparams, name) not in values
    ]


def _refusal(problems: list[str]) -> SlipwayError:
    return unsupported(f"hyper-parameters that are not supported: {'; '.join(problems)}")
