"""Tiny random checkpoints of networks that see images, in the layout of Hugging Face directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZE = 32  # pixels of a classifier's images, both ways
LABELS = {0: "cat", 1: "dog", 2: "a bird", 3: "fish", 4: "ant"}
OBJECTS = {0: "table", 1: "chart", 2: "title"}
_VIT = {
    "image_size": SIZE,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_SWIN = {"image_size": SIZE, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
_CONVNEXT = {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "image_size": SIZE}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
CLASSIFIERS: dict[str, tuple[dict[str, Any], str]] = {
    "beit": (_VIT | {"use_relative_position_bias": True}, "BeitImageProcessor"),
    "convnext": (_CONVNEXT, "ConvNextImageProcessor"),
    "convnextv2": (_CONVNEXT, "ConvNextImageProcessor"),
    "deit": (_VIT | {"architectures": ["DeiTForImageClassification"]}, "DeiTImageProcessor"),
    "resnet": (_RESNET, "ConvNextImageProcessor"),
    "swin": (_SWIN, "ViTImageProcessor"),
    "swinv2": (_SWIN, "ViTImageProcessor"),
    "vit": (_VIT, "ViTImageProcessor"),
}
_DETR = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": {"model_type": "resnet", **_RESNET, "out_features": ["stage4"]},
    "num_queries": 7,
    "d_model": 32,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 1),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 32),
}
_RT_DETR = {
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        **_RESNET,
        "out_features": ["stage2", "stage3", "stage4"],
    },
    "encoder_in_channels": [16, 16, 16],
    "decoder_in_channels": [32, 32, 32],
    **dict.fromkeys(("encoder_hidden_dim", "d_model"), 32),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 32),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    "decoder_layers": 2,
    "num_queries": 9,
    "decoder_n_points": 2,
}
_SHORTEST = {"size": {"shortest_edge": 64, "longest_edge": 96}}
DETECTORS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "detr": (_DETR, "DetrImageProcessor", _SHORTEST),
    "rt_detr": (_RT_DETR, "RTDetrImageProcessor", {"size": {"height": 64, "width": 64}}),
    "yolos": (
        _VIT | {"image_size": [48, 64], "patch_size": 16, "num_detection_tokens": 6, "num_labels": 3},
        "YolosImageProcessor",
        _SHORTEST,
    ),
}


def write_classifier(directory: Path, model_type: str = "vit", **changes: Any) -> Path:
    """Write a random classifier with its image processor; `changes` are values for config.json."""
    settings, processor = CLASSIFIERS[model_type]
    labels = {"id2label": LABELS, "label2id": {label: index for index, label in LABELS.items()}}
    size = {"shortest_edge": SIZE} if processor == "ConvNextImageProcessor" else {"height": SIZE, "width": SIZE}
    cropped = {"crop_size": {"height": SIZE, "width": SIZE}} if processor == "DeiTImageProcessor" else {}
    _write(directory, model_type, "ImageClassification", {**settings, **labels, **changes})
    _write_processor(directory, processor, size=size, **cropped)
    return directory


def write_detector(directory: Path, model_type: str = "detr", **changes: Any) -> Path:
    """Write a random detector with its image processor; `changes` are values for config.json."""
    settings, processor, own = DETECTORS[model_type]
    labels = {"id2label": OBJECTS, "label2id": {label: index for index, label in OBJECTS.items()}}
    _write(directory, model_type, "ObjectDetection", {**settings, **labels, **changes})
    _write_processor(directory, processor, **own)
    return directory


def write_pair(directory: Path, model_type: str = "clip", **changes: Any) -> Path:
    """Write a random network of images and texts with its image processor and its tokenizer."""
    import torch
    import transformers

    torch.manual_seed(7)
    directory.mkdir(parents=True, exist_ok=True)
    words = _write_tokenizer(directory, length=16)
    text = {key: value for key, value in _VIT.items() if key not in ("image_size", "patch_size")}
    text |= {
        "vocab_size": words,
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    config = transformers.CONFIG_MAPPING[model_type](text_config=text, vision_config=_VIT, **changes)
    _save(transformers.AutoModel.from_config(config), directory)
    name = "CLIPImageProcessor" if model_type == "clip" else "SiglipImageProcessor"
    size = {"shortest_edge": SIZE} if model_type == "clip" else {"height": SIZE, "width": SIZE}
    cropped = {"crop_size": {"height": SIZE, "width": SIZE}} if model_type == "clip" else {}
    _write_processor(directory, name, size=size, **cropped)
    return directory


def _write(directory: Path, model_type: str, head: str, settings: dict[str, Any]) -> None:
    import torch
    import transformers

    torch.manual_seed(7)
    config = transformers.CONFIG_MAPPING[model_type](**settings)
    _save(getattr(transformers, f"AutoModelFor{head}").from_config(config), directory)


def _save(network: Any, directory: Path) -> None:
    """Save a network with weights large enough for mistakes to be visible."""
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, min(0.3, (2 / parameter[0].numel()) ** 0.5))
            elif "class_labels_classifier" in name:
                parameter[-1] = -4.0  # "no object" would otherwise be the answer of most queries
    network.eval().save_pretrained(directory)


def _write_processor(directory: Path, kind: str, **settings: Any) -> None:
    document = {"image_processor_type": kind, **settings}
    (directory / "preprocessor_config.json").write_text(json.dumps(document))


def _write_tokenizer(directory: Path, *, length: int) -> int:
    """Write a tokenizer that begins and ends texts; return the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [
        "[PAD]",
        "[BEGIN]",
        "[END]",
        "[UNK]",
        *"a photo of the cat dog bird two on beach word invoice total".split(),
    ]
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BEGIN] $A [END]", special_tokens=[("[BEGIN]", 1), ("[END]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BEGIN]",
        eos_token="[END]",
        model_max_length=length,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(directory)
    return len(words)
