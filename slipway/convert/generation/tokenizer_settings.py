"""tokenizer_config.json as a closed world: what the served tokenizer takes from it, and what it lacks, as notes.

Most keys shape tokenizer.json, which transformers has made by them before it is copied, and the copy is compared with
it. Reads JSON alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.convert.directory import read_json_object

# Read by the conversion: lengths, sides, text that is cleaned up, languages.
HONOURED: Final = frozenset(
    (
        "model_max_length", "max_len", "truncation_side", "clean_up_tokenization_spaces",
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", "src_lang", "tgt_lang",
    )
)  # fmt: skip
# Part of the tokenizer that transformers opens, which is what is copied, or about files and Python alone.
HARMLESS: Final = frozenset(
    (
        "tokenizer_class", "backend", "processor_class", "name_or_path", "vocab_file", "merges_file", "tokenizer_file",
        "spm_file", "sp_model_kwargs", "special_tokens_map_file", "files_loaded", "auto_map", "model_input_names",
        "added_tokens_decoder", "extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens",
        "extra_ids", "add_prefix_space", "add_bos_token", "add_eos_token", "trim_offsets", "errors", "legacy",
        "legacy_behaviour", "do_lower_case", "keep_accents", "remove_space", "use_fast", "unk_id", "is_local",
        "local_files_only", "separate_vocabs", "source_lang", "target_lang", "language_codes", "num_madeup_words",
        "padding_side", "pad_token_type_id", "tokenize_chinese_chars", "strip_accents", "do_basic_tokenize",
        "never_split", "fix_mistral_regex", "verbose", "response_schema", "transformers_version", "padding", "stride",
        "truncation", "truncation_strategy", "max_length", "pad_to_multiple_of", "device_map", "normalizer",
        "special_tokens", "full_tokenizer_file", "metaspace_prepend_scheme", "spaces_between_special_tokens",
    )
)  # fmt: skip
# ... and what the served tokenizer does not do, with the reason.
NOT_HONOURED: Final = {
    "chat_template": "a request brings its text as the model is to read it",
    "response_template": "an answer is the text alone",
    "chat_control_tokens": "a request brings its text as the model is to read it",
    "split_special_tokens": "special tokens in a text are read as such",
}
_TEMPLATE: Final = "chat_template.jinja"


def tokenizer_notes(directory: Path) -> Iterator[str]:
    """Yield what the served tokenizer does unlike transformers, and every key that is not known."""
    path = directory / "tokenizer_config.json"
    values = read_json_object(path) if path.is_file() else {}
    for key, value in values.items():
        if key in NOT_HONOURED and value not in (None, False, [], ""):
            yield f"tokenizer_config.json sets {key}, which is not supported: {NOT_HONOURED[key]}"
        elif not (key in NOT_HONOURED or key in HONOURED or key in HARMLESS or key.endswith("_token")):
            yield f"tokenizer_config.json sets {key} to {value!r}, which is not a known setting and is ignored"
    if (directory / _TEMPLATE).is_file():
        yield f"{_TEMPLATE} is not supported: {NOT_HONOURED['chat_template']}"
