from __future__ import annotations

import pytest

from slipway.backends.lightseq.model_file import lightseq_file
from slipway.errors import Code, SlipwayError


@pytest.fixture
def model(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    return tmp_path / "m"


def find(model, name):
    return lightseq_file("m", name, model, model / "1")


def test_the_file_lies_beside_the_config(model):
    (model / "a.hdf5").touch()
    assert find(model, "a.hdf5") == model / "a.hdf5"


def test_the_file_may_lie_in_the_version_directory(model):
    (model / "1" / "a.pb").touch()
    assert find(model, "a.pb") == model / "1" / "a.pb"


def test_of_two_files_the_one_beside_the_config_is_meant(model):
    (model / "a.pb").touch()
    (model / "1" / "a.pb").touch()
    assert find(model, "a.pb") == model / "a.pb"


def test_a_file_in_neither_place_is_named_with_both_places(model):
    with pytest.raises(SlipwayError, match=r"'a.pb'.*neither in 'm/' nor in 'm/1/'") as error:
        find(model, "a.pb")
    assert error.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("name", ["a.onnx", "a", "a.pb.gz"])
@pytest.mark.capability("1.17")
def test_an_unknown_extension_is_refused_with_the_known_ones(model, name):
    (model / name).touch()
    with pytest.raises(SlipwayError, match=r"Supported extensions: \.pb, \.hdf5"):
        find(model, name)


@pytest.mark.parametrize("name", ["../a.pb", "/etc/a.pb"])
def test_a_name_that_leaves_the_model_directory_is_refused(model, name):
    with pytest.raises(SlipwayError, match="leaves the model directory"):
        find(model, name)


def test_the_error_for_a_config_without_file_name_says_what_to_write(model):
    with pytest.raises(SlipwayError, match="default_model_filename must name"):
        find(model, "")
