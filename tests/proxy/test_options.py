"""Flags, the variable that replaces them under uvicorn's command, and the key."""

from __future__ import annotations

import pytest

from slipway.errors import SlipwayError
from slipway.proxy.options import options_of_line, parse_options


def parse(*arguments: str, **variables: str):
    return parse_options(arguments, variables)


def test_the_defaults_are_the_applications_ports():
    options = parse()
    assert (options.server, options.port, options.address) == ("localhost:8001", 8005, "127.0.0.1")


@pytest.mark.parametrize(
    ("text", "target", "encrypted"),
    [
        ("triton:8001", "triton:8001", False),
        ("http://triton:8001", "triton:8001", False),
        ("https://triton:8001/", "triton:8001", True),
        ("[::1]:8001", "[::1]:8001", False),
    ],
)
def test_a_server_is_an_address_with_a_port(text, target, encrypted):
    options = parse(f"--server={text}")
    assert (options.target, options.is_encrypted) == (target, encrypted)


@pytest.mark.parametrize("text", ["triton", "unix:/tmp/x", "dns:///a:1", "a:1,b:2", "http://a:1/path", "a:x"])
def test_other_servers_are_refused(text):
    with pytest.raises(SlipwayError, match="expected HOST:PORT"):
        parse(f"--server={text}")


def test_an_unknown_flag_is_refused_with_the_nearest_and_all_mistakes_at_once():
    with pytest.raises(SlipwayError, match=r"did you mean '--server'.*Unexpected argument: models.*--port"):
        parse("--sever=a:1", "--port=x", "models")


def test_uvicorns_command_takes_the_flags_from_a_variable():
    options = options_of_line("--server 'a:1' --timeout-secs=5", {})
    assert (options.server, options.timeout_secs) == ("a:1", 5.0)
    with pytest.raises(SlipwayError, match="SLIPWAY_PROXY_OPTIONS: No closing quotation"):
        options_of_line("'", {})


def test_the_key_comes_from_the_file_or_else_from_the_variable(tmp_path):
    file = tmp_path / "key"
    file.write_text("# for the proxy\n\nsecret-1\nsecret-2\n")
    assert parse(SLIPWAY_API_KEY="other\n").key == "other"
    options = parse(f"--api-key-file={file}", SLIPWAY_API_KEY="other")
    assert options.key == "secret-1"
    assert "secret" not in repr(options)
    assert parse(SLIPWAY_API_KEY_FILE=str(file)).key == "secret-1"


@pytest.mark.parametrize("content", ["", "# nothing\n", "line\x00", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused(tmp_path, content):
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(SlipwayError, match="key"):
        parse(f"--api-key-file={file}")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--client-certificate=/etc/hostname"], "belong together"),
        (["--ca-certificate=/etc/hostname"], "no effect without https"),
        (["--log-config=/nowhere"], "--log-config: '/nowhere' is not a file"),
    ],
)
def test_files_that_do_not_fit_are_refused(flags, text):
    with pytest.raises(SlipwayError, match=text):
        parse(*flags)


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        ([], False),
        (["--address=::1"], False),
        (["--address=0.0.0.0"], True),
        (["--host=10.0.0.1"], True),
        (["--address=0.0.0.0", "--forward-authorization"], False),
    ],
)
def test_a_proxy_that_others_reach_without_a_key_warns(flags, warned):
    assert bool(parse(*flags).warning) is warned
