"""A delayed line holds its requests back once, until there are enough of them."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.core.statistics import ModelStatistics
from slipway.scheduling.factory import build_scheduler
from tests.scheduling.fakes import Client, HeldInstance, signature_of


def client_of(instance, text="dynamic_batching { }"):
    config = text_format.Parse(text, model_config_pb2.ModelConfig(name="m", max_batch_size=8))
    return Client(build_scheduler(config, signature_of(), [instance], ModelStatistics(), "1"))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TRITONSERVER_DELAY_SCHEDULER", "3")


def test_a_dynamic_batch_waits_for_its_first_requests():
    async def scenario():
        instance = HeldInstance()
        client = client_of(instance)
        for id_ in "abc":
            assert instance.started == []
            client.send(id_)
        assert instance.batches == [["a", "b", "c"]]
        instance.finish()
        client.send("d")
        assert instance.batches[1:] == [["d"]]

    asyncio.run(scenario())


def test_a_cancelled_request_does_not_count():
    async def scenario():
        instance = HeldInstance()
        client = client_of(instance)
        client.send("a").cancel()
        client.send("b")
        client.send("c")
        assert instance.started == []
        client.send("d")
        assert instance.batches == [["b", "c", "d"]]

    asyncio.run(scenario())


def test_a_model_without_batching_does_not_wait():
    async def scenario():
        instance = HeldInstance()
        client_of(instance, "").send("a")
        assert instance.batches == [["a"]]

    asyncio.run(scenario())
