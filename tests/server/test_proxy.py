"""`slipway proxy` in front of a real server: test-triton-pub's notebook, typed routes, models that come and go."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.http

from benchmarks.serving import RunningServer, running_server
from tests.kits.calls import infer, texts
from tests.kits.certificates import write_certificates
from tests.kits.proxies import RunningProxy, running_proxy, started_proxy
from tests.kits.repositories import add_identity, add_simple_net, write_config

APP = Path(__file__).parents[2] / "examples" / "finbert" / "app"
SENTENCE = "Stocks rallied and the British pound gained."
GOLDEN = [101, 15768, 24356, 1998, 1996, 2329, 9044, 4227, 1012, 102]
FAILED = "Failed to query Triton Inference Server"
STREAM = """import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(pb_utils.get_input_tensor_by_name(request, "count").as_numpy().item())
            for number in range(count):
                if sender.is_cancelled():
                    open(os.path.join(os.path.dirname(__file__), "cancelled"), "w").close()
                    break
                tensor = pb_utils.Tensor("number", np.array([number], np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
                if number > 1:
                    time.sleep(0.02)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def unknown(model: str) -> dict[str, str]:
    return {"error": FAILED, "details": f"[StatusCode.NOT_FOUND] Request for unknown model: '{model}' is not found"}


@pytest.fixture(scope="module")
def proxy(server: RunningServer) -> Iterator[RunningProxy]:
    """A proxy in front of the shared server, with test-triton-pub's logging."""
    with running_proxy(server.grpc, f"--log-config={APP / 'log_config_uvicorn.yml'}", "--max-body-bytes=100000") as it:
        yield it


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, RunningProxy, Path]]:
    """A server under explicit control that has loaded simple_net, a proxy that looks at it often, the repository."""
    repository = tmp_path_factory.mktemp("small")
    add_simple_net(repository)
    add_identity(repository)
    add_identity(repository, "bytes", datatype="STRING", dims="[ 1 ]")
    version = write_config(
        repository,
        "stream",
        """backend: "python"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "count" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "number" data_type: TYPE_INT32 dims: [ 1 ] } ]
""",
    )
    (version / "model.py").write_text(STREAM)
    with ExitStack() as stack:
        loaded = ["--model-control-mode=explicit", *(f"--load-model={name}" for name in ("simple_net", "stream"))]
        running = stack.enter_context(running_server(repository, *loaded))
        yield running, stack.enter_context(running_proxy(running.grpc, "--poll-secs=0.1")), repository


@pytest.mark.capability("4.2")
@pytest.mark.capability("4.4")
@pytest.mark.capability("4.17")
def test_the_notebook_prints_what_the_application_shows(small):
    _, proxy, _ = small
    ids = {"input_ids": GOLDEN, "attention_mask": [1] * 10, "token_type_ids": [0] * 10}
    health = proxy.get("/health")
    assert (health.status, health.body.decode()) == (200, '{"status":"OK"}')
    assert proxy.post("/models/simple_net", {"x": [1.0, 1.0]}).json == {"prediction": [2.0, 2.0]}
    assert proxy.post("/models/finbert-model", {**ids, "trt_model": False}).json == unknown("finbert-model")
    assert proxy.post("/models/finbert-model", {**ids, "trt_model": True}).json == unknown("finbert-trt-model")
    assert proxy.post("/models/finbert-tokenizer", {"text": SENTENCE}).json == unknown("finbert-tokenizer")
    assert proxy.post("/models/finbert", {"text": SENTENCE}).json == unknown("finbert")


@pytest.mark.capability("4.2")
def test_curls_default_content_type_is_accepted(small):
    _, proxy, _ = small
    reply = proxy.post("/models/simple_net", b'{"x":[1,1]}', content_type="application/x-www-form-urlencoded")
    assert reply.body == b'{"prediction":[2.0,2.0]}'


@pytest.mark.capability("4.5")
@pytest.mark.capability("4.7")
def test_the_applications_routes_answer_for_real_models(proxy, http):
    tokens = proxy.post("/models/finbert-tokenizer", {"text": SENTENCE}).json
    assert tokens == {"input_ids": [GOLDEN], "attention_mask": [[1] * 10], "token_type_ids": [[0] * 10]}
    expected = infer(http, "finbert", texts(SENTENCE), "logits")
    rows = {name: row for name, (row,) in tokens.items()}
    for reply in (proxy.post("/models/finbert", {"text": SENTENCE}), proxy.post("/models/finbert-model", rows)):
        assert list(reply.json) == ["logits"]
        np.testing.assert_allclose(reply.json["logits"], expected, atol=1e-5)


