"""The flags of API keys: what is refused, what is warned of, and that nothing shows a key."""

from __future__ import annotations

import pytest

from slipway.config.exposure import exposure_warnings
from slipway.config.option_report import option_lines
from slipway.config.options import fronts, parse_options
from slipway.errors import SlipwayError

SECRET = "sk-t0p-secret"  # noqa: S105  of these tests
OPEN = ["--http-address=0.0.0.0", "--grpc-address=0.0.0.0"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def mistake(words, environment=None):
    with pytest.raises(SlipwayError) as caught:
        parse_options(["models", *words], environment or {})
    assert SECRET not in caught.value.message
    return caught.value.message


def test_keys_come_from_flags_a_variable_and_a_file(file):
    assert parse_options(["models"], {}).api_keys() is None
    for words, environment in (
        ([f"--api-key={SECRET}", "--api-key=b"], {}),
        ([], {"SLIPWAY_API_KEY": f"b\n{SECRET}"}),
        ([f"--api-key-file={file}"], {}),
        (["--api-key=b"], {"SLIPWAY_API_KEY_FILE": str(file)}),
    ):
        options = parse_options(["models", *words], environment)
        keys = options.api_keys()
        assert keys.refusal(f"Bearer {SECRET}".encode(), b"") == ""
        assert keys.refusal(b"Bearer c", b"") != ""
        assert SECRET not in repr(options)
        assert SECRET not in "\n".join(option_lines(options))


@pytest.mark.parametrize("words", [["--api-key="], [f"--api-key={SECRET} "], [f"--api-kye={SECRET}"]])
def test_a_mistake_does_not_show_the_key(words):
    assert "api-key" in mistake(words)


def test_the_value_of_a_misspelt_flag_is_not_shown_either():
    assert mistake(["--api-kye", SECRET]) == "unrecognized option '--api-kye'; did you mean '--api-key'?"
    assert mistake([f"--API-KEY={SECRET}"]) == "unrecognized option '--API-KEY'; did you mean '--api-key'?"
    assert mistake([f"-api-key={SECRET}"]) == "unrecognized option '-api-key'; did you mean '--api-key'?"
    assert mistake(["--http-restricted-apis", SECRET]).startswith("unrecognized option '--http-restricted-apis';")
    assert mistake(["--api-kye", "--http-port=x"]).endswith('Bad option: "--http-port". Invalid option value. Got x')


def test_an_empty_variable_is_refused_rather_than_serving_without_keys():
    assert mistake([], {"SLIPWAY_API_KEY": ""}) == 'Bad option: "SLIPWAY_API_KEY". the key is empty'
    assert mistake([], {"SLIPWAY_API_KEY_FILE": ""}).startswith('Bad option: "SLIPWAY_API_KEY_FILE". expected a file')


def test_a_file_that_cannot_be_used_is_refused(tmp_path):
    assert mistake([f"--api-key-file={tmp_path / 'absent'}"]) == (
        f"--api-key-file: '{tmp_path / 'absent'}' cannot be read: No such file or directory"
    )
    (tmp_path / "broken").write_text(f"{SECRET} {SECRET}\n")
    assert "line 1: expected one key" in mistake([f"--api-key-file={tmp_path / 'broken'}"])


def test_metrics_need_a_key_only_if_there_is_one():
    assert mistake(["--metrics-require-api-key"]) == "--metrics-require-api-key needs --api-key-file or --api-key"
    assert parse_options(["models", "--metrics-require-api-key", "--api-key=a"], {}).metrics_require_api_key


def test_a_key_that_others_can_read_is_warned_of(file, tmp_path):
    assert parse_options(["models", f"--api-key-file={file}"], {"SLIPWAY_API_KEY": "a"}).warnings == ()
    (warning,) = parse_options(["models", "--api-key=a"], {}).warnings
    assert warning.startswith("--api-key can be read in the list of processes")
    file.chmod(0o644)
    (warning,) = parse_options(["models", f"--api-key-file={file}"], {}).warnings
    assert warning == f"'{file}' contains API keys and can be read by every user of this machine: chmod o-r '{file}'"
    config = tmp_path / "slipway.toml"
    config.write_text("http-port = 1\n")
    config.chmod(0o644)
    assert parse_options(["models", f"--config={config}"], {}).warnings == ()
    config.write_text("api-key = 'a'\n")
    (warning,) = parse_options(["models", f"--config={config}"], {}).warnings
    assert warning.startswith(f"'{config}' contains API keys")


def test_a_key_protects_a_server_that_others_reach(file):
    def warnings(*words):
        return list(exposure_warnings(fronts(parse_options(["models", *OPEN, *words], {}))))

    assert all("WITHOUT ANY PROTECTION" in each for each in warnings())
    assert "--api-key-file for a key on every route" in warnings()[0]
    assert warnings(f"--api-key-file={file}") == [
        "HTTP on 0.0.0.0:8000 is not encrypted: the API key can be read on the way to it",
        "GRPC on 0.0.0.0:8001 is not encrypted: the API key can be read on the way to it",
    ]
