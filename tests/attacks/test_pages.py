"""Attacks from a web page in the browser of somebody who can reach the server: rebinding, forms, foreign origins."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.attack.pages import HOSTS, ORIGINS
from slipway.rest.access import access_to
from slipway.rest.exchange import Exchange
from slipway.rest.framing import HttpHead
from tests.attacks.conftest import CONFIG, Answer, Target, assert_refused

LOAD, UNLOAD = "/v2/repository/models/fp32/load", "/v2/repository/models/fp32/unload"
INFER = "/v2/models/fp32/infer"
REQUEST = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}]})
SETTINGS = ("/v2/logging", "/v2/trace/setting", "/v2/models/fp32/trace/setting")
STATE = (
    LOAD,
    UNLOAD,
    "/v2/systemsharedmemory/region/r/register",
    "/v2/systemsharedmemory/region/r/unregister",
    "/v2/systemsharedmemory/unregister",
    "/v2/cudasharedmemory/region/r/register",
    *SETTINGS,
)
READ = ("/v2", "/v2/health/ready", "/v2/models/fp32", "/v2/models/fp32/config", "/v2/models/stats", *SETTINGS)
OWN = ("localhost", "LOCALHOST:8000", "localhost.", "a.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]:8000", "10.1.2.3")
FOREIGN = HOSTS


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    models = tmp_path_factory.mktemp("pages") / "models"
    (models / "fp32" / "1").mkdir(parents=True)
    (models / "fp32" / "config.pbtxt").write_text(CONFIG.format(kind="TYPE_FP32", dims="16", batch=8))
    return models


@pytest.fixture(scope="module")
def local(repository) -> Iterator[Target]:
    """Yield a server on loopback that lets clients load models."""
    with running_server(repository, "--model-control-mode=explicit", "--load-model=*") as running:
        yield Target(running.ports.http, running.pid)


@pytest.fixture(scope="module")
def reachable(repository) -> Iterator[Target]:
    """Yield a server that other machines can reach and that knows two names of its own."""
    flags = ("--http-address=0.0.0.0", "--http-allowed-hosts=models.example,.inside.example")
    with running_server(repository, "--model-control-mode=explicit", "--load-model=*", *flags) as running:
        yield Target(running.ports.http, running.pid)


def post(target: Target, path: str, body: str = "{}", **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return target.ask("POST", path, body.encode(), {"Host": f"localhost:{target.port}", **given})


@pytest.mark.parametrize("host", OWN)
def test_a_local_server_answers_to_its_own_names_and_to_addresses(local, host):
    assert [local.ask("GET", path, headers={"Host": host}).status for path in READ] == [200] * len(READ)
    assert post(local, LOAD, Host=host).status == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_was_rebound_to_a_local_server_gets_nothing(local, host):
    for path in READ:
        assert_refused(local.ask("GET", path, headers={"Host": host}), "is not a name of this server", 403)
    for path in (*STATE, INFER):
        assert_refused(post(local, path, Host=host), "Use --http-allowed-hosts to add it", 403)


def test_the_metrics_of_a_local_server_are_not_for_a_name_that_was_rebound(repository):
    with running_server(repository) as running:
        metrics = Target(running.ports.metrics, running.pid)
        assert metrics.ask("GET", "/metrics", headers={"Host": "localhost"}).status == 200
        assert_refused(metrics.ask("GET", "/metrics", headers={"Host": "evil.example"}), "is not a name", 403)


@pytest.mark.parametrize("host", ["load-balancer", *FOREIGN])
def test_a_server_that_others_reach_answers_to_any_name_but_changes_state_only_for_its_own(reachable, host):
    assert [reachable.ask("GET", path, headers={"Host": host}).status for path in READ] == [200] * len(READ)
    assert post(reachable, INFER, REQUEST, Host=host).status == 200
    for path in STATE:
        assert_refused(post(reachable, path, Host=host), f"'{host}' is not a name of this server", 403)


@pytest.mark.parametrize(
    "host", ["models.example", "MODELS.example:80", "a.b.inside.example", "inside.example", socket.gethostname(), *OWN]
)
def test_names_that_were_allowed_and_the_machines_own_may_change_state(reachable, host):
    assert post(reachable, LOAD, Host=host).status == 200


@pytest.mark.parametrize(
    "origin",
    [*ORIGINS, "", "localhost:{port}"],
)
@pytest.mark.parametrize("path", STATE)
def test_a_page_of_another_origin_cannot_change_state(local, path, origin):
    answer = post(local, path, Origin=origin.format(port=local.port), Content_Type="application/json")
    assert_refused(answer, "may not change this server", 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_a_request_that_a_browser_marks_as_foreign_cannot_change_state(local, site):
    assert_refused(post(local, UNLOAD, Sec_Fetch_Site=site), "a web page of 'another site'", 403)


@pytest.mark.parametrize("origin", ["http://models.example", "https://x.inside.example:9000"])
def test_pages_of_allowed_hosts_may_change_state(reachable, origin):
    headers = {"Origin": origin, "Sec_Fetch_Site": "cross-site", "Content_Type": "application/json"}
    assert post(reachable, LOAD, **headers).status == 200


def test_the_servers_own_pages_may_change_state(local):
    own = {"Origin": f"http://localhost:{local.port}", "Sec_Fetch_Site": "same-origin"}
    assert post(local, LOAD, Content_Type="application/json; charset=utf-8", **own).status == 200
    assert post(local, LOAD, body="", **own).status == 200


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"])
@pytest.mark.parametrize("sign", ["Origin", "Referer", "Sec-Fetch-Mode"])
def test_a_body_from_a_browser_is_json_or_changes_nothing(local, media, sign):
    page = f"http://localhost:{local.port}"
    headers = {sign: "navigate" if sign.startswith("Sec") else page, "Content-Type": media}
    assert_refused(post(local, LOAD, **headers), "has to send 'application/json'", 415)


def test_any_page_may_infer_but_no_page_of_another_origin_may_read(local):
    answer = post(local, INFER, REQUEST, Origin="http://evil.example", Content_Type="text/plain")
    preflight = local.ask("OPTIONS", LOAD, headers={"Host": "localhost", "Origin": "http://evil.example"})
    assert (answer.status, preflight.status) == (200, 405)
    assert not [name for each in (answer, preflight) for name in each.headers if name.lower().startswith("access-")]


def test_programs_load_models_as_before(local):
    with tritonclient.http.InferenceServerClient(f"localhost:{local.port}") as client:
        client.load_model("fp32", config=json.dumps({"backend": "identity", "max_batch_size": 2}))
        client.unload_model("fp32")
        client.load_model("fp32")
    assert local.send(b"GET /v2/health/ready HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_loads_models_whatever_type_it_gives_the_body(local):
    url = f"http://127.0.0.1:{local.port}{LOAD}"
    for extra in ([], ["-d", "{}"], ["-H", "Content-Type: text/plain", "-d", "{}"], ["-0"]):
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", *extra, url]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "200", extra


def test_files_that_a_client_sends_are_not_loaded_unless_the_server_allows_it(repository, local):
    config = {"backend": "identity", "max_batch_size": 0}
    config["input"] = [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [1]}]
    config["output"] = [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [1]}]
    sent = {"config": json.dumps(config), "files": {"file:1/model.py": b"import os"}}
    with tritonclient.http.InferenceServerClient(f"localhost:{local.port}") as client:
        with pytest.raises(InferenceServerException, match="failed to load 'new', failed to poll"):
            client.load_model("new", **sent)
        assert not client.is_model_ready("new")
    with running_server(repository, "--model-control-mode=explicit", "--allow-model-upload") as running:
        with tritonclient.http.InferenceServerClient(running.http) as client:
            client.load_model("new", **sent)
            assert client.is_model_ready("new")
        with tritonclient.grpc.InferenceServerClient(running.grpc) as client:
            client.load_model("newer", **sent)
            assert client.is_model_ready("newer")


def test_accepted_names_are_remembered_within_a_bound():
    access = access_to("127.0.0.1", ("*",))
    exchange = Exchange(None, HttpHead(b"GET", b"/", {}, True, True), b"")
    for number in range(1000):
        exchange.headers = {b"host": b"host-%d" % number}
        assert access.refusal(exchange) is None
    assert len(access._accepted) <= 64
