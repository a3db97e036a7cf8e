"""Every type of image processor, held against the one of transformers on the same images, to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from slipway.convert.models.image_processor import ImagePipeline
from slipway.convert.vision.image_settings import ImageSettings, ImageStep
from slipway.convert.vision.processor import read_image_settings
from slipway.convert.vision.processor_check import check_images, check_processor, open_reference_processor
from slipway.convert.vision.processor_types import TYPES
from slipway.errors import Code, SlipwayError
from tests.convert.vision.pictures import PICTURES

PAGE = {"size": {"height": 128, "width": 96}}
SMALL = {"shortest_edge": 80, "longest_edge": 133}

# Name -> type and settings. The first of each type has the type's own settings, made smaller where they are large.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTImageProcessor", {}),
    "vit-shortest": ("ViTImageProcessor", {"size": {"shortest_edge": 48}}),
    "vit-between": ("ViTImageProcessor", {"size": {"shortest_edge": 48, "longest_edge": 70}}),
    "vit-within": ("ViTImageProcessor", {"size": {"max_height": 60, "max_width": 40}}),
    "vit-crop": ("ViTImageProcessor", {"do_center_crop": True, "crop_size": {"height": 61, "width": 300}}),
    "vit-unresized": ("ViTImageProcessor", {"do_resize": False}),
    "vit-lanczos": ("ViTImageProcessor", {"resample": 1, "size": {"height": 31, "width": 57}}),
    "vit-nearest": ("ViTImageProcessor", {"resample": 0}),
    "vit-unscaled": (
        "ViTImageProcessor",
        {"do_rescale": False, "image_mean": [100, 110, 120], "image_std": [50, 60, 70]},
    ),
    "vit-raw": ("ViTImageProcessor", {"do_rescale": False, "do_normalize": False}),
    "vit-one-mean": ("ViTImageProcessor", {"image_mean": 0.4, "image_std": 0.3, "rescale_factor": 0.01}),
    "deit": ("DeiTImageProcessor", {}),
    "beit": ("BeitImageProcessor", {}),
    "beit-crop": ("BeitImageProcessor", {"do_center_crop": True, "crop_size": 100, "do_reduce_labels": True}),
    "convnext": ("ConvNextImageProcessor", {}),
    "convnext-small": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
    "convnext-crop": ("ConvNextImageProcessor", {"do_center_crop": True, "crop_size": 100}),
    "clip": ("CLIPImageProcessor", {}),
    "clip-crop-above-size": ("CLIPImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": 75}),
    "clip-square": ("CLIPImageProcessor", {"use_square_size": True}),
    "bit": ("BitImageProcessor", {}),
    "siglip": ("SiglipImageProcessor", {}),
    "siglip-shortest": ("SiglipImageProcessor", {"size": 30}),
    "blip": ("BlipImageProcessor", {}),
    "detr": ("DetrImageProcessor", {"size": SMALL}),
    "detr-old": ("DetrImageProcessor", {"size": 80, "max_size": 100}),
    "detr-exact": ("DetrImageProcessor", {"size": [60, 90]}),
    "detr-within": ("DetrImageProcessor", {"size": {"max_height": 60, "max_width": 90}}),
    "detr-padded-to": ("DetrImageProcessor", {"size": SMALL, "pad_size": {"height": 140, "width": 140}}),
    "detr-unpadded": ("DetrImageProcessor", {"size": SMALL, "do_pad": False}),
    "detr-old-unpadded": ("DetrImageProcessor", {"size": SMALL, "pad_and_return_pixel_mask": False}),
    "conditional-detr": ("ConditionalDetrImageProcessor", {"size": SMALL}),
    "deformable-detr": ("DeformableDetrImageProcessor", {"size": SMALL}),
    "yolos": ("YolosImageProcessor", {"size": SMALL}),
    "yolos-equal": ("YolosImageProcessor", {"size": {"shortest_edge": 64, "longest_edge": 96}}),
    "rt-detr": ("RTDetrImageProcessor", {}),
    "rt-detr-padded": ("RTDetrImageProcessor", {"size": SMALL, "do_pad": True, "do_normalize": True}),
    "donut": ("DonutImageProcessor", PAGE),
    "donut-turned": ("DonutImageProcessor", {**PAGE, "do_align_long_axis": True}),
    "donut-loose": ("DonutImageProcessor", {**PAGE, "do_thumbnail": False}),
    "donut-unpadded": ("DonutImageProcessor", {**PAGE, "do_pad": False}),
    "donut-unresized": ("DonutImageProcessor", {**PAGE, "do_resize": False, "do_center_crop": True, "crop_size": 90}),
    "donut-listed": ("DonutImageProcessor", {"size": [96, 128]}),
    "nougat": ("NougatImageProcessor", PAGE),
    "nougat-turned": ("NougatImageProcessor", {**PAGE, "do_align_long_axis": True, "do_crop_margin": False}),
    "nougat-unpadded": ("NougatImageProcessor", {**PAGE, "do_pad": False}),
    "efficientnet": ("EfficientNetImageProcessor", {}),
    "efficientnet-offset": ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5}),
    "efficientnet-plain": ("EfficientNetImageProcessor", {"include_top": False, "do_center_crop": True}),
    "levit": ("LevitImageProcessor", {}),
    "levit-exact": ("LevitImageProcessor", {"size": {"height": 50, "width": 70}, "do_center_crop": False}),
    "mobilenet-v1": ("MobileNetV1ImageProcessor", {}),
    "mobilenet-v2": ("MobileNetV2ImageProcessor", {}),
    "mobilevit": ("MobileViTImageProcessor", {}),
    "mobilevit-rgb": ("MobileViTImageProcessor", {"do_flip_channel_order": False}),
    "pvt": ("PvtImageProcessor", {}),
}


def saved(directory: Path, kind: str, settings: dict[str, Any]) -> tuple[ImageSettings, Any]:
    """Return the settings read from a file with only `settings`, and the processor that transformers opens from it."""
    text = json.dumps({"image_processor_type": kind, **settings})
    (directory / "preprocessor_config.json").write_text(text, encoding="utf-8")
    return read_image_settings(directory), open_reference_processor(directory)


def pipeline(settings: ImageSettings) -> ImagePipeline:
    return ImagePipeline(json.loads(settings.to_json()))


def reference_result(reference: Any, images: list[np.ndarray]) -> dict[str, np.ndarray] | None:
    """Return the result of transformers, None if it refuses."""
    try:
        return dict(reference([Image.fromarray(each) for each in images], return_tensors="np"))
    except ValueError:
        return None


def test_every_type_is_compared():
    assert {kind for kind, _ in CASES.values()} == TYPES.keys()


@pytest.mark.parametrize("case", CASES)
def test_a_processor_equals_that_of_transformers(tmp_path, case):
    settings, reference = saved(tmp_path, *CASES[case])
    assert type(reference).__name__ == settings.kind + "Pil"
    run = pipeline(settings).run
    accepted = 0
    for name, image in PICTURES.items():
        expected = reference_result(reference, [image])
        if expected is None:
            with pytest.raises(ValueError, match=r"too narrow|does not fit"):
                run([image])
            continue
        found = run([image])
        accepted += 1
        np.testing.assert_array_equal(found["pixel_values"], expected["pixel_values"].astype(np.float32), name)
        assert found["original_size"].tolist() == [list(image.shape[:2])]
        assert settings.masks == ("pixel_mask" in expected)
        if settings.masks:
            np.testing.assert_array_equal(found["pixel_mask"], expected["pixel_mask"], name)
        if settings.height is not None:
            assert found["pixel_values"].shape == (1, 3, settings.height, settings.width)
    assert accepted >= 4


@pytest.mark.parametrize("case", ["detr", "detr-padded-to", "yolos", "rt-detr-padded"])
def test_images_of_one_request_are_padded_together_as_by_transformers(tmp_path, case):
    settings, reference = saved(tmp_path, *CASES[case])
    images = [PICTURES[name] for name in ("landscape", "portrait", "square")]
    expected = reference(list(map(Image.fromarray, images)), return_tensors="np")
    found = pipeline(settings).run(images)
    for name in ("pixel_values", "pixel_mask"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert found["original_size"].tolist() == [[96, 161], [211, 120], [64, 64]]


def test_images_of_different_sizes_are_refused_where_nothing_pads_them(tmp_path):
    settings, _ = saved(tmp_path, "ViTImageProcessor", {"do_resize": False})
    with pytest.raises(ValueError, match="must have the same size"):
        pipeline(settings).run([PICTURES["landscape"], PICTURES["portrait"]])


@pytest.mark.parametrize("kind", TYPES)
def test_a_file_written_by_transformers_is_read_without_notes(tmp_path, kind):
    getattr(transformers, kind + "Pil")().save_pretrained(tmp_path)
    settings = read_image_settings(tmp_path)
    assert (settings.kind, settings.notes) == (kind, ())
    defaults = saved(tmp_path, kind, {})[0]
    assert json.loads(settings.to_json()) == json.loads(defaults.to_json())


@pytest.mark.parametrize("case", ["vit", "clip", "detr", "nougat"])
def test_the_check_before_a_conversion_accepts_the_right_steps(tmp_path, case):
    check_processor(*saved(tmp_path, *CASES[case]))


def test_the_check_compares_files_too():
    assert sum(isinstance(image, bytes) for image in check_images().values()) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"steps": [ImageStep("resize", {"height": 224, "width": 224, "resample": 3})]},
            "pixel_values differs by up to",
        ),
        ({"steps": [ImageStep("resize", {"height": 224, "width": 223, "resample": 2})]}, "has the shape"),
        ({"levels": []}, "pixel_values differs by up to"),
        ({"flipped": True}, "pixel_values differs by up to"),
    ],
    ids=["filter", "size", "levels", "channels"],
)
def test_the_check_names_what_differs(tmp_path, change, reason):
    settings, reference = saved(tmp_path, "ViTImageProcessor", {})
    with pytest.raises(SlipwayError, match=rf"does not agree with transformers.*landscape.*{reason}") as caught:
        check_processor(replace(settings, **change), reference)
    assert caught.value.code is Code.INVALID_ARG


def test_the_check_does_not_pass_without_any_image(tmp_path):
    small = {"size": {"height": 2, "width": 2}, "do_resize": False, "do_thumbnail": False}
    settings, reference = saved(tmp_path, "DonutImageProcessor", small)
    with pytest.raises(SlipwayError, match=r"refuses every test image; its steps are \['pad_centre'\]"):
        check_processor(settings, reference)


def test_the_check_wants_both_to_refuse_an_image(tmp_path):
    large = {"size": {"height": 250, "width": 200}, "do_resize": False, "do_thumbnail": False}
    settings, _ = saved(tmp_path, "DonutImageProcessor", large)
    _, reference = saved(tmp_path, "DonutImageProcessor", {**large, "size": {"height": 210, "width": 200}})
    with pytest.raises(SlipwayError, match=r"\(portrait\): transformers refuses it"):
        check_processor(replace(settings, steps=settings.steps), _LandscapeAgrees(reference, settings))


class _LandscapeAgrees:
    """A reference that refuses what `strict` refuses and otherwise gives what `settings` give."""

    def __init__(self, strict: Any, settings: ImageSettings) -> None:
        self._strict, self._pipeline = strict, pipeline(settings)

    def __call__(self, image: Image.Image, **options: Any) -> dict[str, np.ndarray]:
        self._strict(image, **options)
        return self._pipeline.run([np.asarray(image)])
