"""The hyper-parameters of a tensor2tensor Transformer: named sets, overrides on a command line, hparams.json.

The names are tensor2tensor's own (`layers/common_hparams.py`, `models/transformer.py`). The defaults are those of
`transformer_base`. A field is either honoured, has one value that can be computed here (`hparam_limits`), or changes
nothing in a Transformer (`WITHOUT_EFFECT`). This module knows neither arrays nor training.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Final

from slipway.checkpoints.tensor2tensor.hparam_sets import FOR_TPU, MOST_TOKENS_OF_TPU, SETS
from slipway.errors import invalid, shown
from slipway.foreign_json import parse_foreign

LARGEST_FLOAT: Final = 1 << 1023  # larger whole numbers are not floats
_LOG: Final = logging.getLogger("slipway.checkpoints")

# Fields that tensor2tensor writes and that change nothing here: devices, summaries, layers that no Transformer of the
# supported kinds has, and the length of queues. They are read past, and named when somebody sets them.
WITHOUT_EFFECT: Final = frozenset(
    "kernel_height kernel_width dropout summarize_grads summarize_vars optimizer_momentum_momentum "
    "optimizer_momentum_nesterov optimizer_zero_grads batch_shuffle_size learning_rate_cosine_cycle_steps "
    "learning_rate_boundaries learning_rate_multiples sampling_method sampling_temp sampling_keep_top_k "
    "factored_logits moe_hidden_sizes moe_num_experts moe_k moe_loss_coef moe_overhead_train moe_overhead_eval "
    "eval_drop_long_sequences scheduled_sampling_warmup_steps scheduled_sampling_gold_mixin_prob "
    "scheduled_sampling_num_passes scheduled_sampling_method daisy_chain_variables force_full_predict "
    "no_data_parallelism parameter_attention_key_channels parameter_attention_value_channels use_pad_remover "
    "conv_first_kernel gumbel_noise_weight overload_eval_metric_name mlperf_mode vocab_divisor".split()
)


@dataclass(frozen=True, slots=True)
class HParams:
    """One set of hyper-parameters, under tensor2tensor's names. `ignored` holds the keys that were given but have no
    effect."""

    # The network
    hidden_size: int = 512
    filter_size: int = 2048
    num_hidden_layers: int = 6
    num_encoder_layers: int = 0  # 0: num_hidden_layers
    num_decoder_layers: int = 0
    num_heads: int = 8
    attention_key_channels: int = 0  # 0: hidden_size
    attention_value_channels: int = 0
    layer_preprocess_sequence: str = "n"
    layer_postprocess_sequence: str = "da"
    norm_type: str = "layer"
    norm_epsilon: float = 1e-6
    pos: str | None = "timing"
    position_start_index: str | None = None
    ffn_layer: str = "dense_relu_dense"
    self_attention_type: str = "dot_product"
    max_relative_position: int = 0
    shared_embedding_and_softmax_weights: bool = True
    symbol_modality_num_shards: int = 16
    symbol_modality_skip_top: bool = False
    multiply_embedding_mode: str = "sqrt_depth"
    use_target_space_embedding: bool = True
    nbr_decoder_problems: int = 1
    proximity_bias: bool = False
    causal_decoder_self_attention: bool = True
    unidirectional_encoder: bool = False
    attention_variables_3d: bool = False
    hard_attention_k: int = 0
    compress_steps: int = 0
    prepend_mode: str = "none"
    input_modalities: str = "default"
    target_modality: str = "default"
    # Regularisation
    layer_prepostprocess_dropout: float = 0.1
    attention_dropout: float = 0.1
    relu_dropout: float = 0.1
    layer_prepostprocess_dropout_broadcast_dims: str = ""
    attention_dropout_broadcast_dims: str = ""
    relu_dropout_broadcast_dims: str = ""
    symbol_dropout: float = 0.0
    label_smoothing: float = 0.1
    weight_decay: float = 0.0
    weight_noise: float = 0.0
    grad_noise_scale: float = 0.0
    clip_grad_norm: float = 0.0  # 0: no clipping
    initializer: str = "uniform_unit_scaling"
    initializer_gain: float = 1.0
    scheduled_sampling_prob: float = 0.0
    num_sampled_classes: int = 0
    # The optimiser
    optimizer: str = "adam"
    optimizer_adam_beta1: float = 0.9
    optimizer_adam_beta2: float = 0.997
    optimizer_adam_epsilon: float = 1e-9
    optimizer_adafactor_beta1: float = 0.0
    optimizer_adafactor_beta2: float = 0.999
    optimizer_adafactor_factored: bool = True
    optimizer_adafactor_decay_type: str = "pow"
    optimizer_adafactor_memory_exponent: float = 0.8
    optimizer_adafactor_clipping_threshold: float = 1.0
    optimizer_adafactor_multiply_by_parameter_scale: bool = True
    optimizer_multistep_accumulate_steps: int = 0  # batches per update; 0 is 1
    learning_rate_schedule: str = "constant*linear_warmup*rsqrt_decay*rsqrt_hidden_size"
    learning_rate_constant: float = 2.0
    learning_rate: float = 0.2  # of the legacy schedules
    learning_rate_decay_scheme: str = "noam"  # of the legacy schedules
    learning_rate_warmup_steps: int = 8000
    learning_rate_decay_steps: int = 5000
    learning_rate_decay_rate: float = 1.0
    learning_rate_decay_staircase: bool = False
    learning_rate_minimum: float | None = None
    # Batches
    batch_size: int = 4096  # tokens with padding; sequences if use_fixed_batch_size
    use_fixed_batch_size: bool = False
    max_length: int = 256  # longer pairs are left out of training; 0: batch_size
    min_length: int = 0
    max_input_seq_length: int = 0  # longer sequences are cut; 0: not
    max_target_seq_length: int = 0
    min_length_bucket: int = 8
    length_bucket_step: float = 1.1
    split_to_length: int = 0
    eval_run_autoregressive: bool = False
    activation_dtype: str = "float32"
    weight_dtype: str = "float32"
    ignored: tuple[str, ...] = field(default=(), compare=False)

    @property
    def encoder_layers(self) -> int:
        """The number of encoder layers."""
        return self.num_encoder_layers or self.num_hidden_layers

    @property
    def decoder_layers(self) -> int:
        """The number of decoder layers."""
        return self.num_decoder_layers or self.num_hidden_layers

    @property
    def pre_norm(self) -> bool:
        """Whether a block normalises its input ("n") instead of its output ("dan")."""
        return "n" in self.layer_preprocess_sequence.replace("none", "")


_TYPES: Final = {each.name: str(each.type) for each in fields(HParams) if each.name != "ignored"}
_TRUTH: Final = {"true": True, "1": True, "t": True, "yes": True, "false": False, "0": False, "f": False, "no": False}
_SEPARATOR: Final = re.compile(r",(?=\s*(?:[a-z_]|$))")  # not a comma within a value such as "0,1"


def named_hparams(name: str) -> HParams:
    """Return the set called `name`.

    "NAME=True" also names it, with a warning. Raise INVALID_ARG with the nearest names if there is no such set.
    """
    word, sign, value = (part.strip() for part in name.partition("="))
    if sign and value.lower() in ("true", "1"):
        _LOG.warning("--hparams_set=%s: the name of the set is '%s'; '=%s' is ignored", shown(name), shown(word), value)
    elif sign:
        raise invalid(f"--hparams_set={shown(name)}: expected the name of a set; values belong in --hparams")
    if word not in SETS:
        near = nearest_text(word, SETS) or f": the sets are {', '.join(SETS)}"
        raise invalid(f"hyper-parameter set '{shown(word)}' is unknown{near}")
    return _made(word)


def override(hparams: HParams, text: str) -> HParams:
    """Return `hparams` with the values of "a=1,b=2" (`--hparams`); raise INVALID_ARG naming every unknown name, with
    the nearest known one, and every value of the wrong type."""
    given: dict[str, Any] = {}
    problems, ignored = [], list(hparams.ignored)
    for part in filter(None, (each.strip() for each in _SEPARATOR.split(text))):
        name, sign, value = (each.strip() for each in part.partition("="))
        if name in WITHOUT_EFFECT:
            ignored.append(name)
        elif name not in _TYPES:
            problems.append(f"hyper-parameter '{shown(name)}' is unknown{_nearest(name)}")
        elif not sign:
            problems.append(f"hyper-parameter '{name}' has no value: expected {name}=VALUE")
        else:
            try:
                given[name] = _PARSERS[_TYPES[name]](value)
            except ValueError:
                problems.append(f"hyper-parameter '{name}' is '{shown(value)}', expected {_NAMES[_TYPES[name]]}")
    if problems:
        raise invalid("; ".join(problems))
    _warn_of(ignored[len(hparams.ignored) :], "--hparams")
    return replace(hparams, **given, ignored=tuple(ignored))


def to_json(hparams: HParams) -> str:
    """Return the text of hparams.json: one object with every field, sorted by name."""
    return json.dumps({name: getattr(hparams, name) for name in sorted(_TYPES)})


def from_json(text: str | bytes, source: str = "hparams.json") -> HParams:
    """Return the hyper-parameters of an hparams.json that tensor2tensor or this package wrote.

    Absent fields keep the defaults of `transformer_base`. Keys that neither know are named in a warning and in
    `ignored`. Raise INVALID_ARG if the text is not a JSON object, or naming every value of the wrong type.
    """
    values = parse_foreign(text, f"{source}: not valid JSON")
    if not isinstance(values, dict):
        raise invalid(f"{source}: expected a JSON object")
    known = {name: value for name, value in values.items() if name in _TYPES}
    problems = [
        f"'{name}' is {shown(json.dumps(value))}, expected {_NAMES[_TYPES[name]]}"
        for name, value in known.items()
        if not _fits(value, _TYPES[name])
    ]
    if problems:
        raise invalid(f"{source}: {'; '.join(problems)}")
    ignored = sorted(shown(name) for name in values.keys() - _TYPES.keys() - WITHOUT_EFFECT)
    _warn_of(ignored, source)
    whole = {name for name, value in known.items() if _TYPES[name].startswith("float") and value is not None}
    known |= {name: float(known[name]) for name in whole}  # JSON writes 1.0 as 1 in some languages
    return replace(HParams(), **known, ignored=tuple(ignored))


def nearest_text(name: str, known: Iterable[str]) -> str:
    """Return ": did you mean ...?" with up to three of the `known` names, "" if none is near."""
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f": did you mean {' or '.join(repr(each) for each in near)}?" if near else ""


def _made(name: str) -> HParams:
    row = SETS[name]
    hparams = replace(_made(row.base) if row.base else HParams(), **row.changes)
    if not row.tpu:
        return hparams
    return replace(hparams, **FOR_TPU, batch_size=min(hparams.batch_size, MOST_TOKENS_OF_TPU))


def _nearest(name: str) -> str:
    return nearest_text(name, [*_TYPES, *WITHOUT_EFFECT])


def _warn_of(names: Iterable[str], source: str) -> None:
    if text := ", ".join(names):
        _LOG.warning("%s: ignored, without effect here: %s", source, text)


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise ValueError(text)
    return _TRUTH[text.lower()]


def _text_or_none(text: str) -> str | None:
    return None if text == "None" else text


def _number_or_none(text: str) -> float | None:
    return None if text == "None" else float(text)


def _fits(value: Any, kind: str) -> bool:
    """Return whether a JSON value is of the type `kind`."""
    if value is None:
        return kind.endswith("None")
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int)
    if kind.startswith("float"):
        return isinstance(value, float) or (isinstance(value, int) and abs(value) <= LARGEST_FLOAT)
    return isinstance(value, str)


_PARSERS: Final[Mapping[str, Callable[[str], bool | int | float | str | None]]] = {
    "bool": _truth,
    "int": int,
    "float": float,
    "str": str,
    "str | None": _text_or_none,
    "float | None": _number_or_none,
}
_NAMES: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "str | None": "a text or None",
    "float | None": "a number or None",
}
