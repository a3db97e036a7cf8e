import pytest

from slipway.errors import Code, SlipwayError
from slipway.repository.names import check_model_name


@pytest.mark.parametrize("name", ["", " ", "\t\n "])
def test_an_empty_name_is_refused_in_tritons_words(name):
    with pytest.raises(SlipwayError, match=r"^Model name cannot be empty. Please enter a valid name to deploy.$"):
        check_model_name(name)


@pytest.mark.parametrize(
    "name",
    ["../etc", "a/../b", "/etc/passwd", "model/..", "..", ".", " ..", ".. ", "model/subdir", "model/", "a\\b", "a\0b"],
)
def test_a_name_that_leaves_the_repository_is_refused_in_tritons_words(name):
    with pytest.raises(SlipwayError, match="model name must not contain path traversal characters") as caught:
        check_model_name(name)
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize("name", ["m", "model.version1", "...", "..my_model", "model..1", "x" * 300, "%2e%2e%2f"])
def test_a_name_that_is_one_path_component_passes(name):
    check_model_name(name)
