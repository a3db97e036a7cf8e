"""A real server with API keys: both protocols and both gRPC engines, platforms, metrics, commands, and what it logs."""

from __future__ import annotations

import json
import os
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
from tests.kits.repositories import add_identity
from tests.server.test_protection import ask, port_of

FILED = "sk-f1led-secret"
GIVEN = "sk-g1ven-secret"
BEARER = {"Authorization": f"Bearer {FILED}"}
BODY = {"inputs": [{"name": "INPUT0", "shape": [1, 1], "datatype": "FP32", "data": [2]}]}
PLATFORMS = {"AIP_PREDICT_ROUTE": "/predict", "AIP_HEALTH_ROUTE": "/health"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    add_identity(root)
    add_identity(root, "text", datatype="STRING", dims="[ 1 ]")
    return root


@pytest.fixture(scope="module", params=["native", "grpcio", "asyncio"])
def locked(request, repository, tmp_path_factory):
    """A server whose options come from the command line, variables and a file."""
    if request.param == "native":
        pytest.importorskip("pygrpc_native", reason="the extra `fast` is not installed")
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text(f"# gateway\n{FILED}\n")
    (folder / "keys").chmod(0o640)
    config = folder / "slipway.toml"
    config.write_text(
        f"""api-key-file = "{folder / "keys"}"
        allow-sagemaker = true
        sagemaker-address = "127.0.0.1"
        sagemaker-port = 0
        allow-vertex-ai = true
        vertex-ai-address = "127.0.0.1"
        vertex-ai-port = 0
        vertex-ai-default-model = "identity"
        log-verbose = 1
        """
    )
    variables = {
        **PLATFORMS,
        "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "identity",
        "SLIPWAY_API_KEY": GIVEN,
        "SLIPWAY_GRPC_ENGINE": request.param,
        "SLIPWAY_LOG_ACCESS": "true",
    }
    with ExitStack() as stack:
        with patch.dict(os.environ, variables):
            running = stack.enter_context(running_server(repository, f"--config={config}"))
        yield running


@pytest.fixture(scope="module")
def doors(locked):
    names = {"sagemaker": "Sagemaker HTTPService", "vertex": "Vertex AI HTTPService"}
    return {"http": locked.ports.http} | {door: port_of(locked, name) for door, name in names.items()}


def test_the_engine_is_the_chosen_one(locked, request):
    assert f"({request.node.callspec.params['locked']}: as specified)" in locked.log


@pytest.mark.parametrize(
    ("door", "method", "path"),
    [
        ("http", "GET", "/v2"),
        ("http", "POST", "/v2/models/identity/infer"),
        ("http", "POST", "/v2/repository/index"),
        ("http", "GET", "/v1/models"),
        ("http", "GET", "/ui/models"),
        ("sagemaker", "POST", "/invocations"),
        ("sagemaker", "GET", "/models"),
        ("vertex", "POST", "/predict"),
    ],
)
def test_each_door_needs_a_key(doors, door, method, path):
    body = None if method == "GET" else BODY
    assert ask(doors[door], method, path, body)[0] == 401
    assert ask(doors[door], method, path, body, X_API_Key=f"{GIVEN[:-1]}")[0] == 401
    assert ask(doors[door], method, path, body, **BEARER)[0] != 401
    assert ask(doors[door], method, path, body, X_API_Key=GIVEN)[0] != 401


def test_health_and_metrics_are_open(locked, doors):
    paths = [("http", "/v2/health/live"), ("http", "/v2/health/ready"), ("sagemaker", "/ping"), ("vertex", "/health")]
    for door, path in paths:
        assert ask(doors[door], "GET", path)[0] == 200
    assert ask(locked.ports.metrics, "GET", "/metrics")[0] == 200
    with tritonclient.grpc.InferenceServerClient(locked.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()


def test_nvidias_clients_send_a_key_as_a_header(locked):
    headers = {"authorization": f"Bearer {FILED}"}
    for module, url in ((tritonclient.grpc, locked.grpc), (tritonclient.http, locked.http)):
        given = tensors(module, {"INPUT0": np.ones((1, 1), np.float32)})
        with module.InferenceServerClient(url) as client:
            assert client.infer("identity", given, headers=headers).as_numpy("OUTPUT0").tolist() == [[1.0]]
            with pytest.raises(InferenceServerException, match="this server requires an API key"):
                client.infer("identity", given)
            with pytest.raises(InferenceServerException, match="the API key is not valid"):
                client.infer("identity", given, headers={"x-api-key": "wrong"})


def test_the_commands_send_a_key(locked, monkeypatch, capsys, tmp_path):
    (tmp_path / "key").write_text(GIVEN)
    flag = ["--api-key-file", str(tmp_path / "key")]
    for protocol in ("grpc", "http"):
        infer = ["infer", "text", "--text", "a", "--protocol", protocol, "--url", getattr(locked, protocol)]
        assert main(infer) == 1
        assert "this server requires an API key" in capsys.readouterr().err
        assert main([*infer, *flag]) == 0
        assert main([*infer, "--api-key", GIVEN]) == 0
    monkeypatch.setenv("SLIPWAY_API_KEY", FILED)
    assert main(infer) == 0
    assert main(["verify", "--url", locked.grpc]) == 0
    monkeypatch.delenv("SLIPWAY_API_KEY")
    assert main(["verify", "--url", locked.grpc, *flag]) == 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_client_of_lines_sends_a_key(locked, monkeypatch, tmp_path, protocol):
    (tmp_path / "in").write_text("one\ntwo\n")
    (tmp_path / "key").write_text(GIVEN)
    files = [f"--input_file={tmp_path / 'in'}", f"--output_file={tmp_path / 'out'}"]
    words = ["triton_client", f"--server={getattr(locked, protocol)}", f"--protocol={protocol}", "--model_name=text"]
    assert main([*words, *files, f"--api_key_file={tmp_path / 'key'}"]) == 0
    assert (tmp_path / "out").read_text() == "one\ntwo\n"
    monkeypatch.setenv("SLIPWAY_API_KEY", "wrong")
    assert main([*words, *files, "--restart", "--retry_secs=0.1"]) == 1


def test_the_log_does_not_contain_a_key(locked, doors):
    ask(doors["http"], "GET", "/v2", X_API_Key="sk-wr0ng")
    log = locked.log
    assert '/v2\\" 401 ' in log
    for secret in (FILED, GIVEN, "sk-wr0ng"):
        assert secret not in log


def test_options_are_shown_with_their_sources_and_without_secrets(repository, tmp_path):
    (tmp_path / "slipway.toml").write_text('http-port = 7000\napi-key = ["sk-0ne", "sk-tw0"]\n')
    environment = {**os.environ, "SLIPWAY_GRPC_PORT": "7001", "SLIPWAY_CONFIG": "slipway.toml"}
    command = [sys.executable, "-m", "slipway", "serve", str(repository), "--show-options", "--id", "seven"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path, env=environment
    )
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()}
    assert rows["id"] == ["seven", "command line"]
    assert rows["grpc-port"] == ["7001", "SLIPWAY_GRPC_PORT"]
    assert rows["http-port"] == ["7000", "'slipway.toml', line 1"]
    assert rows["api-key"] == ["********", "'slipway.toml', line 2"]
    assert rows["metrics-port"] == ["8002", "default"]
    assert "sk-0ne" not in done.stdout + done.stderr


def test_a_wrong_option_ends_the_start_with_its_place(repository, tmp_path):
    (tmp_path / "slipway.toml").write_text('\nhttp-prot = 7000\napi-key = ["sk-0ne two"]\n')
    command = [sys.executable, "-m", "slipway", "serve", str(repository), "--config=slipway.toml"]
    environment = {**os.environ, "SLIPWAY_GRPC_PROT": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path, env=environment
    )
    assert done.returncode == 1
    assert "'slipway.toml', line 2: unknown key 'http-prot'; did you mean 'http-port'?" in done.stderr
    assert "SLIPWAY_GRPC_PROT is not a setting; did you mean 'SLIPWAY_GRPC_PORT'?" in done.stderr
    assert "\"api-key in 'slipway.toml', line 3\"" in done.stderr
    assert "sk-0ne" not in done.stdout + done.stderr


def test_metrics_need_a_key_if_asked_to(repository):
    with running_server(repository, f"--api-key={GIVEN}", "--metrics-require-api-key") as running:
        assert ask(running.ports.metrics, "GET", "/metrics")[0] == 401
        assert ask(running.ports.metrics, "GET", "/metrics", X_API_Key=GIVEN)[0] == 200
        assert "--api-key can be read in the list of processes" in running.log
        assert GIVEN not in running.log
        assert json.dumps("/metrics") not in running.log  # the access log is off
