"""Which headers a pattern forwards, with the rules of tritonserver's regular expressions."""

import pytest

pytest.importorskip("re2", reason="the extra `headers` is not installed")

from slipway.config.header_pattern import HeaderPattern
from slipway.config.options import parse_options
from slipway.errors import SlipwayError


def pattern(text):
    found = parse_options(["models", f"--http-header-forward-pattern={text}"]).http_header_forward_pattern
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("^my-", "My-Header", True),
        ("(?-i)^my-", "My-Header", False),
        ("header$", "My-Header", True),
        ("eade", "My-Header", True),
        ("^header", "My-Header", False),
        ("(TRACE|x-.*)", "x-request", True),
    ],
)
def test_a_part_of_the_name_has_to_match(text, name, expected):
    found = pattern(text)
    assert found.matches(name) is expected
    assert found.matches(name) is expected  # as remembered


def test_no_pattern_forwards_nothing():
    assert parse_options(["models", "--grpc-header-forward-pattern="]).grpc_header_forward_pattern is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [("(", "missing )"), ("(?=a)", "invalid perl operator"), ("((a{999}){999}){999}", "invalid repetition")],
)
def test_what_is_not_an_expression_of_re2_is_refused(text, reason):
    with pytest.raises(SlipwayError, match="is not a regular expression of RE2") as caught:
        parse_options(["models", f"--grpc-header-forward-pattern={text}"])
    assert reason in caught.value.message


def test_a_hostile_name_takes_no_longer_than_it_is():
    # Backtracking would take 2^40 steps and more.
    assert not HeaderPattern("(a+)+$").matches("a" * 60_000 + "!")


def test_the_memory_of_names_is_bounded():
    found = HeaderPattern("^x")
    for number in range(5000):
        assert found.matches(f"x{number}")
        assert not found.matches("y" * 200 + str(number))
    assert len(found._known) <= 1024
    assert max(map(len, found._known)) <= 128


def test_a_header_becomes_a_parameter_and_replaces_one():
    parameters = {"x-a": 1, "kept": True}
    HeaderPattern("^x-").add("x-a", b"one", parameters)
    HeaderPattern("^x-").add("other", b"two", parameters)
    assert parameters == {"x-a": "one", "kept": True}


@pytest.mark.parametrize(
    "name",
    [
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
        "triton_x",
    ],
)
def test_a_reserved_name_is_refused(name):
    with pytest.raises(SlipwayError) as caught:
        HeaderPattern(".*").add(name, "1", {})
    assert caught.value.message == f"Header '{name}' is reserved for Triton usage and cannot be forwarded."


def test_a_long_name_is_cut_in_the_message():
    with pytest.raises(SlipwayError, match=r"^Header 'triton_x{249}\.\.\.' is reserved"):
        HeaderPattern(".*").add("triton_" + "x" * 60_000, "1", {})


def test_a_value_that_is_not_text_is_refused():
    with pytest.raises(SlipwayError, match="Header 'x' is not UTF-8"):
        HeaderPattern("x").add("x", b"\xff", {})
