"""The image processor of a Hugging Face directory: reads its settings, old and new spellings, as a closed world.

Which settings a type reads, and what they do, is in `processor_types`. Knows no network and no task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import read_json_object
from slipway.convert.vision.image_settings import ImageSettings
from slipway.convert.vision.processor_types import TYPES
from slipway.convert.vision.processor_values import ProcessorValues
from slipway.errors import invalid, shown, unsupported

PROCESSOR_FILE: Final = "preprocessor_config.json"
_NESTED_FILE: Final = "processor_config.json"  # of newer transformers, beside a tokenizer's settings
_NESTED_KEY: Final = "image_processor"
_SUFFIXES: Final = ("Fast", "Pil")  # the same processor on torchvision and on Pillow

# Settings without an effect on images: names, settings of labels and boxes for training, and of how transformers is
# called. Images are always converted to RGB, because the networks have three channels.
_QUIET: Final = frozenset(
    "_commit_hash _name_or_path _processor_class _valid_kwargs_names _valid_processor_keys auto_map backend device "
    "disable_grouping do_convert_annotations do_convert_rgb do_reduce_labels feature_extractor_type format "
    "image_processor_type image_seq_length input_data_format masks_path model_input_names processor_class "
    "reduce_labels return_segmentation_masks return_tensors transformers_version use_fast".split()
)
_OF_NORMALISING: Final = frozenset({"image_mean", "image_std"})  # without an effect where it is off
_CHANNELS_FIRST: Final = "channels_first"

# The type where neither file names one: config.json's model_type -> type.
_OF_MODELS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("vit", "vit_mae", "vit_msn", "swin", "swinv2", "trocr", "ijepa", "dinat"), "ViTImageProcessor"),
    "deit": "DeiTImageProcessor",
    **dict.fromkeys(("beit", "data2vec-vision"), "BeitImageProcessor"),
    **dict.fromkeys(("convnext", "convnextv2", "resnet", "regnet", "cvt"), "ConvNextImageProcessor"),
    **dict.fromkeys(("clip", "altclip", "metaclip_2", "git"), "CLIPImageProcessor"),
    **dict.fromkeys(("bit", "dinov2", "focalnet", "hiera"), "BitImageProcessor"),
    "siglip": "SiglipImageProcessor",
    **dict.fromkeys(("blip", "blip-2", "instructblip"), "BlipImageProcessor"),
    **dict.fromkeys(("detr", "table-transformer"), "DetrImageProcessor"),
    "conditional_detr": "ConditionalDetrImageProcessor",
    "deformable_detr": "DeformableDetrImageProcessor",
    "yolos": "YolosImageProcessor",
    **dict.fromkeys(("rt_detr", "rt_detr_v2", "d_fine", "deimv2"), "RTDetrImageProcessor"),
    "donut-swin": "DonutImageProcessor",
    "nougat": "NougatImageProcessor",
    "efficientnet": "EfficientNetImageProcessor",
    "levit": "LevitImageProcessor",
    "mobilenet_v1": "MobileNetV1ImageProcessor",
    "mobilenet_v2": "MobileNetV2ImageProcessor",
    **dict.fromkeys(("mobilevit", "mobilevitv2"), "MobileViTImageProcessor"),
    **dict.fromkeys(("pvt", "pvt_v2"), "PvtImageProcessor"),
}


def read_image_settings(directory: Path) -> ImageSettings:
    """Return the image processor of a directory.

    Raises INVALID_ARG for missing or wrong settings and for a misspelt one, with the nearest name; UNSUPPORTED for a
    type of processor that is not known. Every other setting without an effect is named in `notes`.
    """
    path, settings = _settings(directory)
    kind = _kind(directory, path, settings)
    read = TYPES[kind].defaults
    notes = tuple(_notes(path, kind, settings, read))
    given = {key: value for key, value in settings.items() if key in read and value is not None}
    built = TYPES[kind].build(ProcessorValues(str(path), {**read, **given}))
    return replace(built, kind=kind, notes=notes)


def _settings(directory: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the file with the settings and its content; those nested beside a tokenizer's win, as in transformers."""
    nested = directory / _NESTED_FILE
    if nested.exists():
        settings = read_json_object(nested).get(_NESTED_KEY)
        if isinstance(settings, dict):
            return nested, settings
        if settings is not None:
            raise invalid(f"{nested}: '{_NESTED_KEY}' should be a JSON object")
    return directory / PROCESSOR_FILE, read_json_object(directory / PROCESSOR_FILE)


def _kind(directory: Path, path: Path, settings: Mapping[str, Any]) -> str:
    """Return the type of processor; raise UNSUPPORTED if it is not known."""
    name = settings.get("image_processor_type")
    if name is None and (old := settings.get("feature_extractor_type")) is not None:
        name = str(old).replace("FeatureExtractor", "ImageProcessor")
    if name is None:
        config = read_json_object(directory / "config.json")
        model = config.get("model_type")
        name = config.get("image_processor_type") or _OF_MODELS.get(str(model))
        if name is None:
            raise invalid(
                f"{path}: 'image_processor_type' is not set, and no type is known for models of type '{shown(model)}'"
            )
    kind = str(name)
    for suffix in _SUFFIXES:
        kind = kind.removesuffix(suffix)
    if kind not in TYPES:
        near = get_close_matches(kind, TYPES, n=1)
        hint = f"the nearest one that is: '{near[0]}'" if near else f"the known types are {', '.join(sorted(TYPES))}"
        raise unsupported(f"{path}: the image processor '{shown(name)}' is not supported; {hint}")
    return kind


def _notes(path: Path, kind: str, settings: Mapping[str, Any], read: Mapping[str, Any]) -> list[str]:
    """Return a note for each setting that has a value but no effect; raise INVALID_ARG for misspelt ones."""
    known = _QUIET.union(*(each.defaults for each in TYPES.values()), ["data_format"])
    notes = []
    for key, value in settings.items():
        if key in read or key in _QUIET or (key == "data_format" and value == _CHANNELS_FIRST):
            continue
        if key in _OF_NORMALISING and not settings.get("do_normalize"):
            continue
        near = [] if key in known else get_close_matches(key, sorted(known), n=1, cutoff=0.8)
        if near:
            raise invalid(f"{path}: the setting '{shown(key)}' is unknown: did you mean '{near[0]}'?")
        if value is not None and value is not False:
            notes.append(f"{path.name} sets '{shown(key)}' to {shown(repr(value))}, which {kind} does not use")
    return notes
