"""The text of a status arrives whatever its length and characters."""

import urllib.parse

import grpc
import pytest

from slipway.errors import internal
from slipway.rpc.status import STATUS_BYTES, status_text


def encoded(text):
    return urllib.parse.quote(text, safe="".join(map(chr, range(0x20, 0x25))) + "".join(map(chr, range(0x26, 0x7F))))


@pytest.mark.parametrize("character", ["a", "%", "\n", "\u00e9", "\u6f22", "\U0001f600"])
def test_a_long_text_is_cut_at_the_limit_of_its_encoded_form(character):
    text = status_text(character * 10_000)
    assert text.endswith("...")
    assert STATUS_BYTES - 16 < len(encoded(text)) <= STATUS_BYTES
    whole = character * (STATUS_BYTES // len(encoded(character)))
    assert status_text(whole) == whole


LONG = {"ascii": "x" * 30_000, "wide": "\u6f22" * 30_000, "lines": "at line 5\n" * 3_000}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_error_arrives_with_its_code(server, client, kind, monkeypatch):
    async def fail(*_):
        raise internal(LONG[kind])

    monkeypatch.setattr(server.plane, "load_model", fail)
    with grpc.insecure_channel(server.url) as channel:
        from tritonclient.grpc import service_pb2

        load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        with pytest.raises(grpc.RpcError) as caught:
            load(service_pb2.RepositoryModelLoadRequest(model_name="m").SerializeToString(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == status_text(LONG[kind])
