"""The shared memory extensions: status, register, unregister. Source: Triton extension_shared_memory.md.

Without a region in the path, the target's name is "": all regions. There are no regions in the memory of GPUs.
"""

from __future__ import annotations

import orjson

from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON
from slipway.wire.registration import read_registration


def status(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer GET /v2/systemsharedmemory[/region/NAME]/status."""
    rows = [
        {"name": region.name, "key": region.key, "offset": region.offset, "byte_size": region.byte_size}
        for region in context.dataplane.regions.status(target.model)
    ]
    exchange.answer(200, JSON, orjson.dumps(rows))


def register(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer POST /v2/systemsharedmemory/region/NAME/register."""
    regions = context.dataplane.regions
    regions.require_name(target.model, "system")
    key, offset, byte_size = read_registration(exchange.text())
    regions.register(target.model, key, offset, byte_size)
    exchange.answer(200, JSON)


def unregister(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer POST /v2/systemsharedmemory[/region/NAME]/unregister."""
    context.dataplane.regions.unregister(target.model)
    exchange.answer(200, JSON)


def cuda_status(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer GET /v2/cudasharedmemory[/region/NAME]/status."""
    context.dataplane.regions.check_cuda_status(target.model)
    exchange.answer(200, JSON, b"[]")


def register_cuda(context: Context, _: Exchange, target: ModelTarget) -> None:
    """Refuse POST /v2/cudasharedmemory/region/NAME/register."""
    context.dataplane.regions.register_cuda(target.model)


def unregister_cuda(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer POST /v2/cudasharedmemory[/region/NAME]/unregister."""
    context.dataplane.regions.unregister_cuda()
    exchange.answer(200, JSON)
