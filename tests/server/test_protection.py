"""A real server that is protected: keys on every door, TLS, renewed certificates, and what its log says about it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.cli.main import main
from tests.kits.calls import tensors
from tests.kits.certificates import write_certificates
from tests.kits.repositories import add_identity, write_config

SECRET = "f1rst-s3cret"  # noqa: S105  of these tests
ADMIN = "adm1n-s3cret"
ECHO = """import json
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            tensor = pb_utils.Tensor("PARAMETERS", np.array([request.parameters().encode()], np.object_))
            responses.append(pb_utils.InferenceResponse([tensor], parameters={"seen": "yes"}))
        return responses
"""
ECHO_CONFIG = """backend: "python"
input { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "PARAMETERS" data_type: TYPE_STRING dims: [ 1 ] }
"""
IDENTITY = """backend: "identity"
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1 ] }
"""
ENSEMBLE = """platform: "ensemble"
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1 ] }
ensemble_scheduling { step { model_name: "part" model_version: -1
  input_map { key: "INPUT0" value: "INPUT0" } output_map { key: "OUTPUT0" value: "OUTPUT0" } } }
"""
BODY = {"inputs": [{"name": "IN", "shape": [1], "datatype": "FP32", "data": [2]}]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    add_identity(root)
    add_identity(root, "text", datatype="STRING", dims="[ 1 ]")
    (write_config(root, "echo", ECHO_CONFIG) / "model.py").write_text(ECHO)
    (write_config(root, "kept", ECHO_CONFIG + "response_cache { enable: true }\n") / "model.py").write_text(ECHO)
    return root


def ask(port, method, path, body=None, **headers):
    """Return the status and the JSON of a response; underscores in names of headers become dashes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    finally:
        connection.close()


def port_of(server, name):
    return int(re.search(rf"Started {name} at \S+:(\d+)", server.log)[1])


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    root = tmp_path_factory.mktemp("archives")
    for name in ("single", "other"):
        write_config(root / name, "model", IDENTITY)
    write_config(root / "many" / "model", "part", IDENTITY)
    write_config(root / "many" / "model", "chain", ENSEMBLE)
    write_config(root / "broken", "model", 'backend: "absent"\n')
    return root


