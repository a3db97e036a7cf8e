"""The settings of an image processor as a closed world: spellings, wrong values, misspelt and unused keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.convert.vision.image_settings import ImageSettings
from slipway.convert.vision.processor import read_image_settings
from slipway.convert.vision.processor_check import check_processor, open_reference_processor
from slipway.errors import Code, SlipwayError


def read(directory: Path, file: str = "preprocessor_config.json", **settings: Any) -> ImageSettings:
    (directory / file).write_text(json.dumps(settings), encoding="utf-8")
    return read_image_settings(directory)


def refusal(directory: Path, **settings: Any) -> tuple[Code, str]:
    with pytest.raises(SlipwayError) as caught:
        read(directory, **settings)
    return caught.value.code, caught.value.message.replace(str(directory / "preprocessor_config.json"), "FILE")


OLD = {
    "vit": {"feature_extractor_type": "ViTFeatureExtractor", "do_resize": True, "resample": 2, "size": 64},
    "clip": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "crop_size": 48,
        "do_center_crop": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": 48,
    },
    "convnext": {"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "resample": 3, "size": 96},
    "detr": {"feature_extractor_type": "DetrFeatureExtractor", "format": "coco_detection", "max_size": 90, "size": 60},
    "donut": {"feature_extractor_type": "DonutFeatureExtractor", "do_thumbnail": True, "size": [96, 128]},
}


@pytest.mark.parametrize("name", OLD)
def test_a_file_of_a_feature_extractor_is_read_as_transformers_reads_it(tmp_path, name):
    settings = read(tmp_path, **OLD[name])
    check_processor(settings, open_reference_processor(tmp_path))
    assert settings.notes == ()


@pytest.mark.parametrize("suffix", ["", "Fast", "Pil"])
def test_the_suffix_of_the_library_behind_a_processor_does_not_matter(tmp_path, suffix):
    assert read(tmp_path, image_processor_type=f"SiglipImageProcessor{suffix}").kind == "SiglipImageProcessor"


def test_settings_beside_those_of_a_tokenizer_win(tmp_path):
    read(tmp_path, image_processor_type="ViTImageProcessor", size=32)
    nested = {"image_processor_type": "CLIPImageProcessor", "crop_size": 40}
    settings = read(tmp_path, "processor_config.json", image_processor=nested, processor_class="CLIPProcessor")
    assert (settings.kind, settings.height) == ("CLIPImageProcessor", 40)


def test_a_processor_file_without_an_image_processor_leaves_the_other_file_in_charge(tmp_path):
    read(tmp_path, image_processor_type="ViTImageProcessor", size=32)
    assert read(tmp_path, "processor_config.json", processor_class="TrOCRProcessor").height == 32


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "swin"}, "ViTImageProcessor"),
        ({"model_type": "resnet"}, "ConvNextImageProcessor"),
        ({"model_type": "siglip"}, "SiglipImageProcessor"),
        ({"model_type": "swin", "image_processor_type": "BitImageProcessor"}, "BitImageProcessor"),
    ],
)
def test_a_file_without_a_type_gets_that_of_the_network(tmp_path, config, kind):
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert read(tmp_path, size={"shortest_edge": 60} if kind == "ConvNextImageProcessor" else 60).kind == kind


def test_a_network_without_a_known_processor_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    code, message = refusal(tmp_path, size=60)
    assert code is Code.INVALID_ARG
    assert "no type is known for models of type 'bert'" in message


def test_an_unknown_processor_is_refused_with_the_nearest_name(tmp_path):
    code, message = refusal(tmp_path, image_processor_type="ViTImagProcessorFast")
    assert code is Code.UNSUPPORTED
    assert message == (
        "FILE: the image processor 'ViTImagProcessorFast' is not supported; "
        "the nearest one that is: 'ViTImageProcessor'"
    )


def test_a_directory_without_settings_is_refused(tmp_path):
    with pytest.raises(SlipwayError, match=r"has no preprocessor_config\.json"):
        read_image_settings(tmp_path)


def test_a_misspelt_setting_is_refused_with_the_nearest_name(tmp_path):
    code, message = refusal(tmp_path, image_processor_type="ViTImageProcessor", do_normalise=True)
    assert code is Code.INVALID_ARG
    assert message == "FILE: the setting 'do_normalise' is unknown: did you mean 'do_normalize'?"


def test_a_setting_without_an_effect_is_named(tmp_path):
    settings = read(
        tmp_path, image_processor_type="ViTImageProcessor", crop_pct=0.9, dream=[1], data_format="channels_last"
    )
    assert settings.notes == (
        "preprocessor_config.json sets 'crop_pct' to 0.9, which ViTImageProcessor does not use",
        "preprocessor_config.json sets 'dream' to [1], which ViTImageProcessor does not use",
        "preprocessor_config.json sets 'data_format' to 'channels_last', which ViTImageProcessor does not use",
    )


def test_settings_that_are_off_or_do_not_concern_images_need_no_note(tmp_path):
    settings = read(
        tmp_path,
        image_processor_type="ViTImageProcessor",
        crop_pct=None,
        do_thumbnail=False,
        do_convert_rgb=True,
        data_format="channels_first",
        input_data_format=None,
        processor_class="TrOCRProcessor",
    )
    assert settings.notes == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_resize": 1}, "'do_resize' should be true or false, but is 1"),
        ({"resample": 9}, "'resample' should be one of Pillow's filters: 0 (nearest), 1 (lanczos), 2 (bilinear), "),
        ({"resample": "bicubic"}, "'resample' should be a whole number but is 'bicubic'"),
        ({"size": {"heigth": 3, "width": 3}}, "'size' has the unknown key 'heigth': did you mean 'height'?"),
        ({"size": {"pixels": 3}}, "'size' has the unknown key 'pixels': the keys of a size are height, longest_edge, "),
        ({"size": {"height": 3}}, "'size' should have one of these sets of keys: height with width; shortest_edge; "),
        ({"size": {"longest_edge": 3}}, "'size' should not be a longest edge alone, but is {'longest_edge': 3}"),
        ({"size": 0}, "'size' should be between 1 and 8,192 pixels, but is 0"),
        ({"size": [1, 2, 3]}, "'size' should be a height and a width, but is [1, 2, 3]"),
        ({"size": {"height": "x", "width": 3}}, "'height' of 'size' should be a whole number but is 'x'"),
        ({"do_center_crop": True}, "'crop_size' should have one of these sets of keys"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 3}}, "'crop_size' should have 'height' and 'width'"),
        ({"image_mean": [1, 2]}, "'image_mean' should be three numbers, one per channel, but is [1, 2]"),
        ({"image_std": [1, 0, 1]}, "'image_std' should not contain 0: every value is divided by it, but is [1, 0, 1]"),
        ({"rescale_factor": 10**400}, "'rescale_factor' should be a number, but is 1000"),
        (
            {"image_std": [1, float("nan"), 1]},
            "'image_std' should be three numbers, one per channel",
        ),
        ({"rescale_factor": "1/255"}, "'rescale_factor' should be a number, but is '1/255'"),
        ({"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 8}}, "should have 'longest_edge'"),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": [9, 9]},
            "should have the key 'shortest_edge' alone",
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": 9, "crop_pct": 0},
            "'crop_pct' should be at most 1",
        ),
        (
            {"image_processor_type": "DonutImageProcessor", "size": {"shortest_edge": 8}},
            "should have 'height' and 'width'",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_file_and_key(tmp_path, settings, message):
    code, found = refusal(tmp_path, **{"image_processor_type": "ViTImageProcessor", **settings})
    assert code is Code.INVALID_ARG
    assert found.startswith("FILE: ")
    assert message in found


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"image_processor_type": "LevitImageProcessor", "size": {"max_height": 32, "max_width": 32}},
            "FILE: 'size' should have 'height' and 'width', or 'shortest_edge'",
        ),
        (
            {"image_processor_type": "DetrImageProcessor", "size": 60, "max_size": {"longest_edge": 96}},
            "FILE: 'max_size' should be one number of pixels",
        ),
    ],
    ids=["levit", "detr"],
)
def test_a_size_that_a_type_cannot_use_is_refused(tmp_path, settings, problem):
    code, message = refusal(tmp_path, **settings)
    assert code is Code.INVALID_ARG
    assert message.startswith(problem)
