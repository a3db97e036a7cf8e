"""The model that turns images into a network's input: every kind of image file and array, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.image_transforms import convert_to_rgb
from transformers.image_utils import load_image

from slipway.convert.models import image_processor
from slipway.convert.models.image_processor import MOST_PIXELS, ImagePipeline, decoded, from_array
from slipway.convert.vision.image_settings import ImagePadding, ImageSettings, ImageStep
from tests.convert.models.kit import written
from tests.convert.vision.pictures import file_of, picture

SQUARE = ImageStep("resize", {"height": 8, "width": 8, "resample": 2})
RESCALED = ImageStep("rescale", {"factor": 1 / 255})
COLOURS = picture(30, 40)
ALPHA = np.dstack([COLOURS, picture(30, 40, 1)[:, :, 0]])
OUTPUTS = ("pixel_values", "pixel_mask", "original_size")


@pytest.fixture
def model(tmp_path):
    settings = ImageSettings("", [SQUARE], [RESCALED])
    files = {"image.json": settings.to_json()}
    with written(
        tmp_path, "image_processor", inputs=("image", "encoded_image"), outputs=OUTPUTS, files=files
    ) as opened:
        yield opened


@pytest.fixture
def unresized(tmp_path):
    settings = ImageSettings("", [], [RESCALED], ImagePadding())
    with written(tmp_path, "image_processor", outputs=OUTPUTS, files={"image.json": settings.to_json()}) as opened:
        yield opened


def files(*contents: bytes) -> np.ndarray:
    """Return BYTES [rows, 1]."""
    array = np.empty((len(contents), 1), dtype=np.object_)
    array[:, 0] = contents
    return array


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file_of(COLOURS, "JPEG", exif=exif)


def oriented_tiff(orientation: int) -> bytes:
    return file_of(COLOURS, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})


def palette(transparent: object = None) -> bytes:
    image = Image.fromarray(COLOURS).quantize(32)
    return file_of(image, "PNG", **({} if transparent is None else {"transparency": transparent}))


FILES = {
    "png": file_of(COLOURS),
    "jpeg": file_of(COLOURS, "JPEG", quality=80),
    "progressive jpeg": file_of(COLOURS, "JPEG", progressive=True),
    "webp": file_of(COLOURS, "WEBP"),
    "bmp": file_of(COLOURS, "BMP"),
    "tiff": file_of(COLOURS, "TIFF", compression="tiff_lzw"),
    "gif": file_of(COLOURS, "GIF"),
    "animated gif": file_of(
        Image.fromarray(COLOURS), "GIF", save_all=True, append_images=[Image.fromarray(COLOURS[::-1])]
    ),
    "gray png": file_of(COLOURS[:, :, 0]),
    "gray jpeg": file_of(COLOURS[:, :, 0], "JPEG"),
    "black and white": file_of(Image.fromarray(COLOURS).convert("1")),
    "gray with alpha": file_of(Image.fromarray(ALPHA).convert("LA")),
    "rgba": file_of(ALPHA),
    "rgba webp": file_of(ALPHA, "WEBP", lossless=True),
    "palette": palette(),
    "palette with a transparent colour": palette(3),
    "palette with alpha": palette(bytes(range(0, 256, 8))),
    "rgb with a transparent colour": file_of(COLOURS, transparency=(245, 245, 245)),
    "cmyk jpeg": file_of(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
    "cmyk tiff": file_of(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"),
    "ycbcr tiff": file_of(Image.fromarray(COLOURS).convert("YCbCr"), "TIFF"),
    **{f"orientation {number}": oriented(number) for number in range(1, 9)},
    **{f"tiff of orientation {number}": oriented_tiff(number) for number in (1, 3, 6)},
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_file_is_decoded_as_transformers_loads_it(name):
    expected = np.asarray(load_image(Image.open(io.BytesIO(FILES[name]))))
    np.testing.assert_array_equal(np.asarray(decoded(FILES[name])), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_keeps_its_upper_byte(kind):
    levels = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 77
    expected = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    np.testing.assert_array_equal(np.asarray(decoded(file_of(levels, kind))), expected)


@pytest.mark.parametrize("array", [COLOURS[:, :, :1], COLOURS, ALPHA], ids=["gray", "rgb", "rgba"])
def test_an_array_becomes_rgb_as_in_transformers(array, monkeypatch):
    monkeypatch.setattr(image_processor, "BLOCK", 70)  # so that white is laid under several parts
    np.testing.assert_array_equal(np.asarray(from_array(array)), convert_to_rgb(array, return_numpy=True))


def test_every_opacity_of_every_level_is_rounded_as_in_transformers():
    alpha, level = np.mgrid[:256, :256].astype(np.uint8)
    pixels = np.dstack([level, level, level, alpha])
    np.testing.assert_array_equal(np.asarray(from_array(pixels)), convert_to_rgb(pixels, return_numpy=True))


def test_arrays_and_files_give_the_same(model):
    found = model.ask(image=COLOURS[None])
    assert (found["pixel_values"].shape, found["pixel_values"].dtype) == ((1, 3, 8, 8), np.float32)
    assert (found["pixel_mask"].shape, found["pixel_mask"].dtype) == ((1, 8, 8), np.int64)
    assert found["pixel_mask"].all()
    assert found["original_size"].tolist() == [[30, 40]]
    encoded = model.ask(encoded_image=files(FILES["png"]))
    for name in OUTPUTS:
        np.testing.assert_array_equal(encoded[name], found[name])


def test_the_size_of_a_turned_image_is_that_of_the_upright_one(model):
    assert model.ask(encoded_image=files(oriented(6)))["original_size"].tolist() == [[40, 30]]


def test_one_pixel_is_an_image(model):
    answer = model.ask(image=np.full((1, 1, 1, 1), 51, np.uint8))
    np.testing.assert_allclose(answer["pixel_values"], np.full((1, 3, 8, 8), 0.2), rtol=1e-6)


def test_rows_of_a_request_may_differ_in_size_and_are_padded_with_zeros(unresized):
    small, large = np.full((2, 5, 3), 255, np.uint8), np.full((4, 3, 3), 255, np.uint8)
    found = unresized.ask(encoded_image=files(file_of(small), file_of(large)))
    expected = np.zeros((2, 4, 5), np.int64)
    expected[0, :2] = expected[1, :, :3] = 1
    np.testing.assert_array_equal(found["pixel_mask"], expected)
    np.testing.assert_array_equal(found["pixel_values"], expected[:, None].repeat(3, 1))
    assert found["original_size"].tolist() == [[2, 5], [4, 3]]


def test_requests_are_not_padded_for_one_another(unresized):
    asked = [{"image": np.zeros((1, side, side, 3), np.uint8)} for side in (2, 5)]
    shapes = [heard.arrays()["pixel_values"].shape for heard in unresized.execute(asked)]
    assert shapes == [(1, 3, 2, 2), (1, 3, 5, 5)]


def test_a_request_without_rows_gets_none(model):
    answer = model.ask(encoded_image=files())
    assert answer["pixel_values"].shape == (0, 3, 8, 8)
    assert answer["original_size"].shape == (0, 2)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claimed(width: int, height: int) -> bytes:
    """Return a PNG file whose header claims that size, with hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


