"""Every key of tokenizer_config.json that transformers knows, and how it is handled.

Most keys shape tokenizer.json, which transformers creates from them before it is copied; the copy is then compared with
the original. The report notes keys that are not honoured and unknown ones. Reads only JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.convert.directory import read_json_object

# Read by the conversion: lengths, sides, cleaning up of spaces, languages.
HONOURED: Final = frozenset(
    (
        "model_max_length", "max_len", "truncation_side", "clean_up_tokenization_spaces",
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", "src_lang", "tgt_lang",
    )
)  # fmt: skip
# Contained in the tokenizer that transformers opens and the conversion copies, or only about files and Python.
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
# Not done by the served tokenizer, with the reason.
NOT_HONOURED: Final = {
    "chat_template": "the model reads the text exactly as the request sends it",
    "response_template": "a response contains only the generated text",
    "chat_control_tokens": "the model reads the text exactly as the request sends it",
    "split_special_tokens": "special tokens in a text are read as special tokens",
}
_TEMPLATE: Final = "chat_template.jinja"


def tokenizer_notes(directory: Path, *, chats: bool = False) -> Iterator[str]:
    """Yield how the served tokenizer differs from transformers, and every unknown key; with `chats`, the chat templates
    are served."""
    not_honoured = {key: why for key, why in NOT_HONOURED.items() if not (chats and key == "chat_template")}
    path = directory / "tokenizer_config.json"
    values = read_json_object(path) if path.is_file() else {}
    for key, value in values.items():
        if key in not_honoured and value not in (None, False, [], ""):
            yield f"tokenizer_config.json sets {key}, which is not supported: {not_honoured[key]}"
        elif not (key in NOT_HONOURED or key in HONOURED or key in HARMLESS or key.endswith("_token")):
            yield f"tokenizer_config.json sets {key} to {value!r}, which is not a known setting and is ignored"
    if not chats and (directory / _TEMPLATE).is_file():
        yield f"{_TEMPLATE} is not supported: {NOT_HONOURED['chat_template']}"
