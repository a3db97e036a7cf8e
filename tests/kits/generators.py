"""Tiny random text-generation checkpoints, with freshly trained tokenizers."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

LINES = (
    "the cat sat on the mat and looked at the dog",
    "stocks rallied and the british pound gained against the dollar",
    "revenue rose 4.2% to $1,300 million",
    "naïve café, Straße, Ελληνικά, 東京, 🙂",
    "translate english to german: how are you today?",
)
_SIZES = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
_HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16, "max_position_embeddings": 64}


def unigram_tokenizer(directory: Path, model_max_length: int) -> int:
    """Write a sentencepiece-like tokenizer: <pad> 0, </s> 1 after each text; return its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [f"\u2581{word}" for line in LINES for word in line.split()]
    counts = Counter(word[at : at + size] for word in words for size in (1, 2, 3) for at in range(len(word) - size + 1))
    pieces = sorted(counts, key=lambda piece: (len(piece) > 1, -counts[piece], piece))[:117]
    scored = [(piece, math.log(counts[piece] / counts.total())) for piece in pieces]
    # Not the library's trainer: its pieces depend on the order of a hash table.
    tokenizer = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *scored], unk_id=2))
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=model_max_length,
    ).save_pretrained(directory)
    return tokenizer.get_vocab_size()


def bytes_tokenizer(directory: Path) -> int:
    """Write a tokenizer like GPT-2's, whose tokens are bytes; <|endoftext|> is its last id; return its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES * 5, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(directory)
    return tokenizer.get_vocab_size()


def byte_fallback_tokenizer(directory: Path) -> int:
    """Write a tokenizer like Llama's: <s> 1 before each text, </s> 2, <turn> 3, and a token for every byte, of which
    characters without a token are made; return its size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [f"\u2581{word}" for line in LINES for word in line.split() if word.isascii()]
    tokens = ["<unk>", "<s>", "</s>", "<turn>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += sorted({letter for word in words for letter in word})
    merges: list[tuple[str, str]] = []
    for word in words:
        for at in range(1, len(word)):
            if word[: at + 1] not in tokens:
                tokens.append(word[: at + 1])
                merges.append((word[:at], word[at]))
    vocabulary = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_tokens([AddedToken("<turn>", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=10**30
    )
    fast.save_pretrained(directory)
    return tokenizer.get_vocab_size()


def first_seen(text: str, after: int) -> str:
    """Return three characters of a text that stand nowhere before, at place `after` or later."""
    return next(text[at : at + 3] for at in range(after, len(text) - 2) if text.index(text[at : at + 3]) == at)


def write_generator(directory: Path, family: str, **changes: Any) -> Path:
    """Write a random checkpoint with its tokenizer into `directory`; `changes` are values for config.json."""
    import torch
    import transformers as hf

    torch.manual_seed(3)
    directory.mkdir(parents=True, exist_ok=True)
    if family == "gpt2":
        size = bytes_tokenizer(directory)
        end = {"bos_token_id": size - 1, "eos_token_id": size - 1}
        settings = {"vocab_size": size, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 96, **end}
        model = hf.GPT2LMHeadModel(hf.GPT2Config(**settings | changes))
    elif family == "llama":
        size = byte_fallback_tokenizer(directory)
        ids = {"bos_token_id": 1, "eos_token_id": [2, 7]}
        settings = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        settings |= {"vocab_size": size, "num_key_value_heads": 2, "max_position_embeddings": 96, **ids}
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**settings | changes))
    elif family in ("t5", "umt5"):
        size = unigram_tokenizer(directory, model_max_length=48)
        settings = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
        network, config = {
            "t5": (hf.T5ForConditionalGeneration, hf.T5Config),
            "umt5": (hf.UMT5ForConditionalGeneration, hf.UMT5Config),
        }[family]
        model = network(config(vocab_size=size, **settings | changes))
    else:
        size = unigram_tokenizer(directory, model_max_length=48)
        ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, "decoder_start_token_id": 0}
        config = {"marian": hf.MarianConfig, "bart": hf.BartConfig}[family]
        network = {"marian": hf.MarianMTModel, "bart": hf.BartForConditionalGeneration}[family]
        extra = {"forced_eos_token_id": None, "scale_embedding": family == "marian"}
        model = network(config(vocab_size=size, **_SIZES, **_HEADS, **ids, **extra | changes))
    model.eval()
    with torch.no_grad():  # weights larger than a random start's give texts of many tokens and visible differences
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and parameter.requires_grad and ("relative" not in name or family == "umt5"):
                parameter.normal_(0, 0.4)
    model.save_pretrained(directory)
    return directory