BAD = {
    "empty": (b"", "these 0 bytes are not an image in a known format: PNG, JPEG, WEBP, GIF, TIFF, BMP"),
    "text": (b"not an image", "these 12 bytes are not an image in a known format: PNG, JPEG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "are not an image in a known format"),
    "truncated jpeg": (FILES["jpeg"][:-300], "the image cannot be decoded: "),
    "truncated png": (FILES["png"][: len(FILES["png"]) // 2], "the image cannot be decoded: "),
    "truncated webp": (FILES["webp"][:-50], ""),
    "truncated tiff": (FILES["tiff"][:-90], ""),
    "damaged png": (FILES["png"][:60] + bytes(20) + FILES["png"][80:], "the image cannot be decoded: "),
    "too many pixels": (claimed(8193, 8192), "the image has 8192 x 8193 pixels; the limits are 67,108,864 pixels and "),
    "bomb": (claimed(60_000, 60_000), "the image has more than 67,108,864 pixels"),
    "too long": (claimed(70_000, 1), "the image has 1 x 70000 pixels; the limits are 67,108,864 pixels and 65,536"),
    "no pixels": (claimed(0, 5), ""),
    "32-bit integers": (file_of(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"), "mode 'I' are not supported"),
    "floats": (file_of(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "mode 'F' are not supported"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_file_fails_alone_with_its_reason(model, name):
    content, reason = BAD[name]
    bad, good = model.execute([{"encoded_image": files(content)}, {"image": COLOURS[None]}])
    assert bad.error is not None
    assert bad.error.code().name == "INVALID_ARG"
    assert reason in bad.error.message()
    assert good.arrays()["pixel_values"].shape == (1, 3, 8, 8)


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    st.floats(0.1, 1),
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of much that it can live with
def test_a_damaged_file_is_an_image_or_refused(name, changes, kept):
    content = bytearray(FILES[name])
    del content[int(len(content) * kept) :]
    for place, value in changes:
        content[int(len(content) * place**3)] = value  # most of them in the headers
    try:
        image = decoded(bytes(content))
    except ValueError:
        return
    assert image.mode == "RGB"
    assert image.width * image.height <= MOST_PIXELS


def test_a_bad_row_is_named(model):
    code, message = model.refusal(encoded_image=files(FILES["png"], b"?", FILES["png"]))
    assert (code, message[:24]) == ("INVALID_ARG", "row 1: these 1 bytes are")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "a request takes one of the inputs 'image' and 'encoded_image', but has neither"),
        (
            {"image": COLOURS[None], "encoded_image": files(FILES["png"])},
            "a request takes one of the inputs 'image' and 'encoded_image', but has both",
        ),
        ({"image": np.zeros((1, 0, 4, 3), np.uint8)}, "the image has 0 x 4 pixels, expected at least 1 x 1"),
        (
            {"image": np.zeros((1, 4, 4, 0), np.uint8)},
            "the image has 0 channels, expected 1 (gray), 3 (RGB) or",
        ),
        (
            {"image": np.zeros((1, 4, 4, 2), np.uint8)},
            "the image has 2 channels, expected 1 (gray), 3 (RGB) or",
        ),
        ({"image": np.zeros((1, 1, 65537, 1), np.uint8)}, "the image has 1 x 65537 pixels; the limits are 67,108,864"),
    ],
)
def test_a_bad_request_is_refused(model, arrays, message):
    code, found = model.refusal(**arrays)
    assert code == "INVALID_ARG"
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("step", "shape", "message"),
    [
        (
            ImageStep("resize_shortest", {"edge": 224, "resample": 2}),
            (1, 9000, 3),
            "an image of 1 x 9000 pixels is too narrow: it would be resized to 224 x 2016000",
        ),
        (
            ImageStep("resize_between", {"shortest": 64, "longest": 96, "multiple": 16, "resample": 2}),
            (500, 9, 3),
            "an image of 500 x 9 pixels is too narrow: it would be resized to 96 x 0",
        ),
        (
            ImageStep("pad_centre", {"height": 9, "width": 9}),
            (10, 9, 3),
            "an image of 10 x 9 pixels does not fit into 9 x 9",
        ),
    ],
    ids=["elongated", "vanishing", "large"],
)
def test_an_image_that_the_steps_cannot_take_is_refused_before_memory_is_spent(tmp_path, step, shape, message):
    settings = ImageSettings("", [step], [])
    with written(tmp_path, "image_processor", outputs=OUTPUTS, files={"image.json": settings.to_json()}) as opened:
        assert opened.refusal(image=np.zeros((1, *shape), np.uint8)) == ("INVALID_ARG", message)


@pytest.mark.parametrize("shapes", [[(6, 6)] * 3, [(1, 40), (40, 1)]], ids=["rows", "padding"])
def test_the_images_of_one_request_are_limited_together(monkeypatch, shapes):
    pipeline = ImagePipeline(ImageSettings("", [], [], ImagePadding()).to_pipeline())
    images = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    assert pipeline.run(images)["pixel_values"].shape[0] == len(images)
    monkeypatch.setattr(image_processor, "MOST_PIXELS", 100)
    with pytest.raises(ValueError, match="the images of one request have more than 100 pixels together"):
        pipeline.run(images)


def test_an_image_that_exceeds_a_fixed_padding_is_refused(tmp_path):
    settings = ImageSettings("", [], [], ImagePadding(9, 9))
    with written(tmp_path, "image_processor", outputs=OUTPUTS, files={"image.json": settings.to_json()}) as opened:
        assert opened.ask(image=np.zeros((1, 2, 3, 3), np.uint8))["pixel_values"].shape == (1, 3, 9, 9)
        message = "an image of 10 x 3 pixels does not fit into 9 x 9"
        assert opened.refusal(image=np.zeros((1, 10, 3, 3), np.uint8)) == ("INVALID_ARG", message)


def test_the_limit_is_below_where_pillow_warns():
    assert Image.MAX_IMAGE_PIXELS is None or MOST_PIXELS < Image.MAX_IMAGE_PIXELS
