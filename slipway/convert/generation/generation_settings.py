"""Every key of generation_config.json that transformers 5 knows, and how it is handled.

A key is honoured (it becomes a default of the served model), harmless (it does not affect the generated tokens), or not
honoured. The report notes keys that are not honoured and keys that are in none of the tables. Reads JSON values;
independent of models and engines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.checkpoints.huggingface.settings import HuggingFaceSettings, is_number
from slipway.errors import invalid, shown
from slipway.runtime.arguments import FORCED, NEVER
from slipway.runtime.settings import FIELDS, STOP_STRINGS, read_setting

# Numbers: key of generation_config.json -> the argument whose default it sets.
_NUMBERS: Final = {
    "num_beams": "beam_width",
    "length_penalty": "len_penalty",
    "repetition_penalty": "repetition_penalty",
    "max_new_tokens": "max_output_len",
    "min_new_tokens": "min_length",
    "num_return_sequences": "num_return_sequences",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size": "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty": "encoder_repetition_penalty",
    "min_p": "min_p",
    "top_h": "top_h",
    "typical_p": "typical_p",
    "epsilon_cutoff": "epsilon_cutoff",
    "eta_cutoff": "eta_cutoff",
}
_SAMPLING: Final = {"temperature": "temperature", "top_k": "runtime_top_k", "top_p": "runtime_top_p"}
_FLAGS: Final = ("renormalize_logits", "remove_invalid_values")
_JSON: Final = (*FIELDS, STOP_STRINGS)
# Read elsewhere (ids), or below by their own rules.
_OTHERS: Final = (
    "do_sample",
    "early_stopping",
    "max_length",
    "min_length",
    "forced_bos_token_id",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
)
HONOURED: Final = frozenset((*_NUMBERS, *_SAMPLING, *_FLAGS, *_JSON, *_OTHERS))
# Caches, compilation, additional outputs, and assisted generation, whose guesses the model verifies.
HARMLESS: Final = frozenset(
    (
        "use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size", "low_memory",
        "compile_config", "disable_compile", "continuous_batching_config", "use_mtp", "speculation_type",
        "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
        "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
        "prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind",
        "target_lookbehind", "assistant_ensemble_weight", "transformers_version", "_from_model_config",
        "_commit_hash", "_original_object_hash",
    )
)  # fmt: skip
# Unsupported keys, with the values that have no effect.
NOT_HONOURED: Final[Mapping[str, tuple[Any, ...]]] = {
    "max_time": (),
    "token_healing": (False,),
    "guidance_scale": (1, 1.0),
    "watermarking_config": (),
    "penalty_alpha": (0, 0.0),
    "dola_layers": (),
    "diversity_penalty": (0, 0.0),
    "num_beam_groups": (1,),
    "constraints": (),
    "force_words_ids": (),
}
# The defaults of transformers if config.json does not set the key and generation_config.json is missing.
_FORCED_ENDS: Final = {"bart": 2, "mbart": 2, "marian": 0}
_TOP_K: Final = "50"  # the default in transformers for sampling
_DEFAULT_TOKENS: Final = 128
_THEIR_TOKENS: Final = 20


@dataclass(frozen=True, slots=True)
class Wishes:
    """The decoding settings of a checkpoint: `values` by key, as transformers reads them from `file`."""

    settings: HuggingFaceSettings
    values: Mapping[str, Any]
    file: str

    @classmethod
    def of(cls, settings: HuggingFaceSettings) -> Wishes:
        """Return the settings in generation_config.json, or in config.json, where older checkpoints keep them."""
        if settings.generation:
            return cls(settings, settings.generation, "generation_config.json")
        known = HONOURED | NOT_HONOURED.keys()
        values = {key: value for key, value in settings.config.items() if key in known}
        end = _FORCED_ENDS.get(settings.model_type)
        return cls(settings, ({} if end is None else {"forced_eos_token_id": end}) | values, "config.json")

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled."""
        return self.values.get("do_sample") is True

    def defaults(self, *, continues: bool, rows: int) -> dict[str, str]:
        """Return parameters of the config: the default of each argument, and the settings that hold for every request.

        `continues` says that the model has no encoder; `rows` is its number of positions.
        """
        names = _NUMBERS | (_SAMPLING if self.samples else {})
        found = {name: self._number(key) for key, name in names.items() if self.values.get(key) is not None}
        found |= {key: "1" for key in _FLAGS if self.values.get(key) is True}
        found |= {key: json.dumps(value) for key, value in self._json().items()}
        if self.samples:
            found.setdefault("runtime_top_k", _TOP_K)
            if float(found["runtime_top_k"]) == 0:
                found.setdefault("runtime_top_p", "1")  # from the whole vocabulary
            found.pop("beam_width", None)
        early = self.values.get("early_stopping")
        if early is True or early == NEVER:
            found["early_stopping"] = NEVER if early == NEVER else "1"
        if not continues and self.values.get("forced_bos_token_id") is not None:
            found[FORCED] = self._number("forced_bos_token_id")
        return found | self._lengths(found, continues=continues, rows=rows)

    def notes(self, *, continues: bool) -> Iterator[str]:
        """Yield how the served model differs from transformers."""
        for key, value in self.values.items():
            nothing = NOT_HONOURED.get(key)
            if nothing is not None and value is not None and value not in nothing:
                yield f"{self.file} sets {key} to {value!r}, which is not supported and is ignored"
            elif nothing is None and key not in HONOURED and key not in HARMLESS:
                yield f"{self.file} sets {key} to {value!r}, which is not a known setting and is ignored"
        if self.samples and (self.values.get("num_beams") or 1) > 1:
            yield f"{self.file} combines sampling with beam search; the served model samples without beams"
        if continues and self.values.get("forced_bos_token_id") is not None:
            yield (
                f"{self.file} sets forced_bos_token_id, which transformers applies only to prompts of one token; the "
                "served model ignores it"
            )
        if not self.limited:
            yield (
                f"{self.file} does not set a length: the served model generates up to {_DEFAULT_TOKENS} tokens unless "
                f"a request sets a limit; transformers stops after {_THEIR_TOKENS}"
            )

    @property
    def limited(self) -> bool:
        """Whether the checkpoint itself limits the length."""
        return self.values.get("max_new_tokens") is not None or self.values.get("max_length") is not None

    def _lengths(self, found: Mapping[str, str], *, continues: bool, rows: int) -> dict[str, str]:
        """Return the lengths. New tokens take precedence over totals, which include the prompt or the start token."""
        lengths: dict[str, str] = {}
        names = (("max_length", "max_output_len", "max_length"), ("min_length", "min_length", "min_total_length"))
        for key, new, total in names:
            if not self.values.get(key) or new in found:
                continue
            if continues:
                lengths[total] = str(int(float(self._number(key))))
            else:
                lengths[new] = str(max(0, int(float(self._number(key))) - 1))
        if not {"max_output_len", "max_length"} & (found.keys() | lengths.keys()):
            lengths["max_output_len"] = str(max(1, min(_DEFAULT_TOKENS, rows // 2)))
        return lengths

    def _json(self) -> dict[str, Any]:
        """Return the settings that are not plain numbers; raise INVALID_ARG if one is malformed."""
        found = {key: self.values[key] for key in _JSON if self.values.get(key) not in (None, [], "")}
        for key, value in found.items():
            try:
                read_setting(key, value)
            except (TypeError, ValueError) as error:
                raise invalid(f"{self.settings.path.parent}: '{key}' is {value!r}: {error}") from None
        return found

    def _number(self, key: str) -> str:
        value = self.values[key]
        if not is_number(value):
            raise invalid(f"{self.settings.path.parent}: '{key}' should be a number but is {shown(repr(value))}")
        return f"{value:g}" if isinstance(value, float) else str(value)
