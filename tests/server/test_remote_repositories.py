"""One real server with three repositories: a directory, a bucket of a real S3 service, and a web server with TLS."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import ServerFailedError, running_server
from tests.kits.calls import infer
from tests.kits.certificates import encrypting_proxy, write_certificates
from tests.kits.engine import adder
from tests.kits.s3_service import SECRET, VARIABLES, Bucket, s3_service

PATIENCE_S = 60


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with s3_service() as address:
        yield Bucket(address, "bucket")


@pytest.fixture
def https(monkeypatch, tmp_path):
    """The port of a web server with TLS; `site` in `tmp_path` is what it has."""
    for name in ("site", "certificates"):
        (tmp_path / name).mkdir()
    certificates = write_certificates(tmp_path / "certificates")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with encrypting_proxy(server.server_port, certificates) as port:
        yield port
    server.shutdown()
    server.server_close()
    thread.join()


def sums(client, name):
    """Return what a model adds, None while it does not serve."""
    try:
        return infer(client, name, {"INPUT0": np.zeros((1, 2), np.float32)}, "OUTPUT0")[0, 0]
    except InferenceServerException:
        return None


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_models_from_three_kinds_of_repositories_are_served_and_followed(bucket, https, tmp_path):
    adder(tmp_path / "near", "near", [1])
    adder(tmp_path / "source", "far", [2])
    adder(tmp_path / "site", "web", [3])
    bucket.put_tree(tmp_path / "source", "models")
    url = f"s3://{bucket.address}/bucket/models"
    flags = ("--model-control-mode=poll", "--repository-poll-secs=1")
    with ExitStack() as stack:
        repositories = (f"--model-repository={tmp_path / 'near'}", f"--model-repository=https://localhost:{https}/")
        server = stack.enter_context(running_server(url, *repositories, *flags))
        client = stack.enter_context(tritonclient.http.InferenceServerClient(server.http))
        assert [sums(client, name) for name in ("near", "far", "web")] == [1, 2, 3]
        adder(tmp_path / "more", "far", [4])
        bucket.put_tree(tmp_path / "more", "models")
        adder(tmp_path / "site", "web", [5])
        until(lambda: (sums(client, "far"), sums(client, "web")) == (4, 5))
        bucket.put("models/bad/config.pbtxt", b"nonsense {")
        bucket.put("models/new/1/model.onnx", (tmp_path / "more" / "far" / "4" / "model.onnx").read_bytes())
        until(lambda: sums(client, "new") == 4)
        assert "is read without encryption" in server.log
        assert SECRET not in server.log
        assert VARIABLES["AWS_ACCESS_KEY_ID"] not in server.log


def test_a_repository_that_is_not_there_ends_the_start_with_the_reason(bucket):
    url = f"s3://{bucket.address}/bucket/absent"
    reason = f"error: creating server: Internal - there is nothing at {url}"
    with pytest.raises(ServerFailedError, match=reason), running_server(url):
        pass
