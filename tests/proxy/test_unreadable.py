"""What a server sends that cannot be read: it fails one request, or one look at the models, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from tritonclient.grpc import service_pb2

from slipway.errors import SlipwayError
from slipway.proxy.catalog import Catalog
from slipway.proxy.outputs import output_values
from tests.proxy.fake_server import FakeServer, description, faked
from tests.proxy.test_predict import asked

GARBAGE = b"\xff\xff"


async def garbled(request: bytes, context) -> bytes:
    return GARBAGE


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelConfig"])
def test_a_response_that_cannot_be_read_is_the_servers_failure(method):
    client = asked(FakeServer({**description("m"), "ModelInfer": garbled, method: garbled}), b'{"text": "a"}')
    assert client.status == 500
    assert f"[StatusCode.INTERNAL] the server sent a {method}Response that cannot be read" in client.body.decode()


def test_an_index_that_cannot_be_read_does_not_end_the_looks_at_the_models(caplog):
    handlers = description("m")
    index, looks = handlers["RepositoryIndex"], []

    async def garbled_first(request: bytes, context) -> bytes:
        looks.append(request)
        return GARBAGE if len(looks) == 1 else await index(request, context)

    async def scenario():
        async with faked(FakeServer({**handlers, "RepositoryIndex": garbled_first})) as upstream:
            catalog = Catalog(upstream, 0.01)
            following = asyncio.create_task(catalog.follow())
            while not catalog.models:
                assert not following.done()
                await asyncio.sleep(0.01)
            following.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert "the server sent a RepositoryIndexResponse that cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("datatype", "shape", "field", "values"),
    [
        ("FP16", [1], "", []),  # a type that has no typed contents
        ("INT8", [1], "int_contents", [300]),
        ("UINT16", [1], "uint_contents", [1 << 16]),
        ("FP32", [2], "fp32_contents", [1.0]),
    ],
)
def test_typed_contents_that_are_not_the_tensor_are_refused(datatype, shape, field, values):
    response = service_pb2.ModelInferResponse()
    output = response.outputs.add(name="Y", datatype=datatype, shape=shape)
    if field:
        getattr(output.contents, field).extend(values)
    with pytest.raises(SlipwayError, match="output 'Y' cannot be read"):
        output_values(response)
