"""Tiny random checkpoints in the layouts that `slipway convert` reads."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = (
    "the a cat dog sat on mat . , stocks rallied and british pound gained quarterly report revenue rose but fell naive "
    "cafe hi word ##s ##ed ##ing tabs lines analysts had expected opposite $ % 4 2 1 300 million margins : ;"
).split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
LENGTH = 40
TOKEN_TYPES = ("albert", "bert", "electra", "nomic_bert")  # families whose tokenizers distinguish both texts
_TO_TEXT = {
    "d_model": 32,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
    "decoder_start_token_id": 3,
}
LOUDNESS = {"mobilebert": 0.1}  # it has no norms that would bound its activations
_T5 = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8, "decoder_start_token_id": 0}
# The size settings of families that do not use BERT's names, and other settings that keep a model tiny.
FAMILY_SIZES = {
    "albert": {**SIZES, "embedding_size": 32},
    "bart": _TO_TEXT,
    "big_bird": {**SIZES, "block_size": 4, "num_random_blocks": 1, "sep_token_id": 3},
    "deberta": {**SIZES, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {**SIZES, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "electra": {**SIZES, "embedding_size": 32},
    "eurobert": {**SIZES, "mask_token_id": 4},
    "fnet": {name: size for name, size in SIZES.items() if name != "num_attention_heads"},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64},
    "longformer": {**SIZES, "attention_window": [4, 8], "sep_token_id": 3},
    "mbart": _TO_TEXT,
    "mobilebert": {
        **SIZES,
        **dict.fromkeys(("embedding_size", "intra_bottleneck_size", "true_hidden_size"), 32),
        "num_feedforward_networks": 2,
    },
    "mt5": _T5,
    "squeezebert": {**SIZES, "embedding_size": 32},
    "t5": _T5,
    "umt5": _T5,
}

# One checkpoint for each task: its head, its configured labels, other changes.
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
MOODS = {0: "positive", 1: "negative", 2: "neutral"}
HEADS = {
    "moods": ("ForSequenceClassification", MOODS, {}),
    "topics": ("ForSequenceClassification", MOODS, {"problem_type": "multi_label_classification"}),
    "entities": ("ForTokenClassification", TAGS, {}),
    "answers": ("ForQuestionAnswering", {}, {}),
    "masks": ("ForMaskedLM", {}, {}),
    "ranks": ("ForSequenceClassification", {0: "LABEL_0"}, {}),
    "grades": ("ForSequenceClassification", MOODS, {"problem_type": "regression"}),
    "zero": ("ForSequenceClassification", NLI, {}),
}


def write_tokenizer(directory: Path, *, token_types: bool = True, separators: int = 2) -> int:
    """Write a BERT tokenizer over `WORDS` and return its vocabulary size; RoBERTa has 3 `separators` around a pair."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    between = " ".join(["[SEP]"] * (separators - 1))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A {between} $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=LENGTH,
        model_input_names=["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"],
    )
    fast.save_pretrained(directory)
    return len(vocabulary)


def write_checkpoint(directory: Path, model_type: str = "bert", head: str = "Model", **changes: object) -> Path:
    """Write a random checkpoint of `model_type` with its tokenizer; `changes` are values for config.json."""
    import torch
    import transformers

    torch.manual_seed(7)
    directory.mkdir(parents=True, exist_ok=True)
    config = transformers.CONFIG_MAPPING[model_type](
        **{
            "vocab_size": write_tokenizer(
                directory, token_types=model_type in TOKEN_TYPES, separators=3 if model_type == "longformer" else 2
            ),
            "max_position_embeddings": LENGTH + 1,  # families that count positions from the padding id need one more
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            **FAMILY_SIZES.get(model_type, SIZES),
            **changes,
        }
    )
    own = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
    if head == "Model" and model_type in own:
        model = getattr(transformers, own[model_type])(config).eval()
    else:
        kind = f"Auto{head}" if head == "Model" else f"AutoModel{head}"
        if (model_type, head) == ("layoutlm", "ForQuestionAnswering"):
            kind = "AutoModelForDocumentQuestionAnswering"
        model = getattr(transformers, kind).from_config(config).eval()
    # Random initialisation leaves tiny differences between tokens; larger weights make mistakes visible.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, LOUDNESS.get(model_type, 0.3))
    model.save_pretrained(directory)
    return directory


def add_sentence_transformers(directory: Path, mode: str = "mean", *, normalise: bool = True) -> Path:
    """Turn an encoder's directory into a sentence-transformers directory."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalise else [])]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    keys = {"cls": "pooling_mode_cls_token"}
    pooling = {"word_embedding_dimension": 32, keys.get(mode, f"pooling_mode_{mode}_tokens"): True}
    if mode == "mean_sqrt_len_tokens":
        pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_sqrt_len_tokens": True}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
    return directory