def test_a_list_of_texts_is_a_batch(proxy, http):
    both = proxy.post("/models/finbert", {"text": [SENTENCE, "Profits fell."]}).json["logits"]
    expected = infer(http, "finbert", texts(SENTENCE, "Profits fell."), "logits")
    np.testing.assert_allclose(both, expected, atol=1e-5)


@pytest.mark.capability("4.20")
def test_the_applications_log_has_the_requests_and_their_inputs(proxy):
    proxy.post("/models/finbert", {"text": "for the log"})
    line = r"\[\d{4}-\d\d-\d\d [\d:,]+\] \[INFO\] \[\w+\.\w+\] Received input: text='for the log'\n"
    assert re.search(line, proxy.log)
    assert re.search(r'INFO: +\[[^]]+\] 127\.0\.0\.1:\d+ - "POST /models/finbert HTTP/1\.1" 200 OK\n', proxy.log)


def test_the_page_shows_fields_types_shapes_and_examples(proxy):
    document = proxy.get("/openapi.json").json
    operation = document["paths"]["/models/finbert-model"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][reference]
    assert schema["required"] == ["input_ids", "attention_mask", "token_type_ids"]
    assert schema["properties"]["input_ids"]["description"] == "INT32 [any, any]"
    assert schema["properties"]["trt_model"]["type"] == "boolean"
    assert proxy.post("/models/finbert-model", schema["example"]).status == 200
    assert {"/health", "/models", "/v2/repository/index"} <= document["paths"].keys()


def test_the_page_loads_nothing_from_elsewhere(proxy):
    page = proxy.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    text = page.body.decode()
    assert "://" not in text
    assert "<script>" not in text
    for path in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert proxy.get(f"/{path}").status == 200


def test_the_index_and_the_configuration_are_the_servers_own(proxy, http):
    assert proxy.post("/v2/repository/index", b"").json == http.get_model_repository_index()
    assert proxy.post("/v2/repository/index", {"ready": True}).json == http.get_model_repository_index()
    assert proxy.post("/v2/repository/index", {"redy": True}).status == 400
    assert proxy.get("/v2/models/finbert/config").json == http.get_model_config("finbert")
    assert proxy.get("/v2/models/nowhere/config").status == 404


def test_models_are_listed_and_described(proxy):
    listed = {model["name"]: model for model in proxy.get("/models").json["models"]}
    assert listed["finbert"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1, 1], "optional": False}]
    assert proxy.get("/models/finbert").json == listed["finbert"]


@pytest.mark.parametrize(
    "name", ["nowhere", "a/b", "a%2Fb", "..%2F..%2Fetc", "%0d%0ax-injected:1", "%22%3E%3Cscript%3E"]
)
def test_any_other_name_is_unknown(proxy, name):
    reply = proxy.post(f"/models/{name}", {})
    assert (reply.status, reply.headers["content-type"]) == (404, "application/json")
    assert "x-injected" not in reply.headers


def test_a_wrong_field_is_refused_with_the_nearest(proxy):
    reply = proxy.post("/models/finbert", {"texts": SENTENCE})
    assert reply.status == 422
    assert [(each["type"], each["loc"]) for each in reply.json["detail"]] == [
        ("missing", ["body", "text"]),
        ("extra_forbidden", ["body", "texts"]),
    ]
    assert "did you mean 'text'?" in reply.json["detail"][1]["msg"]


def test_a_wrong_length_has_the_servers_text(proxy):
    reply = proxy.post("/models/simple_net", {"x": [1, 1, 1]}, X_Request_Id="id-7")
    assert (reply.status, reply.headers["x-request-id"]) == (500, "id-7")
    assert "[StatusCode.INVALID_ARGUMENT] [request id: id-7] unexpected shape for input 'x'" in reply.json["details"]


def test_too_large_a_body_is_refused_and_the_next_one_answered(proxy):
    for size in (100_001, 20_000_000):  # the second one is still being sent when it is refused
        reply = proxy.post("/models/finbert", b" " * size)
        assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert proxy.post("/models/finbert", {"text": "a"}).status == 200


def test_a_compressed_body_is_refused(proxy):
    assert proxy.post("/models/finbert", b"x", Content_Encoding="gzip").status == 415


def test_a_page_under_a_foreign_name_is_refused(proxy):
    for path in ("/models/finbert", "/v2/repository/index"):
        assert proxy.post(path, {"text": "a"}, Host="evil.example").status == 403
    assert proxy.get("/docs", Host="evil.example").status == 403
    assert proxy.get("/health", Host="localhost:8005").status == 200


def test_a_url_is_a_text(small):
    _, proxy, _ = small
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/image.png"
        with loaded(small, "bytes"):
            assert proxy.post("/models/bytes", {"INPUT0": url}).json == {"OUTPUT0": [[url]]}
        with pytest.raises(TimeoutError):
            trap.accept()


