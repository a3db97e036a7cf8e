"""Restrictions of APIs: what the flags accept, where a secret may come from, and what opens them."""

import pytest

from slipway.config.options import parse_options
from slipway.config.restrictions import GROUPS, by_group
from slipway.errors import SlipwayError


def restriction(value, flag="http-restricted-api"):
    options = parse_options(["models", f"--{flag}={value}"])
    (found,) = getattr(options, flag.replace("-", "_"))
    return found


def mistake(*words):
    with pytest.raises(SlipwayError) as caught:
        parse_options(["models", *words])
    return caught.value.message


@pytest.mark.parametrize(
    ("given", "groups", "header", "value"),
    [
        ("health:admin-key=admin-value", ("health",), "admin-key", b"admin-value"),
        ("health,trace:X-Key=a=b:c@d", ("health", "trace"), "X-Key", b"a=b:c@d"),
        ("inference:key=@/path", ("inference",), "key", b"@/path"),
        ("inference:key=$ENV", ("inference",), "key", b"$ENV"),
        ("inference:key= padded ", ("inference",), "key", b"padded"),
        ("inference:key=schlüssel", ("inference",), "key", "schlüssel".encode()),
    ],
)
def test_a_value_of_triton_keeps_its_meaning(given, groups, header, value):
    found = restriction(given)
    assert (found.groups, found.header) == (groups, header)
    assert found.admits(value)


@pytest.mark.parametrize("sent", [None, b"", b"secre", b"secrets", b"Secret", b"secret, secret", b"\xff", b"s\0"])
def test_only_the_value_itself_opens_an_api(sent):
    assert not restriction("health:key=secret").admits(sent)


def test_a_secret_may_be_in_a_file(tmp_path):
    (tmp_path / "key=1").write_bytes("geh\u00e4im\r\n".encode())
    assert restriction(f"health:key@file:{tmp_path / 'key=1'}").admits("geh\u00e4im".encode())


def test_a_secret_may_be_in_the_environment(monkeypatch):
    monkeypatch.setenv("KEY_OF_TEST", "s3cret")
    assert restriction("health:key@env:KEY_OF_TEST", "grpc-restricted-protocol").admits(b"s3cret")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("helth:k=v", "unknown restricted api 'helth'; did you mean 'health'?"),
        (",health:k=v", "unknown restricted api ''; expected one of health, metadata, inference"),
        ("Health:k=v", "unknown restricted api 'Health'; did you mean 'health'?"),
        ("health:k@env:NO_SUCH_VARIABLE_HERE", "the environment does not have a variable 'NO_SUCH_VARIABLE_HERE'"),
        ("health:k@file:/absent", "'/absent' cannot be read: No such file or directory"),
        ("health:k@/absent", "expected file:PATH or env:NAME after '@'"),
        ("health:k=a\nb", "the value is not one line of text"),
        ("health:k= ", "the value is empty"),
        ("health", "option format is '<config name>:<setting>=<value>'"),
        ("health:=v", "option format is"),
        (":k=v", "option format is"),
        ("health:k=", "option format is"),
        ("health:a key=v", "option format is"),
    ],
)
def test_a_mistake_is_named(given, message):
    assert message in mistake(f"--http-restricted-api={given}")


def test_the_words_for_grpc_are_protocols():
    assert "unknown restricted protocol 'x'" in mistake("--grpc-restricted-protocol=x:k=v")


@pytest.mark.parametrize("given", ["k=hidden-value", "health:a key=hidden-value", "health,nope:k=hidden-value"])
def test_no_message_contains_the_secret(given):
    assert "hidden-value" not in mistake(f"--http-restricted-api={given}")


def test_an_oversized_or_empty_file_is_refused(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 20_000)
    (tmp_path / "empty").write_bytes(b"\n")
    assert "is larger than 16384 bytes" in mistake(f"--http-restricted-api=health:k@file:{tmp_path / 'large'}")
    assert "is empty" in mistake(f"--http-restricted-api=health:k@file:{tmp_path / 'empty'}")


def test_a_group_is_restricted_once():
    words = ["--http-restricted-api=health,inference:a=1", "--http-restricted-api=health:b=2"]
    assert mistake(*words) == "restricted api 'health' can not be specified in multiple config groups"
    assert "restricted protocol 'trace' can not" in mistake("--grpc-restricted-protocol=trace,trace:a=1")


def test_several_groups_have_keys_of_their_own():
    words = ["--http-restricted-api=health:a=1", "--http-restricted-api=trace:b=2"]
    found = by_group(parse_options(["models", *words]).http_restricted_api, "prefix-")
    assert {group: each.header for group, each in found.items()} == {"health": "prefix-a", "trace": "prefix-b"}


def test_every_group_of_triton_can_be_restricted():
    assert restriction(f"{','.join(GROUPS)}:k=v").groups == GROUPS


def test_the_options_do_not_show_a_secret():
    options = parse_options(["models", "--http-restricted-api=health:key=hidden-value"])
    assert "hidden-value" not in repr(options)