@pytest.fixture(scope="module")
def locked(repository, archives, tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "key"
    file.write_text(f"{ADMIN}\n")
    others = "health,metadata,inference,shared-memory,model-config,statistics,trace,logging"
    flags = [
        "--model-control-mode=explicit",
        "--load-model=identity",
        "--load-model=echo",
        "--load-model=text",
        f"--http-restricted-api={others}:X-Key@env:KEY_OF_SERVER",
        f"--http-restricted-api=model-repository:X-Admin@file:{file}",
        f"--grpc-restricted-protocol={others}:X-Key=" + SECRET,
        f"--grpc-restricted-protocol=model-repository:X-Admin@file:{file}",
        "--allow-sagemaker",
        "--sagemaker-address=127.0.0.1",
        "--sagemaker-port=0",
        f"--sagemaker-model-directory={archives}",
        "--allow-vertex-ai",
        "--vertex-ai-address=127.0.0.1",
        "--vertex-ai-port=0",
        "--vertex-ai-default-model=identity",
        "--log-verbose=1",
    ]
    variables = {
        "KEY_OF_SERVER": SECRET,
        "AIP_PREDICT_ROUTE": "/predict",
        "AIP_HEALTH_ROUTE": "/health",
        "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "echo",
    }
    with ExitStack() as stack:
        with patch.dict(os.environ, variables):
            running = stack.enter_context(running_server(repository, *flags))
        yield running


@pytest.fixture(scope="module")
def doors(locked):
    names = {"sagemaker": "Sagemaker HTTPService", "vertex": "Vertex AI HTTPService"}
    return {"http": locked.ports.http} | {door: port_of(locked, name) for door, name in names.items()}


@pytest.mark.parametrize(
    ("door", "method", "path", "header", "key"),
    [
        ("http", "GET", "/v2", "X-Key", SECRET),
        ("http", "GET", "/v2/health/ready", "X-Key", SECRET),
        ("http", "GET", "/v2/models/identity/config", "X-Key", SECRET),
        ("http", "GET", "/v2/models/identity/versions/1/stats", "X-Key", SECRET),
        ("http", "POST", "/v2/models/echo/infer", "X-Key", SECRET),
        ("http", "POST", "/v2/models/echo/versions/1/generate", "X-Key", SECRET),
        ("http", "POST", "/v2/repository/index", "X-Admin", ADMIN),
        ("http", "POST", "/v2/repository/models/none/load", "X-Admin", ADMIN),
        ("http", "GET", "/v2/systemsharedmemory/status", "X-Key", SECRET),
        ("sagemaker", "GET", "/ping", "X-Key", SECRET),
        ("sagemaker", "POST", "/invocations", "X-Key", SECRET),
        ("sagemaker", "GET", "/models", "X-Admin", ADMIN),
        ("sagemaker", "POST", "/models", "X-Admin", ADMIN),
        ("sagemaker", "DELETE", "/models/none", "X-Admin", ADMIN),
        ("sagemaker", "POST", "/models/none/invoke", "X-Key", SECRET),
        ("vertex", "GET", "/health", "X-Key", SECRET),
        ("vertex", "POST", "/predict", "X-Key", SECRET),
    ],
)
def test_each_door_needs_the_key(doors, door, method, path, header, key):
    body = None if method in ("GET", "DELETE") else BODY
    refused = (403, {"error": f"This API is restricted, expecting header '{header}'"})
    assert ask(doors[door], method, path, body) == refused
    assert ask(doors[door], method, path, body, **{header: key[:-1]}) == refused
    assert ask(doors[door], method, path, body, **{header: ADMIN if key == SECRET else SECRET}) == refused
    assert ask(doors[door], method, path, body, **{header: key})[0] != 403


@pytest.mark.parametrize("target", ["v2", "v2/models/echo/infer", "v2/repository/index", "metrics"])
def test_a_redirection_needs_the_key_of_its_target(doors, target):
    redirect = {"X-Vertex-Ai-Triton-Redirect": target}
    wanted, wrong = ("X-Admin", "X-Key") if "repository" in target else ("X-Key", "X-Admin")
    keys = {"X-Admin": ADMIN, "X-Key": SECRET}
    assert ask(doors["vertex"], "POST", "/predict", BODY, **redirect, **{wrong: keys[wrong]})[0] == 403
    assert ask(doors["vertex"], "POST", "/predict", BODY, **redirect, **{wanted: keys[wanted]})[0] == 200


def test_grpc_needs_the_key(locked):
    key = {"triton-grpc-protocol-x-key": SECRET}
    with tritonclient.grpc.InferenceServerClient(locked.grpc) as client:
        given = tensors(tritonclient.grpc, {"IN": np.ones(1, np.float32)})
        for headers in ({}, {"x-key": SECRET}, {"triton-grpc-protocol-x-key": "wrong"}):
            with pytest.raises(InferenceServerException) as caught:
                client.infer("echo", given, headers=headers)
            assert caught.value.status() == "StatusCode.UNAVAILABLE"
            expected = "This protocol is restricted, expecting header 'triton-grpc-protocol-X-Key'"
            assert caught.value.message() == expected
        assert client.infer("echo", given, headers=key).as_numpy("PARAMETERS").shape == (1,)
        with pytest.raises(InferenceServerException):
            client.load_model("echo", headers=key)
        client.get_model_repository_index(headers={"triton-grpc-protocol-x-admin": ADMIN})


def test_the_client_commands_send_headers(locked, monkeypatch, capsys):
    monkeypatch.setenv("KEY_OF_CLIENT", SECRET)
    words = ["infer", "echo", "--inputs", '{"IN": [1]}', "--url"]
    named = ["--header", "Triton-Grpc-Protocol-X-Key@env:KEY_OF_CLIENT"]
    assert main([*words, locked.grpc]) == 1
    assert "This protocol is restricted" in capsys.readouterr().err
    assert main([*words, locked.grpc, *named]) == 0
    assert main([*words, locked.http, "--protocol=http", "--header", f"X-Key={SECRET}"]) == 0
    admin = ["--header", f"triton-grpc-protocol-x-admin={ADMIN}"]
    assert main(["verify", "--url", locked.grpc, *named, *admin]) == 0


@pytest.mark.parametrize(("protocol", "header"), [("http", "X-Key"), ("grpc", "triton-grpc-protocol-X-Key")])
def test_the_client_of_lines_sends_headers(locked, tmp_path, protocol, header):
    (tmp_path / "in").write_text("one\ntwo\n")
    files = [f"--input_file={tmp_path / 'in'}", f"--output_file={tmp_path / 'out'}"]
    words = ["triton_client", f"--server={getattr(locked, protocol)}", f"--protocol={protocol}", "--model_name=text"]
    assert main([*words, *files, f"--header={header}={SECRET}"]) == 0
    assert (tmp_path / "out").read_text() == "one\ntwo\n"
    assert main([*words, *files, "--restart", "--retry_secs=0.1"]) == 1


def test_models_of_an_endpoint_come_and_go(doors, archives):
    def load(name, folder):
        document = {"model_name": name, "url": str(archives / folder / "model")}
        return ask(doors["sagemaker"], "POST", "/models", document, X_Admin=ADMIN)

    assert load("hash1", "single") == (200, b"")
    assert load("hash1", "single")[0] == 409
    assert load("identity", "other")[0] == 409  # of the repository
    assert load("hash2", "many") == (200, b"")
    body = {"inputs": [{**BODY["inputs"][0], "name": "INPUT0"}]}
    for name in ("hash1", "hash2"):
        status, answer = ask(doors["sagemaker"], "POST", f"/models/{name}/invoke", body, X_Key=SECRET)
        assert (status, answer["outputs"][0]["data"]) == (200, [2.0])
    listed = ask(doors["sagemaker"], "GET", "/models", X_Admin=ADMIN)[1]["models"]
    assert [each["modelName"] for each in listed] == ["hash1", "hash2"]
    for name in ("hash1", "hash2"):
        assert ask(doors["sagemaker"], "DELETE", f"/models/{name}", X_Admin=ADMIN) == (200, b"")
    assert ask(doors["http"], "GET", "/v2/models/part", X_Key=SECRET)[0] == 404
    assert load("hash1", "single") == (200, b"")
    assert ask(doors["sagemaker"], "DELETE", "/models/hash1", X_Admin=ADMIN) == (200, b"")


@pytest.mark.parametrize(("host", "status"), [("model.aws.local:8080", 400), ("rebound.example", 403)])
def test_the_platform_calls_its_container_by_a_name_of_its_own(doors, host, status):
    assert ask(doors["sagemaker"], "POST", "/models", {}, X_Admin=ADMIN, Host=host)[0] == status


def test_a_failed_load_leaves_nothing_behind(doors, archives):
    document = {"model_name": "hash3", "url": str(archives / "broken" / "model")}
    status, answer = ask(doors["sagemaker"], "POST", "/models", document, X_Admin=ADMIN)
    assert status == 400
    assert "load failed for model 'hash3'" in answer["error"]
    assert ask(doors["sagemaker"], "GET", "/models/hash3", X_Admin=ADMIN)[0] == 404
    names = [each["name"] for each in ask(doors["http"], "POST", "/v2/repository/index", {}, X_Admin=ADMIN)[1]]
    assert names == ["echo", "identity", "kept", "text"]
    assert ask(doors["http"], "GET", "/v2/health/ready", X_Key=SECRET)[0] == 200


def test_the_log_does_not_contain_a_secret(locked, doors):
    ask(doors["http"], "GET", "/v2", X_Key=SECRET)
    assert SECRET not in locked.log
    assert ADMIN not in locked.log


def test_headers_become_parameters_of_python_models(repository):
    pytest.importorskip("re2", reason="the extra `headers` is not installed")
    flags = (
        "--http-header-forward-pattern=(?-i)^X-",
        "--grpc-header-forward-pattern=^x-",
        "--cache-config=local,size=1048576",
    )
    with running_server(repository, *flags) as server:
        headers = {"X-Trace": "1", "x-other": "2"}
        status, answer = ask(server.ports.http, "POST", "/v2/models/echo/infer", BODY, **headers)
        assert (status, answer["parameters"]) == (200, {"seen": "yes"})
        assert json.loads(answer["outputs"][0]["data"][0]) == {"X-Trace": "1"}
        for user in ("one", "two", "one"):  # a response that is kept for one user is not given to another
            _, answer = ask(server.ports.http, "POST", "/v2/models/kept/infer", BODY, **{"X-User": user})
            assert json.loads(answer["outputs"][0]["data"][0]) == {"X-User": user}
        with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            given = tensors(tritonclient.grpc, {"IN": np.ones(1, np.float32)})
            found = client.infer("echo", given, headers={"x-trace": "1"}, parameters={"own": 2})
            assert json.loads(found.as_numpy("PARAMETERS")[0]) == {"own": 2, "x-trace": "1"}
            assert found.get_response().parameters["seen"].string_param == "yes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def encrypted(repository, folder):
    files = [
        f"--{front}-{flag}={folder / file}"
        for front in ("http", "grpc")
        for flag, file in (
            ("server-cert", "server.pem"),
            ("server-key", "server.key"),
            ("root-cert", "ca.pem"),
        )
    ]
    with running_server(repository, "--http-use-ssl-mutual", "--grpc-use-ssl-mutual", *files) as running:
        yield running


def test_both_transports_need_a_certificate_of_the_client(encrypted, folder, capsys):
    words = ["infer", "echo", "--inputs", '{"IN": [1]}', "--ca-certificate", str(folder / "ca.pem")]
    own = ["--client-certificate", str(folder / "client.pem"), "--client-key", str(folder / "client.key")]
    for protocol, port in (("http", encrypted.ports.http), ("grpc", encrypted.ports.grpc)):
        to = ["--protocol", protocol, "--url", f"https://localhost:{port}"]
        assert main([*words, *to]) == 1
        assert main([*words, *to, *own]) == 0
    assert "certificate" in capsys.readouterr().err


def test_a_renewed_certificate_is_used(encrypted, folder, tmp_path_factory):
    others = write_certificates(tmp_path_factory.mktemp("others"))
    ports = (encrypted.ports.http, encrypted.ports.grpc)
    before = {port: presented(port, folder) for port in ports}
    for ending in ("pem", "key"):
        shutil.copy(others / f"server.{ending}", folder / f"server.{ending}")
    after = {port: presented(port, folder) for port in ports}
    assert len({*before.values(), *after.values()}) == 2
    assert set(after.values()) == {ssl.PEM_cert_to_DER_cert((others / "server.pem").read_text())}
    assert "the HTTP service uses the new certificate" in encrypted.log
    assert "the gRPC service uses the new certificate" in encrypted.log


def presented(port, folder):
    """Return the certificate that a server presents to a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.getpeercert(binary_form=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--allow-vertex-ai", "--vertex-ai-port=0", "--vertex-ai-address=127.0.0.1"],
            "API_PREDICT_ROUTE is not defined for Vertex AI endpoint",
        ),
        (["--http-restricted-api=inference:k@env:ABSENT_KEY"], "does not have a variable 'ABSENT_KEY'"),
        # Not an address of this machine, so nothing is open while the test runs.
        (["--grpc-address=192.0.2.1"], "GRPC on 192.0.2.1:0 IS OPEN TO OTHER MACHINES WITHOUT ANY PROTECTION"),
    ],
)
def test_a_start_that_fails_says_why_and_what_would_have_been_open(repository, flags, message):
    ports = [f"--{front}-port=0" for front in ("http", "grpc", "metrics")]
    command = [sys.executable, "-m", "slipway", "serve", str(repository), *ports, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
