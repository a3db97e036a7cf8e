"""The JSON settings of an encoder's directory as a closed world: the known keys, and a note for every other one.

transformers reads config.json, and its configuration class of the family knows the keys; each other file has a table
here. A key that is not in a table is named in the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import read_json_object
from slipway.errors import invalid

_ANY: Final = object()  # every value is honoured or changes nothing


def _words(text: str) -> dict[str, tuple[Any, ...]]:
    return dict.fromkeys(text.split(), (_ANY,))


# File -> key -> the values that need no note.
_KNOWN: Final[dict[str, Mapping[str, tuple[Any, ...]]]] = {
    "config_sentence_transformers.json": {
        **_words(
            "__version__ activation_fn default_prompt_name model_type prompts similarity_fn_name truncate_dim "
            "keep_in_fp32_modules requirements"
        ),
    },
    "sentence_bert_config.json": {
        **_words("do_lower_case max_seq_length modality_config module_output_name transformer_task unpad_inputs"),
        "document_length": (None,),
        "model_args": ({}, None),
        "model_kwargs": ({}, None),
        "config_args": ({}, None),
        "config_kwargs": ({}, None),
        "processing_kwargs": ({}, None),
        "processor_kwargs": ({}, None),
        "query_expansion": (None,),
        "query_length": (None,),
        "tokenizer_args": ({}, None),
        "tokenizer_name_or_path": (None,),
    },
    "Pooling/config.json": {
        **_words(
            "embedding_dimension word_embedding_dimension include_prompt pooling_mode pooling_mode_cls_token "
            "pooling_mode_max_tokens pooling_mode_mean_tokens pooling_mode_mean_sqrt_len_tokens "
            "pooling_mode_weightedmean_tokens pooling_mode_lasttoken"
        ),
    },
    "Dense/config.json": _words(
        "in_features out_features bias activation_function module_input_name module_output_name use_residual"
    ),
    "LayerNorm/config.json": _words("dimension"),
    "Normalize/config.json": _words("module_input_name module_output_name"),
    # What transformers' tokenizers read shows in the compared ids; the rest concerns decoding, padding and chat.
    "tokenizer_config.json": {
        **_words(
            "add_bos_token add_eos_token add_prefix_space added_tokens_decoder additional_special_tokens "
            "additional_special_tokens_type auto_map "
            "backend bos_token chat_template clean_text clean_up_tokenization_spaces cls_token cls_token_box "
            "cls_token_type do_basic_tokenize do_lower_case do_lowercase_and_remove_accent do_remove_accents eos_token "
            "errors extra_ids "
            "extra_special_tokens from_slow handle_chinese_chars is_local keep_accents keep_newlines lang legacy "
            "local_files_only legacy_behaviour mask_token max_len max_length model_input_names model_max_length "
            "name_or_path never_split offset only_label_first_subword pad_to_multiple_of pad_token pad_token_box "
            "pad_token_label pad_token_type_id padding_side "
            "processor_class remove_space return_token_type_ids sep_token sep_token_box space_token "
            "special_tokens_map_file spaces_between_special_tokens split_by_punct src_lang stride "
            "strip_accents target_lang tgt_lang tokenize_chinese_chars tokenizer_class tokenizer_file "
            "trim_offsets truncation_side unk_token use_default_system_prompt use_fast vocab_file merges_file "
            "vocab_type wordpieces_prefix max_position_embeddings"
        ),
        "sp_model_kwargs": ({}, None),
        "split_special_tokens": (False, None),
        "truncation_strategy": ("longest_first", True, None),
    },
    # From the base class of old transformers versions, or left over from training; none changes an encoder's output.
    "config.json": {
        **_words(
            "_attn_implementation _attn_implementation_autoset _commit_hash backbone backbone_kwargs "
            "use_pretrained_backbone use_timm_backbone _name_or_path _num_labels adapters "
            "add_cross_attention architectures attn_implementation auto_map bad_words_ids bos_token_id "
            "classifier_dropout classifiers_size cross_attention_hidden_size decoder_start_token_id directionality "
            "do_sample down_scale_factor dtype "
            "eos_token_id eos_token_ids exponential_decay_length_penalty finetuning_task forced_bos_token_id "
            "forced_eos_token_id fused_bias_fc gap_size generator_size gradient_checkpointing hidden_dropout id2label "
            "initializer_cutoff_factor inner_group_num is_encoder_decoder label2id language layer_norm_type "
            "length_penalty max_length mem_size min_length mlp_only_dropout model_type n_special_tokens name_or_path "
            "net_structure_type no_repeat_ngram_size num_beam_groups num_beams num_hidden_groups num_labels "
            "num_memory_blocks num_return_sequences oov_token_id output_attentions output_hidden_states output_past "
            "output_scores pad_token_id pooler_dropout pooler_fc_size pooler_hidden_act pooler_hidden_size "
            "pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type prefix problem_type "
            "remove_invalid_values repetition_penalty return_dict return_dict_in_generate "
            "sbert_ce_default_activation_function seq_classif_dropout sentence_transformers sep_token_id "
            "sinusoidal_pos_embds suppress_tokens begin_suppress_tokens task_specific_params temperature "
            "tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p "
            "torch_dtype torchscript transformers_version typical_p use_bfloat16 use_cache vocab_type xla_device "
            "diversity_penalty early_stopping encoder_no_repeat_ngram_size chunk_size_feed_forward"
        ),
        "position_embedding_type": ("absolute", None),
        "pruned_heads": ({}, None),
    },
}


def unread_keys(file: str, settings: Mapping[str, Any], also_known: Iterable[str] = ()) -> list[str]:
    """Return a note for each setting of `file` that is not used and whose value could matter."""
    known = _KNOWN[file]
    read = set(also_known)
    return [
        f"{file} sets '{key}' to {_short(value)}, which is not used"
        for key, value in settings.items()
        if key not in read and not _needs_no_note(value, known.get(key, ()))
    ]


def _needs_no_note(value: Any, quiet: tuple[Any, ...]) -> bool:
    return any(each is _ANY or each == value for each in quiet)


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def refuse_quantised(directory: Path) -> None:
    """Raise `SlipwayError` for weights that are not stored as floats."""
    quantised = read_json_object(directory / "config.json").get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else "unknown"
        raise invalid(
            f"{directory / 'config.json'}: the weights are quantised ({method}); convert the original checkpoint "
            f"with --precision int8"
        )


def config_notes(directory: Path, known: Iterable[str]) -> list[str]:
    """Return the notes on config.json and tokenizer_config.json; `known` are the keys that transformers'
    configuration class of the family reads."""
    notes = unread_keys("config.json", read_json_object(directory / "config.json"), known)
    tokenizer = directory / "tokenizer_config.json"
    return notes + (unread_keys("tokenizer_config.json", read_json_object(tokenizer)) if tokenizer.exists() else [])


def known_keys(config: Any) -> set[str]:
    """Return the keys of config.json that transformers' configuration of a network reads, including aliases."""
    return {*type(config)().to_dict(), *config.attribute_map}
