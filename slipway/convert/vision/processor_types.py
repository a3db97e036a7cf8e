"""The types of image processors: for each class of transformers its default settings, and the steps that it takes.

The facts are those of transformers 5 (its processors on Pillow); `check_processor` holds them against the installed
version at every conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.convert.vision.image_settings import ImagePadding, ImageSettings, ImageStep
from slipway.convert.vision.processor_values import MOST_SIDE, ProcessorValues

BILINEAR: Final = 2
BICUBIC: Final = 3
_HALF: Final = [0.5, 0.5, 0.5]
_IMAGENET: Final = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_SYMMETRIC: Final = {"image_mean": _HALF, "image_std": _HALF}
_CLIP: Final = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_WARPED_FROM: Final = 384  # ConvNeXt crops only below this side (Liu et al. 2022, appendix A)
_YOLOS_MULTIPLE: Final = 16  # the side of its patches
_GAP: Final = 2.0  # Pillow's reducing_gap of Nougat's thumbnails

# What every processor reads, and its value where neither the file nor the type sets one.
_ALL: Final[Mapping[str, Any]] = {
    "do_resize": True,
    "size": None,
    "resample": BILINEAR,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "default_to_square": True,
}
_NORMALISING: Final[Mapping[str, Any]] = {**_ALL, "do_normalize": True, **_SYMMETRIC}
_PLAIN: Final[Mapping[str, Any]] = {
    **_NORMALISING,
    "do_center_crop": None,
    "crop_size": None,
    "do_pad": None,
    "pad_size": None,
}
_CROPPED: Final[Mapping[str, Any]] = {**_PLAIN, "do_center_crop": True, "default_to_square": False}
_DETECTING: Final[Mapping[str, Any]] = {
    **_NORMALISING,
    **_IMAGENET,
    "size": {"shortest_edge": 800, "longest_edge": 1333},
    "max_size": None,
    "default_to_square": False,
    "do_pad": None,
    "pad_size": None,
    "pad_and_return_pixel_mask": None,
}
_DOCUMENT: Final[Mapping[str, Any]] = {
    **_NORMALISING,
    "do_thumbnail": True,
    "do_align_long_axis": False,
    "do_pad": True,
}

Build = Callable[[ProcessorValues], ImageSettings]


@dataclass(frozen=True, slots=True)
class ProcessorType:
    """One type: the settings that it reads, with their defaults, and how they become steps (whose `kind` is empty)."""

    defaults: Mapping[str, Any]
    build: Build


def square(side: int) -> dict[str, int]:
    """Return the size of a square."""
    return {"height": side, "width": side}


def _levels(values: ProcessorValues) -> list[ImageStep]:
    """Return rescaling and normalising, as far as they are on."""
    levels = []
    if values.flag("do_rescale"):
        levels.append(ImageStep("rescale", {"factor": values.number("rescale_factor")}))
    if values.flag("do_normalize"):
        levels.append(_normalising(values))
    return levels


def _normalising(values: ProcessorValues) -> ImageStep:
    return ImageStep("normalise", {"mean": values.channels("image_mean"), "std": values.deviations("image_std")})


def _resizing(values: ProcessorValues, *, multiple: int = 1, longest: int | None = None) -> list[ImageStep]:
    """Return the step that brings images to `size`, if resizing is on."""
    if not values.flag("do_resize"):
        return []
    size = values.size("size", square=values.flag("default_to_square"), longest=longest)
    resample = values.resample()
    if "height" in size:
        return [ImageStep("resize", {**size, "resample": resample})]
    if "max_height" in size:
        within = {"height": size["max_height"], "width": size["max_width"]}
        return [ImageStep("resize_within", {**within, "resample": resample})]
    if "shortest_edge" not in size:
        raise values.wrong("size", "should not be a longest edge alone")
    if "longest_edge" in size:
        edges = {"shortest": size["shortest_edge"], "longest": size["longest_edge"], "multiple": multiple}
        return [ImageStep("resize_between", {**edges, "resample": resample})]
    return [ImageStep("resize_shortest", {"edge": size["shortest_edge"], "resample": resample})]


def _cropping(values: ProcessorValues) -> list[ImageStep]:
    """Return the step that cuts out the middle, if it is on."""
    return [ImageStep("crop_centre", values.rectangle("crop_size"))] if values.flag("do_center_crop") else []


def _padding(values: ProcessorValues) -> ImagePadding | None:
    """Return the padding below and to the right, if it is on."""
    if not values.flag("do_pad"):
        return None
    return ImagePadding() if values.get("pad_size") is None else ImagePadding(**values.rectangle("pad_size"))


def plain(values: ProcessorValues) -> ImageSettings:
    """Return the steps of most processors: resize, cut out the middle, rescale, normalise, pad."""
    steps = [*_resizing(values), *_cropping(values)]
    return ImageSettings("", steps, _levels(values), _padding(values))


def clip(values: ProcessorValues) -> ImageSettings:
    """Return the steps of CLIP: the plain ones, with an older spelling of a square size."""
    return plain(values.replaced(size=square(224)) if values.flag("use_square_size") else values)


def convnext(values: ProcessorValues) -> ImageSettings:
    """Return the steps of ConvNeXt: small sizes are cut out of a larger image, large ones are warped."""
    steps: list[ImageStep] = []
    if values.flag("do_resize"):
        size = values.size("size", square=values.flag("default_to_square"))
        if size.keys() != {"shortest_edge"}:
            raise values.wrong("size", "should have the key 'shortest_edge' alone")
        side, resample = size["shortest_edge"], values.resample()
        if side < _WARPED_FROM:
            share = values.number("crop_pct")
            if not side / MOST_SIDE <= share <= 1:
                raise values.wrong("crop_pct", f"should be at most 1, and leave at most {MOST_SIDE:,} pixels per side")
            steps.append(ImageStep("resize_shortest", {"edge": int(side / share), "resample": resample}))
            steps.append(ImageStep("crop_centre", square(side)))
        else:
            steps.append(ImageStep("resize", {**square(side), "resample": resample}))
    return ImageSettings("", [*steps, *_cropping(values)], _levels(values))


def detection(values: ProcessorValues, *, multiple: int = 1, longest: int | None = None) -> ImageSettings:
    """Return the steps of DETR and its kin: resize in proportion, rescale, normalise, pad with a mask."""
    steps = _resizing(values, multiple=multiple, longest=longest)
    if steps and steps[0].name == "resize_shortest":
        raise values.wrong("size", "should have 'longest_edge' beside 'shortest_edge'")
    padding = _padding(values)
    return ImageSettings("", steps, _levels(values), padding, masks=padding is not None)


def _detr(values: ProcessorValues, *, multiple: int = 1) -> ImageSettings:
    """Return the steps of a processor of DETR's own family, with its older spellings."""
    pads = [values.get(key) for key in ("do_pad", "pad_and_return_pixel_mask") if values.get(key) is not None]
    own = values.replaced(do_pad=(pads or [True])[0], default_to_square=False)
    longest = values.side("max_size") if values.get("max_size") is not None else 1333
    return detection(own, multiple=multiple, longest=longest)


