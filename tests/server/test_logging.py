"""The log of a running server: single requests, accesses, JSON, and levels that change at run time. Never contents."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from tests.kits.calls import infer, tensors
from tests.kits.traced_models import write_traced_models

SECRET = 31337.25
VALUES = np.array([[1, SECRET]], np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_traced_models(root)
    return root


def lines(server) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def requests_of(server) -> list[dict[str, object]]:
    return [line["fields"] for line in lines(server) if line["message"].startswith("request ")]


def accesses_of(server) -> list[dict[str, object]]:
    return [line["fields"] for line in lines(server) if line["logger"] == "slipway.access"]


def until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_requests_and_accesses_are_logged_without_their_contents(repository):
    flags = ["--log-format=json", "--log-verbose=1", "--log-access"]
    headers = {"authorization": "Bearer secret-token"}
    with (
        running_server(repository, *flags) as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        given = tensors(tritonclient.http, {"INPUT0": VALUES})
        http.infer("identity", given, request_id='a"\nb', headers=headers, query_params={"token": "secret-token"})
        infer(grpc, "chain", {"IN": VALUES}, "OUT")
        with pytest.raises(InferenceServerException):
            infer(grpc, "identity", {"WRONG": VALUES}, "OUTPUT0")
        grpc.is_server_live()
        answers: list[object] = []
        grpc.start_stream(lambda result, error: answers.append(error or result))
        grpc.async_stream_infer("repeat", tensors(tritonclient.grpc, {"IN": VALUES[0]}))
        grpc.stop_stream()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{server.http}/v2/absent?token=secret-token", timeout=20)
        until(lambda: len(requests_of(server)) >= 6 and len(accesses_of(server)) >= 6)
        found = requests_of(server)
        first = found[0]
        assert (first["id"], first["model"], first["version"], first["rows"]) == ('a"\nb', "identity", 1, 1)
        assert first["outcome"] == "ok"
        assert 0 <= first["queue_us"] <= first["total_us"]
        assert 0 <= first["compute_us"] <= first["total_us"]
        assert [each["model"] for each in found[1:4]] == ["identity", "identity", "chain"]
        assert found[4]["outcome"] == "INVALID_ARG"
        assert "WRONG" in found[4]["error"]
        assert (found[5]["model"], found[5]["responses"]) == ("repeat", 3)

        web = [each for each in accesses_of(server) if "path" in each]
        assert [(each["method"], each["path"], each["status"]) for each in web] == [
            ("POST", "/v2/models/identity/infer", 200),
            ("GET", "/v2/absent", 404),
        ]
        assert web[0]["client"].startswith("127.0.0.1:")
        assert web[0]["bytes"] > 100
        called = [each for each in accesses_of(server) if "path" not in each]
        calls = [(each["method"].rpartition("/")[2], each["status"]) for each in called]
        assert sorted(calls) == [
            ("ModelInfer", "INVALID_ARG"), ("ModelInfer", "OK"), ("ModelStreamInfer", "OK"), ("ServerLive", "OK"),
        ]  # fmt: skip
        assert str(SECRET) not in server.log
        assert "secret-token" not in server.log


def test_levels_and_the_format_change_while_the_server_runs(repository):
    with (
        running_server(repository) as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        assert "logging" in http.get_server_metadata()["extensions"]
        infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        assert "outcome" not in server.log
        http.update_log_settings({"log_verbose_level": 2})
        infer(grpc, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        until(lambda: "outcome" in server.log)
        assert [text in server.log for text in ("request accepted", 'model=\\"identity\\"')] == [True, True]
        grpc.update_log_settings({"log_format": "json", "log_verbose_level": 1})
        infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        until(lambda: requests_of(server))
        before = server.log
        grpc.update_log_settings({"log_verbose_level": 0, "log_info": False})
        infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        assert http.get_log_settings() == {
            "log_file": "",
            "log_info": False,
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 0,
            "log_format": "json",
        }
        assert server.log == before
        with pytest.raises(InferenceServerException, match="log file location can not be updated"):
            http.update_log_settings({"log_file": "elsewhere.log"})