def test_bytes_that_are_not_text_come_back_encoded(small):
    _, proxy, _ = small
    image = {"b64": b64encode(b"\x89PNG\xff").decode()}
    with loaded(small, "bytes"):
        assert proxy.post("/models/bytes", {"INPUT0": [image, "text"]}).json == {"OUTPUT0": [[image], ["text"]]}


class loaded:  # noqa: N801  reads as a block
    """Load a model of the small server for a block."""

    def __init__(self, small, name: str) -> None:
        self._client = tritonclient.http.InferenceServerClient(small[0].http)
        self._name = name

    def __enter__(self) -> None:
        self._client.load_model(self._name)

    def __exit__(self, *_: object) -> None:
        self._client.unload_model(self._name)
        self._client.close()


def paths(proxy: RunningProxy, **headers: str) -> set[str]:
    return set(proxy.get("/openapi.json", **headers).json["paths"])


def await_path(proxy: RunningProxy, path: str, *, there: bool, **headers: str) -> None:
    deadline = time.monotonic() + 60
    while (path in paths(proxy, **headers)) is not there:
        assert time.monotonic() < deadline, f"{path} is still {'missing' if there else 'there'}"
        time.sleep(0.05)


def test_models_that_come_and_go_are_followed(small):
    _, proxy, _ = small
    body = {"INPUT0": [1, 2.5]}
    assert proxy.post("/models/identity", body).status == 404
    with loaded(small, "identity"):
        assert proxy.post("/models/identity", body).json == {"OUTPUT0": [[1.0, 2.5]]}  # at once
        await_path(proxy, "/models/identity", there=True)
    await_path(proxy, "/models/identity", there=False)
    assert proxy.post("/models/identity", body).status == 404


def test_a_model_with_other_tensors_is_noticed(small):
    _, proxy, repository = small
    config = repository / "identity" / "config.pbtxt"
    before = config.read_text()
    with loaded(small, "identity"):
        assert proxy.post("/models/identity", {"INPUT0": [1]}).status == 200
        config.write_text(before.replace("PUT0", "PUT1"))
        try:
            with loaded(small, "identity"):
                replies = [proxy.post("/models/identity", {"INPUT0": [1]}).status for _ in range(2)]
                assert replies[-1] == 422
                assert proxy.post("/models/identity", {"INPUT1": [1]}).status == 200
        finally:
            config.write_text(before)


def test_a_stream_arrives_as_events(small):
    _, proxy, _ = small
    reply = proxy.post("/models/stream", {"count": 3})
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(event.removeprefix("data: ")) for event in reply.body.decode().split("\n\n") if event]
    assert events == [{"number": [number]} for number in range(3)]


def test_a_client_that_leaves_a_stream_stops_the_computation(small):
    _, proxy, repository = small
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request("POST", "/models/stream", json.dumps({"count": 100_000}))
    response = connection.getresponse()
    assert response.readline() == b'data: {"number":[0]}\n'
    response.close()
    connection.close()
    marker = repository / "stream" / "1" / "cancelled"
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert time.monotonic() < deadline, "the model goes on"
        time.sleep(0.05)


@pytest.mark.capability("4.3")
def test_health_follows_the_server(tmp_path):
    add_identity(tmp_path)
    with running_server(tmp_path) as server, running_proxy(server.grpc, "--poll-secs=0.1", "--retries=0") as proxy:
        for path in ("/health", "/healthz"):
            assert (proxy.get(path).status, proxy.get(path).json) == (200, {"status": "OK"})
        assert proxy.post("/models/identity", {"INPUT0": [1]}).status == 200
        assert server.stop() == 0
        for path in ("/health", "/healthz"):
            reply = proxy.get(path)
            assert (reply.status, reply.json["status"]) == (503, "NOT OK")
            assert reply.json["error"].startswith("[StatusCode.UNAVAILABLE] ")
        assert proxy.post("/models/identity", {"INPUT0": [1]}).status == 503
        with running_server(tmp_path, f"--grpc-port={server.ports.grpc}"):
            await_status(proxy, "/health", 200)
            assert proxy.post("/models/identity", {"INPUT0": [1]}).status == 200
        assert proxy.stop() == 0


def await_status(proxy: RunningProxy, path: str, status: int) -> None:
    deadline = time.monotonic() + 60
    while (found := proxy.get(path).status) != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.capability("4.1")