def yolos(values: ProcessorValues) -> ImageSettings:
    """Return the steps of YOLOS: DETR's, with sides of whole patches."""
    return _detr(values, multiple=_YOLOS_MULTIPLE)


def _canvas(values: ProcessorValues) -> list[ImageStep]:
    """Return the steps of a document's page before its thumbnail."""
    size = values.rectangle("size")
    steps = [ImageStep("align_long_axis", size)] if values.flag("do_align_long_axis") else []
    if values.flag("do_resize"):
        edge = {"edge": min(size.values()), "resample": values.resample()}
        steps.append(ImageStep("resize_shortest", edge))
    return steps


def donut(values: ProcessorValues) -> ImageSettings:
    """Return the steps of Donut: the page fills the canvas as far as it can and lies in its middle."""
    if isinstance(size := values.get("size"), list | tuple):  # it writes width and height
        values = values.replaced(size=size[::-1])
    size = values.rectangle("size")
    steps = _canvas(values)
    if values.flag("do_thumbnail"):
        steps.append(ImageStep("thumbnail", {**size, "resample": values.resample(), "gap": None}))
    if values.flag("do_pad"):
        steps.append(ImageStep("pad_centre", size))
    return ImageSettings("", [*steps, *_cropping(values)], _levels(values))


def nougat(values: ProcessorValues) -> ImageSettings:
    """Return the steps of Nougat: Donut's after the margin is cut off, with another filter for thumbnails."""
    size = values.rectangle("size")
    steps = [ImageStep("crop_margin", {})] if values.flag("do_crop_margin") else []
    steps += _canvas(values)
    if values.flag("do_thumbnail"):
        steps.append(ImageStep("thumbnail", {**size, "resample": BICUBIC, "gap": _GAP}))
    if values.flag("do_pad"):
        steps.append(ImageStep("pad_centre", size))
    return ImageSettings("", steps, _levels(values))


def efficientnet(values: ProcessorValues) -> ImageSettings:
    """Return the steps of EfficientNet, which may shift the levels and divide by the deviation a second time."""
    levels = _levels(values)
    if values.flag("rescale_offset") and values.flag("do_rescale"):
        levels.insert(1, ImageStep("shift", {"by": -1}))
    if values.flag("include_top"):
        levels.append(ImageStep("normalise", {"mean": [0, 0, 0], "std": values.deviations("image_std")}))
    return ImageSettings("", [*_resizing(values), *_cropping(values)], levels)


