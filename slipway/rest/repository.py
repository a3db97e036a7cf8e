"""The model repository extension: index, load, unload."""

from __future__ import annotations

import orjson

from slipway.core.large_work import LARGE, run_large
from slipway.errors import internal
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON
from slipway.wire.json_text import NON_BOOLEAN, parse_object
from slipway.wire.load_request import read_load, read_parameters


def index(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer POST /v2/repository/index; empty members are omitted."""
    only_ready = parse_object(exchange.text()).get("ready", False)
    if not isinstance(only_ready, bool):
        raise internal(NON_BOOLEAN)
    entries = [
        {"name": entry.name, **{key: value for key in ("version", "state", "reason") if (value := getattr(entry, key))}}
        for entry in context.dataplane.repository_index(only_ready)
    ]
    exchange.answer(200, JSON, orjson.dumps(entries))


def load(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer POST /v2/repository/models/NAME/load once the model is loaded."""
    name = target.model
    if len(exchange.body) > LARGE:
        exchange.run(_load_large(context, exchange, name), to_end=True)
    else:
        exchange.run(_load(context, exchange, name, *read_load(exchange.text())), to_end=True)


def unload(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer POST /v2/repository/models/NAME/unload once unloading has begun."""
    dependents = read_parameters(exchange.text()).get("unload_dependents", False)
    if not isinstance(dependents, bool):
        raise internal(f"Unable to parse 'unload_dependents': {NON_BOOLEAN}")
    exchange.run(_unload(context, exchange, target.model, dependents), to_end=True)


async def _load_large(context: Context, exchange: Exchange, name: str) -> None:
    config, files = await run_large(read_load, exchange.text())
    exchange.body = b""
    await _load(context, exchange, name, config, files)


async def _load(context: Context, exchange: Exchange, name: str, config: str | None, files: dict[str, bytes]) -> None:
    await context.dataplane.load_model(name, config, files)
    exchange.answer(200, JSON)


async def _unload(context: Context, exchange: Exchange, name: str, dependents: bool) -> None:
    await context.dataplane.unload_model(name, dependents)
    exchange.answer(200, JSON)
