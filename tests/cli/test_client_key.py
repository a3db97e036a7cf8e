"""The API key that commands send: where it comes from, and that mistakes do not show it."""

from __future__ import annotations

import pytest

from slipway.cli.client_key import key_headers
from slipway.cli.main import main
from slipway.errors import SlipwayError

KEY = "sk-cl1ent"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "key"
    path.write_text(f"# mine\n{KEY}  # and nobody else's\nsecond\n")
    return path


def sent(key=None, file=None, headers=(), **environment):
    return key_headers(key, file, headers, environment)


def test_a_flag_comes_before_the_variables(file):
    bearer = {"authorization": f"Bearer {KEY}"}
    assert sent() == {}
    assert sent(KEY, SLIPWAY_API_KEY="other") == bearer
    assert sent(file=file, SLIPWAY_API_KEY="other") == bearer
    assert sent(SLIPWAY_API_KEY=f"{KEY}\nsecond\n", SLIPWAY_API_KEY_FILE="/absent") == bearer
    assert sent(SLIPWAY_API_KEY_FILE=str(file)) == bearer


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
def test_a_header_of_ones_own_is_kept(file, name):
    assert sent(file=file, headers=[(name, "mine"), ("a", "b")]) == {name: "mine", "a": "b"}
    assert sent(KEY, headers=[("a", "b")]) == {"a": "b", "authorization": f"Bearer {KEY}"}


def test_a_mistake_does_not_show_the_key(tmp_path):
    for arguments, environment in (
        ((f"{KEY} {KEY}", None), {}),
        ((None, tmp_path / "absent"), {}),
        ((None, None), {"SLIPWAY_API_KEY": ""}),
        ((None, None), {"SLIPWAY_API_KEY_FILE": str(tmp_path)}),
        ((KEY, tmp_path), {}),
    ):
        with pytest.raises(SlipwayError) as caught:
            sent(*arguments, **environment)
        assert KEY not in caught.value.message
        assert "api-key" in caught.value.message.lower().replace("_", "-")


def test_verify_needs_a_server_for_a_key(capsys):
    with pytest.raises(SystemExit):
        main(["verify", "models", "--api-key", KEY])
    error = capsys.readouterr().err
    assert "argument --api-key: needs argument --url" in error
    assert KEY not in error