def levit(values: ProcessorValues) -> ImageSettings:
    """Return the steps of LeViT, which resizes the shorter side to 256/224 of its setting."""
    steps = _resizing(values)
    if steps and steps[0].name.startswith("resize_"):
        size = values.size("size", square=False)
        if "shortest_edge" not in size:
            raise values.wrong("size", "should have 'height' and 'width', or 'shortest_edge'")
        edge = int((256 / 224) * size["shortest_edge"])
        steps = [ImageStep("resize_shortest", {"edge": edge, "resample": values.resample()})]
    return ImageSettings("", [*steps, *_cropping(values)], _levels(values), _padding(values))


def mobilevit(values: ProcessorValues) -> ImageSettings:
    """Return the steps of MobileViT, which takes blue first and does not normalise."""
    steps = [*_resizing(values), *_cropping(values)]
    return ImageSettings("", steps, _levels(values), flipped=values.flag("do_flip_channel_order"))


def _without(defaults: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in defaults.items() if key not in keys}


_UNPADDED: Final = _without(_PLAIN, "do_pad", "pad_size")
_CROPPED_UNPADDED: Final = _without(_CROPPED, "do_pad", "pad_size")

TYPES: Final[Mapping[str, ProcessorType]] = {
    "ViTImageProcessor": ProcessorType({**_PLAIN, "size": square(224)}, plain),
    "DeiTImageProcessor": ProcessorType(
        {
            **_CROPPED,
            "size": square(256),
            "crop_size": square(224),
            "resample": BICUBIC,
            "default_to_square": True,
        },
        plain,
    ),
    "BeitImageProcessor": ProcessorType(
        {**_UNPADDED, "size": square(224), "crop_size": square(224), "resample": BICUBIC}, plain
    ),
    "ConvNextImageProcessor": ProcessorType(
        {
            **_UNPADDED,
            "size": {"shortest_edge": 384},
            "crop_pct": 224 / 256,
            "resample": BICUBIC,
            "default_to_square": False,
        },
        convnext,
    ),
    "CLIPImageProcessor": ProcessorType(
        {
            **_CROPPED,
            **_CLIP,
            "size": {"shortest_edge": 224},
            "crop_size": square(224),
            "resample": BICUBIC,
            "use_square_size": None,
        },
        clip,
    ),
    "BitImageProcessor": ProcessorType(
        {**_CROPPED, **_CLIP, "size": {"shortest_edge": 224}, "crop_size": square(224), "resample": BICUBIC}, plain
    ),
    "SiglipImageProcessor": ProcessorType(
        {**_PLAIN, "size": square(224), "resample": BICUBIC, "default_to_square": False}, plain
    ),
    "BlipImageProcessor": ProcessorType({**_PLAIN, **_CLIP, "size": square(384), "resample": BICUBIC}, plain),
    "DetrImageProcessor": ProcessorType(_DETECTING, _detr),
    "ConditionalDetrImageProcessor": ProcessorType(_DETECTING, _detr),
    "DeformableDetrImageProcessor": ProcessorType(_DETECTING, _detr),
    "YolosImageProcessor": ProcessorType(_DETECTING, yolos),
    "RTDetrImageProcessor": ProcessorType(
        {
            **_without(_DETECTING, "max_size", "pad_and_return_pixel_mask"),
            "do_normalize": False,
            "do_pad": False,
            "size": square(640),
        },
        detection,
    ),
    "DonutImageProcessor": ProcessorType(
        {**_DOCUMENT, "size": {"height": 2560, "width": 1920}, "do_center_crop": None, "crop_size": None}, donut
    ),
    "NougatImageProcessor": ProcessorType(
        {**_DOCUMENT, **_IMAGENET, "size": {"height": 896, "width": 672}, "do_crop_margin": True}, nougat
    ),
    "EfficientNetImageProcessor": ProcessorType(
        {
            **_UNPADDED,
            "size": square(346),
            "crop_size": square(289),
            "resample": BICUBIC,
            "rescale_offset": False,
            "include_top": True,
        },
        efficientnet,
    ),
    "LevitImageProcessor": ProcessorType(
        {
            **_CROPPED,
            **_IMAGENET,
            "size": {"shortest_edge": 224},
            "crop_size": square(224),
            "resample": BICUBIC,
        },
        levit,
    ),
    "MobileNetV1ImageProcessor": ProcessorType(
        {**_CROPPED, "size": {"shortest_edge": 256}, "crop_size": square(224)}, plain
    ),
    "MobileNetV2ImageProcessor": ProcessorType(
        {**_CROPPED_UNPADDED, "size": {"shortest_edge": 256}, "crop_size": square(224)}, plain
    ),
    "MobileViTImageProcessor": ProcessorType(
        {
            **_without(_CROPPED_UNPADDED, "do_normalize", "image_mean", "image_std"),
            "size": {"shortest_edge": 224},
            "crop_size": square(256),
            "resample": BICUBIC,
            "do_flip_channel_order": True,
        },
        mobilevit,
    ),
    "PvtImageProcessor": ProcessorType({**_PLAIN, **_IMAGENET, "size": square(224), "resample": BICUBIC}, plain),
}
