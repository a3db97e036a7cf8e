"""`slipway.Client` gets the same from NVIDIA's server as from Slipway, over both protocols."""

from __future__ import annotations

import json

import numpy as np
import pytest

import slipway
from slipway import Code, SlipwayError


@pytest.fixture(params=["grpc", "http"])
def clients(request, servers):
    urls = [
        f"127.0.0.1:{ports.grpc}" if request.param == "grpc" else f"http://127.0.0.1:{ports.http}" for ports in servers
    ]
    ours, theirs = (slipway.Client(url, timeout=60) for url in urls)
    with ours, theirs:
        yield ours, theirs


def test_arrays_lists_and_texts(clients):
    for client in clients:
        values = np.arange(6, dtype=np.float32).reshape(2, 3)
        assert client.infer("echo_fp32", {"IN": values})["OUT"].tolist() == values.tolist()
        assert client.infer("nobatch", {"IN": [[1, 2]]}, outputs=["OUT"])["OUT"].tolist() == [[1, 2]]
        assert client.infer("echo_bytes", {"IN": [["ä", "b"]]}).texts() == ["ä", "b"]
        assert client.infer_text("echo_bytes", ["a", "b"])["OUT"].shape == (2, 1)
        result = client.infer("versions", {"IN": [1, 2]}, version="1", request_id="7")
        assert (result.model, result.version, result.id) == ("versions", "1", "7")


def test_parameters_and_sequences_arrive(clients):
    answers = [
        client.infer(
            "parameters",
            {"IN": np.ones(1, np.float32)},
            request_id="r",
            parameters={"text": "t", "whole": 3, "yes": True},
            sequence_id=5,
            sequence_start=True,
        ).texts()
        for client in clients
    ]
    for [text] in answers:
        *head, parameters, outputs = text.split("|")
        assert (head, outputs) == (["r", "5", "1"], "OUT")
        assert json.loads(parameters) == {"text": "t", "whole": 3, "yes": True}


def test_streams(clients):
    for client in clients:
        results = list(client.stream("repeat", {"IN": [3, 1, 2]}))
        assert [result["OUT"].item() for result in results] == [3, 1, 2]
        assert list(client.stream("repeat", {"IN": np.zeros(0, np.int32)})) == []


def outcome(client, *arguments):
    try:
        client.infer(*arguments)
    except SlipwayError as error:
        return error.code
    return None


def test_errors_have_the_same_codes(clients):
    ours, theirs = clients
    zero = np.zeros((1, 1), np.int32)
    for arguments in (("absent", {}), ("moody", {"CODE": zero.astype(np.int64)}), ("moody", {"CODE": zero + 2})):
        assert outcome(ours, *arguments) is outcome(theirs, *arguments)
    assert outcome(theirs, "absent", {}) is Code.NOT_FOUND


def test_descriptions(clients):
    ours, theirs = clients
    assert [client.is_live() for client in clients] == [True, True]
    assert [client.is_ready("pair") for client in clients] == [True, True]
    assert [client.is_ready("absent") for client in clients] == [False, False]
    assert ours.model_info("pair") == theirs.model_info("pair")
    assert ours.model_config("pair")["input"] == theirs.model_config("pair")["input"]
    names = [{row.name for row in client.index(ready_only=True)} for client in clients]
    assert names[0] == names[1]
    assert "pair" in names[0]
    assert [client.statistics("pair")[0]["name"] for client in clients] == ["pair", "pair"]
    assert theirs.server_info().name == "triton"