@pytest.mark.capability("4.18")
def test_the_start_script_runs_both_and_stops_both(models):
    names = ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "PROXY_PORT")
    ports = {name: free_port() for name in names}
    variables = {name: str(port) for name, port in ports.items()} | {"MODELS": str(models), "PATH": scripts_path()}
    command = [str(APP / "dev_start.sh")]
    with started_proxy(command, variables=variables, port=ports["PROXY_PORT"]) as proxy:
        assert proxy.post("/models/simple_net", {"x": [1, 1]}).body == b'{"prediction":[2.0,2.0]}'
        assert [model["name"] for model in proxy.get("/models").json["models"]] == ["simple_net"]
        assert proxy.stop() == 0
    for port in ports.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def scripts_path() -> str:
    """Return a PATH on which `slipway` and `uvicorn` are those of this interpreter."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.mark.capability("4.18")
def test_the_server_runs_its_proxy_in_a_child_that_ends_with_it(tmp_path):
    add_identity(tmp_path)
    with running_server(tmp_path, "--proxy", "--proxy-port=0") as server:
        port = int(re.search(r"Started Proxy at 127\.0\.0\.1:(\d+)", server.log)[1])
        proxy = RunningProxy(server.process, port, server.log_file)
        assert proxy.post("/models/identity", {"INPUT0": [1, 2]}).json == {"OUTPUT0": [[1.0, 2.0]]}
        (child,) = children(server.pid)
        subprocess.run(["kill", "-9", str(child)], check=True)
        assert proxy.post("/models/identity", {"INPUT0": [1, 2]}).status == 200  # waits for the next child
        assert children(server.pid) != [child]
        assert server.stop() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_server_that_needs_keys_keeps_its_proxy_closed(tmp_path):
    models, keys = tmp_path / "models", tmp_path / "keys"
    add_identity(models)
    keys.write_text("secret\n")
    keys.chmod(0o600)
    body = {"INPUT0": [1]}
    with running_server(models, "--proxy", "--proxy-port=0", f"--api-key-file={keys}") as server:
        port = int(re.search(r"Started Proxy at 127\.0\.0\.1:(\d+)", server.log)[1])
        own = RunningProxy(server.process, port, server.log_file)
        # The proxy itself has the key, with which it follows the models.
        await_path(own, "/models/identity", there=True, Authorization="Bearer secret")
        refused = own.post("/models/identity", body)
        assert (refused.status, refused.json["error"]) == (401, FAILED)
        assert own.post("/models/identity", body, Authorization="Bearer wrong").status == 401
        assert own.post("/models/identity", body, Authorization="Bearer secret").status == 200
        assert own.post("/models/identity", body, X_Api_Key="secret").status == 200
        assert own.get("/health").status == 200
        # Nor does the proxy say without a key what it knows itself.
        assert own.get("/models/identity").status == own.get("/models").status == 401
        assert own.get("/models/identity", Authorization="Bearer wrong").status == 401
        assert own.get("/models/identity", Authorization="Bearer secret").json["name"] == "identity"
        unfit = {"INPUT": [1]}
        assert own.post("/models/identity", unfit).status == own.post("/models/absent", unfit).status == 401
        assert own.post("/models/identity", unfit, Authorization="Bearer secret").status == 422
        assert "identity" not in own.get("/openapi.json").body.decode()
        described = own.get("/openapi.json", Authorization="Bearer secret").json
        assert "/models/identity" in described["paths"]
        command = [sys.executable, "-m", "slipway", "proxy", f"--server={server.grpc}", "--workers=2"]
        with started_proxy([*command, f"--port={(port := free_port())}"], port=port) as keyless:
            assert keyless.post("/models/identity", body, Authorization="Bearer secret").status == 401
            assert keyless.stop() == 0
        with running_proxy(server.grpc, variables={"SLIPWAY_API_KEY": "secret"}) as keyed:
            assert keyed.post("/models/identity", body).status == 200


def test_the_connection_to_the_server_may_be_encrypted_on_both_sides(tmp_path):
    add_identity(tmp_path / "models")
    files = write_certificates(tmp_path)
    server_files = [f"--grpc-server-cert={files / 'server.pem'}", f"--grpc-server-key={files / 'server.key'}"]
    trusted = f"{files / 'ca.pem'}"
    own = [f"--client-certificate={files / 'client.pem'}", f"--client-key={files / 'client.key'}"]
    with running_server(
        tmp_path / "models", "--grpc-use-ssl-mutual=true", f"--grpc-root-cert={trusted}", *server_files
    ) as server:
        address = f"https://localhost:{server.ports.grpc}"
        with running_proxy(address, f"--ca-certificate={trusted}", *own) as proxy:
            assert proxy.post("/models/identity", {"INPUT0": [1]}).json == {"OUTPUT0": [[1.0]]}
        with running_proxy(address, f"--ca-certificate={trusted}", "--retries=0") as stranger:
            assert stranger.get("/health").status == 503


def children(pid: int) -> list[int]:
    """Return the processes that serve the proxy of a server."""
    found = psutil.Process(pid).children()
    return [each.pid for each in found if "slipway.proxy.child" in each.cmdline()]
