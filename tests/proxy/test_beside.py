"""`slipway serve --proxy`: the proxy's flags follow from the server's, and what it could not reach is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.config.options import ServerOptions, parse_options
from slipway.errors import SlipwayError
from slipway.proxy.beside import proxy_flags
from slipway.proxy.options import parse_options as parse_proxy_options


def test_the_proxy_takes_over_limits_names_and_logs():
    server = ServerOptions(http_max_input_size=1000, http_allowed_hosts=("a.example", ".b"), log_access=True)
    options = parse_proxy_options(proxy_flags(server, 4321), {})
    assert options.server == "127.0.0.1:4321"
    assert (options.max_body_bytes, options.log_access) == (1000, True)
    assert options.http_allowed_hosts == ("a.example", ".b")
    assert not options.forward_authorization


@pytest.mark.parametrize(
    ("address", "target"),
    [("0.0.0.0", "127.0.0.1:1"), ("::", "[::1]:1"), ("::1", "[::1]:1"), ("10.0.0.1", "10.0.0.1:1")],  # noqa: S104
)
def test_the_proxy_connects_to_where_the_server_listens(address, target):
    assert parse_proxy_options(proxy_flags(ServerOptions(grpc_address=address), 1), {}).server == target


def test_a_limit_that_no_body_reaches_is_cut_to_what_the_proxy_knows():
    assert parse_proxy_options(proxy_flags(ServerOptions(http_max_input_size=2**62), 1), {}).max_body_bytes == 2**31 - 1


def test_a_server_that_needs_keys_has_a_proxy_that_forwards_them(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    options = parse_proxy_options(proxy_flags(ServerOptions(api_key_file=Path(keys)), 1), {})
    assert (options.forward_authorization, options.key) == (True, "secret")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--allow-grpc=false"], "--proxy needs gRPC"),
        (["--grpc-use-ssl", "--grpc-server-cert=/etc/hostname", "--grpc-server-key=/etc/hostname"], "without TLS"),
        (["--grpc-restricted-protocol=inference:key=value"], "does not send the headers"),
        (["--proxy-port=8000"], "same address and port"),
    ],
)
def test_a_proxy_that_could_not_work_is_refused(flags, text):
    with pytest.raises(SlipwayError, match=text):
        parse_options(["models", "--proxy", *flags], {})
    if "proxy" not in flags[0]:
        parse_options(["models", *flags], {})
