"""A page becomes the input of the detector, with the size, the padding and the levels of the contract."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.documents.fitting import fitted, fitted_size
from slipway.documents.letterbox import letterbox, page_batch, page_batches, scaled_size
from slipway.documents.resampling import Filter, bands, resize
from slipway.errors import SlipwayError

SIDES = st.integers(1, 40)


def resized(page, height, width, how):
    out = np.empty((3, height, width), np.float32)
    resize(page, out, how)
    return out


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def linear(line, target):
    """Return a line of levels resized as OpenCV's INTER_LINEAR does, one pixel at a time."""
    found = []
    for number in range(target):
        at = min(max((number + 0.5) * len(line) / target - 0.5, 0), len(line) - 1)
        below = int(at)
        above = min(below + 1, len(line) - 1)
        found.append(line[below] * (1 - (at - below)) + line[above] * (at - below))
    return found


def lanczos(line, target):
    """Return a line of levels resized by a sinc with three lobes, one pixel at a time."""
    scale = len(line) / target
    stretch = max(scale, 1)
    found = []
    for number in range(target):
        weights = []
        for pixel in range(len(line)):
            at = abs(pixel + 0.5 - (number + 0.5) * scale) / stretch
            weights.append(np.sinc(at) * np.sinc(at / 3) if at < 3 else 0.0)
        found.append(np.dot(weights, line) / sum(weights))
    return found


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([(Filter.LINEAR, linear), (Filter.LANCZOS, lanczos)]))
@settings(max_examples=40)
def test_a_resized_page_has_the_levels_of_the_plain_sum(height, width, new_height, new_width, filters):
    how, plain = filters
    page = noise(height, width)
    wide = np.apply_along_axis(plain, 1, page.astype(float), new_width)
    exact = np.apply_along_axis(plain, 0, wide, new_height).clip(0, 255)
    found = resized(page, new_height, new_width, how).transpose(1, 2, 0)
    assert found.shape == exact.shape
    assert (found == found.round()).all()
    assert np.abs(found - exact).max() <= 0.5 + 1e-3


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1600), st.integers(1, 1600))
def test_a_page_is_fitted_to_the_size_that_pillow_chooses(height, width, most_height, most_width):
    image = pytest.importorskip("PIL.Image").new("1", (width, height))
    image.thumbnail((most_width, most_height), 0)
    assert fitted_size(height, width, most_height, most_width) == (image.height, image.width)


def test_a_fitted_page_looks_like_pillows():
    pillow = pytest.importorskip("PIL.Image")
    smooth = resized(noise(12, 9), 700, 500, Filter.LINEAR).transpose(1, 2, 0).astype(np.uint8)
    image = pillow.fromarray(smooth)
    image.thumbnail((333, 300), pillow.Resampling.LANCZOS)
    found = fitted(smooth, 300, 333)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.asarray(image)).max() <= 1


def test_a_page_that_fits_is_not_touched():
    page = noise(30, 20)
    assert fitted(page, 30, 20) is page


def test_the_weights_of_few_sizes_are_kept():
    for height in range(1, 60):
        bands(height, 7, Filter.LINEAR, 4)
    assert bands.cache_info().currsize <= 16


@pytest.mark.capability("3.17")
def test_a_page_of_1536_by_1187_is_1024_by_791_with_padding_of_114():
    assert scaled_size(1536, 1187) == (1024, 791)
    box = letterbox(np.full((1536, 1187, 3), 7, np.uint8))
    assert box.shape == (3, 1024, 1024)
    assert box.dtype == np.float32
    assert (box[:, :, :791] == 7).all()
    assert (box[:, :, 791:] == 114).all()


def test_a_landscape_page_has_its_padding_below():
    box = letterbox(np.full((500, 2000, 3), 255, np.uint8))
    assert (box[:, :256] == 255).all()
    assert (box[:, 256:] == 114).all()


def test_channels_stay_in_the_order_of_rgb():
    box = letterbox(np.full((1024, 1024, 3), (1, 2, 3), np.uint8))
    assert box[:, 500, 500].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("size", "inside"),
    [((1, 1), (1024, 1024)), ((1, 5000), (1, 1024)), ((5000, 1), (1024, 1)), ((3, 2), (1024, 682))],
    ids=["pixel", "row", "column", "tiny"],
)
def test_small_and_thin_images_have_at_least_a_pixel(size, inside):
    box = letterbox(np.full(size, 9, np.uint8))
    assert (box == 9).sum() == 3 * inside[0] * inside[1]
    assert (box[:, : inside[0], : inside[1]] == 9).all()


def test_a_large_page_is_reduced_before_it_is_scaled():
    page = noise(1700, 1300)
    batch = page_batch([page])
    assert batch.sizes == ((1536, 1175),)
    assert (batch.pixels[0] == letterbox(fitted(page, 1536, 1536))).all()


def test_a_batch_holds_the_same_as_its_pages_alone():
    pages = [noise(60, 40), noise(40, 60, 1)[:, :, 0], np.concatenate([noise(9, 9)] * 2, axis=2)[:, :, :4]]
    batch = page_batch(pages)
    assert batch.pixels.shape == (3, 3, 1024, 1024)
    assert batch.sizes == ((60, 40), (40, 60), (9, 9))
    for page, pixels in zip(pages, batch.pixels, strict=True):
        assert (letterbox(page) == pixels).all()


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (3, [2, 1]), (8, [8]), (15, [8, 4, 2, 1]), (17, [8, 8, 1])]
)
def test_batches_are_powers_of_two_up_to_eight(count, sizes):
    pages = [np.full((1, 1), number, np.uint8) for number in range(count)]
    batches = list(page_batches(pages))
    assert [len(batch.pixels) for batch in batches] == sizes
    assert [int(pixels[0, 0, 0]) for batch in batches for pixels in batch.pixels] == list(range(count))


def test_a_batch_of_no_or_too_many_pages_is_refused():
    for count in (0, 9):
        with pytest.raises(SlipwayError, match=f"a batch of {count} pages: expected 1 to 8"):
            page_batch([np.zeros((1, 1), np.uint8)] * count)
