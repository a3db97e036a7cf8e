"""Attacks on the borders between requests: what is in a body stays in it, alone and behind real proxies.

Every row of the corpus contains a request that unloads the model, where it is not a request or may not be one. The
access rule of the proxies forbids it, and to a client without a proxy it is a body.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving import running_server
from slipway.attack.framings import H2C, LAST, WEBSOCKET, FramingCorpus, offers
from slipway.attack.transport import statuses
from tests.attacks.conftest import CONFIG, Target, read_all
from tests.attacks.proxies import PROXIES, find

UNLOAD_PATH = b"/v2/repository/models/fp32/unload"
UNLOAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % UNLOAD_PATH
CORPUS = FramingCorpus(b"/v2/models/fp32/infer", UNLOAD)
ROWS = CORPUS.whole() | CORPUS.broken()
PATHS = (
    UNLOAD_PATH,
    b"http://localhost" + UNLOAD_PATH,
    b"http://evil.example" + UNLOAD_PATH,
    b"HTTP://localhost:80" + UNLOAD_PATH,
    b"/v2//repository/models/fp32/unload",
    b"//v2/repository/models/fp32/unload",
    b"/v2/./repository/models/fp32/unload",
    b"/v2/models/../repository/models/fp32/unload",
    b"/v2/models/%2e%2e/repository/models/fp32/unload",
    b"/v2/%72epository/models/fp32/unload",
    b"/v2%2frepository/models/fp32/unload",
    b"/%76%32/repository/models/fp32/unload",
    b"/V2/Repository/models/fp32/unload",
    b"/v2;x/repository/models/fp32/unload",
    b"/v2\\repository\\models\\fp32\\unload",
    b"/v2/models/fp32/../../repository/models/fp32/unload",
    b"/v2/models/fp32%2f..%2f..%2frepository%2fmodels%2ffp32/unload",
    b"/v2/health/live?" + UNLOAD_PATH,
    b"/v2/health/live#" + UNLOAD_PATH,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    models = tmp_path_factory.mktemp("smuggling") / "models"
    (models / "fp32" / "1").mkdir(parents=True)
    (models / "fp32" / "config.pbtxt").write_text(CONFIG.format(kind="TYPE_FP32", dims="16", batch=8))
    return models


@pytest.fixture(scope="module")
def behind(repository) -> Iterator[Target]:
    """Yield a server that lets clients unload its model."""
    with running_server(repository, "--model-control-mode=explicit", "--load-model=*") as running:
        yield Target(running.ports.http, running.pid)


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request, behind, tmp_path_factory) -> Iterator[Target]:
    """Yield each proxy in front of the server."""
    if find(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with PROXIES[request.param](tmp_path_factory.mktemp(request.param), behind.port) as port:
        yield Target(port, behind.pid)


def send_singly(target: Target, data: bytes) -> bytes:
    """Send `data` byte by byte, each in a packet of its own, and return all answers."""
    with target.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            try:
                connection.sendall(data[at : at + 1])
            except (BrokenPipeError, ConnectionResetError):
                break
        return read_all(connection, 1.0)


def assert_loaded(behind: Target) -> None:
    """Assert that no request to unload the model was taken for one."""
    assert behind.ask("GET", "/v2/models/fp32/ready").status == 200, "the model was unloaded"


FEEDS = {"whole": Target.send, "byte by byte": send_singly}


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_body_never_becomes_a_request(behind, row, feed):
    answers = feed(behind, row.data)
    assert_loaded(behind)
    found = statuses(answers)
    assert len(found) == row.requests, answers
    assert not row.broken or found[-1] >= 400, answers


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_body_never_becomes_a_request_behind_a_proxy(proxy, behind, row, feed):
    answers = feed(proxy, row.data)
    assert_loaded(behind)
    found = statuses(answers)
    if row.broken:  # the proxy may repair it, take its body for a request and refuse that, or close without a word
        assert len(found) <= row.requests + 2, answers
    else:
        assert len(found) == row.requests, answers


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_no_way_to_write_the_path_passes_a_proxys_rule(proxy, behind, path):
    answers = proxy.send(UNLOAD.replace(UNLOAD_PATH, path) + LAST)
    assert_loaded(behind)
    assert statuses(answers)


def test_the_proxies_refuse_what_their_rule_forbids_and_pass_on_the_rest(proxy, behind):
    load = UNLOAD.replace(b"unload", b"load") + LAST
    assert statuses(behind.send(load)) == [200, 200]
    assert statuses(proxy.send(load)) == [403, 200]


@pytest.mark.parametrize("offer", [WEBSOCKET, H2C], ids=["websocket", "h2c"])
def test_three_thousand_offers_of_another_protocol_get_three_thousand_answers(behind, offer):
    assert statuses(send_and_read(behind, offers(offer, 3000))) == [200] * 3000


@pytest.mark.parametrize("offer", [WEBSOCKET, H2C], ids=["websocket", "h2c"])
def test_three_thousand_offers_get_three_thousand_answers_behind_a_proxy(proxy, offer):
    assert statuses(send_and_read(proxy, offers(offer, 3000))) == [200] * 3000


def send_and_read(target: Target, data: bytes) -> bytes:
    """Send everything while reading the answers: a client that only sends would be made to wait."""
    with target.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        answers = read_all(connection, 20.0)
        sender.join(20)
    return answers
