"""Pictures to compare and calibrate with."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from slipway.convert.vision.pictures import make_picture, read_pictures
from slipway.errors import SlipwayError

SMALL = 224 * 224


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (480, 640)])
def test_made_up_pictures_have_the_size_and_are_the_same_every_time(size):
    for seed in range(6):
        picture = make_picture(seed, *size)
        assert picture.shape == (*size, 3)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, make_picture(seed, *size))


def test_made_up_pictures_differ():
    pictures = [make_picture(seed, 24, 32) for seed in range(40)]
    assert len({picture.tobytes() for picture in pictures}) == 40


def test_a_directory_is_read_in_the_order_of_names_upright_and_in_colour(tmp_path):
    Image.fromarray(np.full((4, 6), 200, np.uint8)).save(tmp_path / "b.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.fromarray(make_picture(0, 8, 16)).save(tmp_path / "a.jpg", exif=turned)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [picture.shape for picture in read_pictures(tmp_path, SMALL)] == [(16, 8, 3), (4, 6, 3)]


@pytest.mark.parametrize(
    ("name", "problem"),
    [("rows.npz", "has no pictures"), ("a.png", r"calibration picture '.*a\.png' cannot be read")],
)
def test_a_directory_without_readable_pictures_is_refused(tmp_path, name, problem):
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    with pytest.raises(SlipwayError, match=problem):
        list(read_pictures(tmp_path, SMALL))


def test_a_file_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(SlipwayError, match="is not a directory"):
        read_pictures(tmp_path / "a.png", SMALL)


@pytest.mark.parametrize(("side", "most"), [(224, 300), (640, 300), (1280, 75), (8192, 8)])
def test_fewer_pictures_are_read_for_a_larger_input(tmp_path, side, most):
    picture = Image.new("RGB", (2, 2))
    for number in range(301):
        picture.save(tmp_path / f"{number}.bmp")
    assert len(list(read_pictures(tmp_path, side * side))) == most
