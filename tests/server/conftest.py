"""Servers that several tests in this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc
import tritonclient.http

from benchmarks.serving import RunningServer, running_server
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.repositories import (
    MINILM,
    TinyClassifier,
    add_finbert,
    add_identity,
    add_masked_sum,
    add_python_identity,
    add_simple_net,
)


@pytest.fixture(scope="session")
def classifier() -> TinyClassifier:
    return TinyClassifier()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, classifier: TinyClassifier) -> Path:
    """The repository of the shared server: small models of every kind."""
    repository = tmp_path_factory.mktemp("models")
    add_finbert(repository, classifier)
    add_simple_net(repository)
    add_masked_sum(repository)
    add_identity(repository)
    add_identity(repository, "images", datatype="UINT8", dims="[ 1280, 1024, 3 ]")
    add_python_identity(repository)
    return repository


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[RunningServer]:
    """One server that has every model of `models` loaded."""
    with running_server(models) as running:
        yield running


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the converted MiniLM sentence encoder."""
    repository = tmp_path_factory.mktemp("minilm")
    convert(MINILM, ConvertOptions("minilm", repository, "onnxruntime", "fp32", lengths=(16,)))
    return repository


@pytest.fixture
def http(server: RunningServer) -> Iterator[tritonclient.http.InferenceServerClient]:
    with tritonclient.http.InferenceServerClient(server.http, concurrency=16) as client:
        yield client


@pytest.fixture
def grpc(server: RunningServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        yield client
