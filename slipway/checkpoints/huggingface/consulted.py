"""The closed world of a config.json: every setting is consulted by the reader, known to change nothing, or reported.

Knows no architecture: what a family consults is recorded while its settings are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from slipway.errors import invalid, shown, unsupported

_NEAR: Final = 0.9  # of difflib: a letter or two of a long name differ
_LONGEST_NAME: Final = 64

# Settings that change nothing about what a decoder computes: training, transformers' own bookkeeping, token ids, what
# the arrays themselves decide (tied heads, biases), how a library computes the same numbers.
HARMLESS: Final = frozenset(
    {
        "_attn_implementation", "_attn_implementation_autoset", "_from_model_config", "_name_or_path",
        "activation_dropout", "add_cross_attention", "architectures", "attention_bias", "attention_dropout",
        "attention_probs_dropout_prob", "attention_softmax_in_fp32", "attn_implementation", "attn_pdrop", "auto_map",
        "begin_suppress_tokens", "bias_dropout_fusion", "bos_token_id", "cache_implementation",
        "chunk_size_feed_forward", "classifier_dropout", "cross_attention_hidden_size", "dropout", "dtype",
        "embd_pdrop", "embedding_dropout", "eos_token_id", "gradient_checkpointing", "hidden_dropout",
        "hidden_dropout_prob", "id2label", "init_std", "initializer_factor", "initializer_range", "is_decoder",
        "is_encoder_decoder", "is_llama_config", "label2id", "layerdrop", "lm_head_bias", "masked_softmax_fusion",
        "max_window_layers", "mlp_bias", "model_type", "offset_alibi", "original_max_position_embeddings",
        "output_attentions", "output_hidden_states", "output_router_logits", "pad_token_id", "prefix",
        "pretraining_tp", "problem_type", "qkv_bias", "resid_pdrop", "residual_dropout", "return_dict",
        "return_dict_in_generate", "rotary", "router_aux_loss_coef", "router_jitter_noise",
        "scale_attention_softmax_in_fp32", "scale_attn_weights", "sep_token_id", "seq_length", "skip_bias_add",
        "skip_bias_add_qkv", "slow_but_exact", "summary_activation", "summary_first_dropout",
        "summary_proj_to_labels", "summary_type", "summary_use_proj", "task_specific_params", "tie_word_embeddings",
        "tokenizer_class", "torch_dtype", "torchscript", "transformers.js_config", "transformers_version",
        "unk_token_id", "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache",
    }
)  # fmt: skip

# Settings that change what a decoder computes, with the values that do not, for families that do not consult them.
CHANGING: Final[Mapping[str, tuple[Any, ...]]] = {
    "alibi": (False,),
    "apply_residual_connection_post_layernorm": (False,),
    "attn_logit_softcapping": (),
    "clip_qkv": (),
    "compression_config": (),
    "final_logit_softcapping": (),
    "layer_norm_elementwise_affine": (True,),
    "qk_layernorm": (False,),
    "quantization_config": (),
    "rope_interleaved": (False,),
    "rope_parameters": ({},),
    "rope_scaling": ({},),
    "scale_attn_by_inverse_layer_idx": (False,),
    "use_bidirectional_attention": (False,),
    "use_mrope": (False,),
    "use_qk_norm": (False,),
}


class Consulted(Mapping[str, Any]):
    """The settings of a JSON object and the `defaults` of those it does not set; remembers the names looked up."""

    def __init__(self, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
        self.given = given
        self._values = {**(defaults or {}), **given}
        self._names: set[str] = set()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Consulted:
        """Return `settings` as they are if they remember already."""
        return settings if isinstance(settings, cls) else cls(settings)

    def __getitem__(self, name: str) -> Any:
        self._names.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def names(self) -> frozenset[str]:
        """The names that were looked up, whether set or not."""
        return frozenset(self._names)


def ignored_settings(settings: Consulted, source: str) -> tuple[str, ...]:
    """Return the names of the settings that nobody knows, after all others have been consulted.

    Raise UNSUPPORTED for one that would change what the model computes, INVALID_ARG for one whose name is nearly that
    of a setting which the reader looked up in vain.
    """
    known = settings.names
    absent = [name for name in known if name not in settings.given]
    ignored = []
    for name, value in settings.given.items():
        if name in known or name in HARMLESS or value is None:
            continue
        if name in CHANGING:
            if value not in CHANGING[name]:
                text = shown(json.dumps(value))
                raise unsupported(f"{source}: '{name}' is {text}, which is not supported for this model type")
            continue
        near = get_close_matches(name, absent, 1, _NEAR) if len(name) <= _LONGEST_NAME else []
        if near:
            raise invalid(f"{source}: '{shown(name)}' is unknown; did you mean '{near[0]}'?")
        ignored.append(name)
    return tuple(sorted(ignored))


def refuse_unknown(settings: Consulted, source: str) -> None:
    """Raise INVALID_ARG naming every setting that was not looked up, with the nearest name that was."""
    known = settings.names
    unknown = [name for name in settings.given if name not in known]
    if unknown:
        problems = [f"'{shown(name)}' is unknown{_suggestion(name, known)}" for name in unknown[:10]]
        raise invalid(f"{source}: {', '.join(problems)}")


def _suggestion(name: str, known: frozenset[str]) -> str:
    near = get_close_matches(name, sorted(known), 1) if len(name) <= _LONGEST_NAME else []
    return f"; did you mean '{near[0]}'?" if near else f"; expected one of {', '.join(sorted(known))}"
