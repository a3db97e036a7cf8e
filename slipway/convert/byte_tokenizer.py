"""Rebuild ByT5's tokenizer, which transformers implements only in Python, for the `tokenizers` library.

A token is a byte; ids of bytes begin after the special tokens. Like every copy, this one is compared with the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CLASS: Final = "ByT5Tokenizer"
_BYTES: Final = 256


def build_byte_tokenizer(reference: Any) -> Tokenizer:
    """Return a tokenizer with the ids of transformers' ByT5Tokenizer `reference`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    first = int(reference.offset)
    vocabulary = {character: first + byte for byte, character in enumerate(_byte_characters())}
    added = dict(sorted(reference.added_tokens_decoder.items()))
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary | {each.content: index for index, each in added.items()}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(added.values()))
    end = (str(reference.eos_token), int(reference.eos_token_id))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end[0]}", pair=f"$A {end[0]} $B {end[0]}", special_tokens=[end]
    )
    return tokenizer


def _byte_characters() -> list[str]:
    """Return the character for each byte in the vocabularies of byte-level tokenizers (GPT-2's table): printable bytes
    stand for themselves, the others for the next free character from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (byte for byte in range(_BYTES) if byte not in printable)
    replaced = {byte: _BYTES + place for place, byte in enumerate(others)}
    return [chr(replaced.get(byte, byte)) for byte in range(_BYTES)]
