"""An image is a page of RGB values, however it was stored, or a clear error."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest

from slipway.documents import pages
from slipway.documents.pages import MOST_SIDE, checked_page, open_page
from slipway.errors import Code, SlipwayError

Image = pytest.importorskip("PIL.Image")

GRADIENT = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3


def encoded(image, kind="PNG", **options):
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def png_header(width, height):
    """Return a PNG file that claims a size and has no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\x10IDAT"
    )


def test_gray_arrays_have_three_equal_channels():
    gray = GRADIENT[:, :, 0]
    for array in (gray, gray[:, :, None]):
        page = checked_page(array)
        assert page.shape == (6, 4, 3)
        assert (page == gray[:, :, None]).all()


def test_transparent_pixels_show_white_paper():
    alpha = np.zeros((6, 4, 1), np.uint8)
    assert (checked_page(np.concatenate([GRADIENT, alpha], axis=2)) == 255).all()
    assert (checked_page(np.concatenate([GRADIENT, alpha + 255], axis=2)) == GRADIENT).all()
    half = checked_page(np.array([[[0, 128]]], np.uint8))
    assert half.tolist() == [[[127, 127, 127]]]


def test_a_page_is_laid_on_paper_in_strips_as_in_one_piece(monkeypatch):
    random = np.random.default_rng(0)
    for channels in (2, 4):
        array = random.integers(0, 256, (7, 5, channels), np.uint8)
        whole = checked_page(array)
        monkeypatch.setattr(pages, "_BLENDED", 10)
        assert (checked_page(array) == whole).all()
        monkeypatch.undo()


def test_a_transparent_page_takes_little_more_memory_than_its_pixels():
    array = np.full((2048, 2048, 4), 7, np.uint8)
    tracemalloc.start()
    page = checked_page(array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert page.nbytes <= peak < 2 * array.nbytes


def test_a_page_that_is_a_view_becomes_contiguous():
    page = checked_page(GRADIENT[::-1, ::2])
    assert page.flags.c_contiguous
    assert (page == GRADIENT[::-1, ::2]).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GRADIENT.astype(np.float32), "its type is float32, expected uint8"),
        (np.zeros((2, 2, 5), np.uint8), r"its shape is \[2, 2, 5\]"),
        (np.zeros(3, np.uint8), r"its shape is \[3\]"),
        (np.zeros((0, 4, 3), np.uint8), "it has 0 x 4 pixels, expected at least 1 x 1"),
        (np.zeros((4, 0), np.uint8), "it has 4 x 0 pixels"),
        (np.broadcast_to(np.uint8(0), (1, MOST_SIDE + 1)), "it has 1 x 65537 pixels; the limits are"),
        (np.broadcast_to(np.uint8(0), (9000, 9000)), "67,108,864 pixels"),
    ],
    ids=["type", "channels", "axes", "no-rows", "no-columns", "side", "pixels"],
)
def test_an_array_that_is_not_a_page_is_refused(array, message):
    with pytest.raises(SlipwayError, match=message) as caught:
        checked_page(array)
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("BMP", {})])
def test_lossless_files_give_the_pixels_back(kind, options):
    assert (open_page(encoded(Image.fromarray(GRADIENT), kind, **options)) == GRADIENT).all()


def test_a_jpeg_is_close_to_its_source():
    flat = np.full((32, 48, 3), (200, 40, 90), np.uint8)
    page = open_page(encoded(Image.fromarray(flat), "JPEG", quality=95))
    assert page.shape == flat.shape
    assert np.abs(page.astype(int) - flat).max() <= 3


def test_palette_gray_bilevel_and_cmyk_files_are_converted_to_rgb():
    red = Image.new("RGB", (3, 2), (255, 0, 0))
    assert (open_page(encoded(red.quantize(4))) == (255, 0, 0)).all()
    assert (open_page(encoded(Image.new("L", (3, 2), 77))) == 77).all()
    assert (open_page(encoded(Image.new("1", (3, 2), 1))) == 255).all()
    assert (open_page(encoded(Image.new("CMYK", (3, 2), (0, 255, 255, 0)), "TIFF")) == (255, 0, 0)).all()
    assert (open_page(encoded(Image.new("RGBA", (3, 2), (9, 9, 9, 0)))) == 255).all()
    assert (open_page(encoded(Image.new("LA", (3, 2), (9, 0)))) == 255).all()


def test_a_palette_with_a_transparent_colour_shows_white_there():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert open_page(encoded(image, transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_gray_of_16_bits_keeps_its_upper_byte():
    deep = Image.fromarray(np.array([[0, 0x1234], [0x8000, 0xFFFF]], np.uint16))
    assert open_page(encoded(deep))[:, :, 0].tolist() == [[0, 0x12], [0x80, 0xFF]]


def test_pixels_without_an_obvious_colour_are_unsupported():
    with pytest.raises(SlipwayError, match="mode 'F' are not supported") as caught:
        open_page(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))
    assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, GRADIENT), (3, GRADIENT[::-1, ::-1]), (6, np.rot90(GRADIENT, -1)), (8, np.rot90(GRADIENT))],
    ids=["upright", "upside-down", "right", "left"],
)
def test_a_page_is_turned_upright(orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    page = open_page(encoded(Image.fromarray(GRADIENT), exif=exif))
    assert page.shape == upright.shape
    assert (page == upright).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, beside its error
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_a_file_that_ends_early_is_an_error(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for length in (0, 1, 20, len(data) // 2, len(data) - 200):
        with pytest.raises(SlipwayError, match="image: ") as caught:
            open_page(data[:length])
        assert caught.value.code is Code.INVALID_ARG


def test_bytes_that_are_not_an_image_are_an_error():
    for data in (b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a" + bytes(40), b"<svg/>", bytes(1000)):
        with pytest.raises(SlipwayError, match="not an image in a known format"):
            open_page(data)


@pytest.mark.parametrize("side", [8200, 12_000, 30_000], ids=["ours", "pillow-warns", "pillow-refuses"])
def test_a_file_that_claims_too_many_pixels_is_refused_before_they_are_decoded(side):
    with pytest.raises(SlipwayError, match="67,108,864 pixels") as caught:
        open_page(png_header(side, side))
    assert caught.value.code is Code.INVALID_ARG


def test_without_pillow_the_error_gives_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SlipwayError, match=r"needs Pillow: pip install .*documents") as caught:
        open_page(b"")
    assert caught.value.code is Code.UNSUPPORTED
