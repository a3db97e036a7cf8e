"""Tiny tokenizers of the kinds that today's families have, written by hand: their vocabularies consist of bytes and a
few words, so that random ids decode to every kind of text, whole characters and parts of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

WORDS: Final = ("the", "cat", "東京", "é", "🙂", "naïve", "\n", "  ", ".", "n't", "\N{REPLACEMENT CHARACTER}")
_BLANK: Final = "▁"


def _sentencepiece(decoders: list[Any]) -> Any:
    """Return a BPE with byte fallback, as sentencepiece makes it."""
    from tokenizers import AddedToken, Tokenizer, models
    from tokenizers import decoders as made

    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), _BLANK, _BLANK * 3]
    words += [f"{_BLANK}{word}" for word in WORDS if word.strip()] + [word for word in WORDS if word.strip()]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.decoder = made.Sequence(decoders)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "[TOOL_CALLS]"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("  tab ", normalized=False)])
    return tokenizer


def llama() -> Any:
    """Llama 1 and 2, Mistral, Phi-3: the space before the first word is removed."""
    from tokenizers import decoders as made

    return _sentencepiece([made.Replace(_BLANK, " "), made.ByteFallback(), made.Fuse(), made.Strip(" ", 1, 0)])


def gemma() -> Any:
    """Gemma: the same without removing a space."""
    from tokenizers import decoders as made

    return _sentencepiece([made.Replace(_BLANK, " "), made.ByteFallback(), made.Fuse()])


def metaspace() -> Any:
    """T5, NLLB and others with a Metaspace decoder."""
    from tokenizers import decoders as made

    return _sentencepiece([made.ByteFallback(), made.Metaspace()])


def _bytes(*, end: str, first: bool) -> Any:
    """Return a byte-level BPE whose special tokens come first or last."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from tokenizers import decoders as made

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    whole = [_byte_letters(word) for word in (*WORDS, *(f" {word}" for word in WORDS))]
    halves = [_byte_letters(word, 0, -1) for word in WORDS if len(word.encode()) > len(word)]
    words = [*([end] if first else []), *letters, *whole, *halves]
    tokenizer = Tokenizer(models.BPE({word: place for place, word in enumerate(dict.fromkeys(words))}, []))
    tokenizer.decoder = made.ByteLevel()
    tokenizer.add_special_tokens([end, "<|im_start|>", "<|python_tag|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False)])
    return tokenizer


def _byte_letters(word: str, start: int = 0, stop: int | None = None) -> str:
    """Return bytes of a word in the letters of a byte-level vocabulary."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return "".join(letters[byte] for byte in word.encode()[start:stop])


def qwen() -> Any:
    """Qwen, Llama 3, StarCoder2, SmolLM, GPT-NeoX and Pythia: special tokens after all others."""
    return _bytes(end="<|endoftext|>", first=False)


def opt() -> Any:
    """OPT, BLOOM and Falcon: special tokens before all others."""
    return _bytes(end="</s>", first=True)


KINDS: Final[dict[str, Callable[[], Any]]] = {
    "llama": llama,
    "gemma": gemma,
    "metaspace": metaspace,
    "qwen": qwen,
    "opt": opt,
}
