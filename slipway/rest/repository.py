"""The model repository extension: index, load, unload."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from slipway.errors import internal, invalid, shown
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON
from slipway.wire.json_text import NON_BOOLEAN, NON_OBJECT_MEMBERS, NON_STRING, parse_object

_FILE = "file:"


def index(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer POST /v2/repository/index; empty members are omitted."""
    only_ready = parse_object(exchange.body).get("ready", False)
    if not isinstance(only_ready, bool):
        raise internal(NON_BOOLEAN)
    entries = [
        {"name": entry.name, **{key: value for key in ("version", "state", "reason") if (value := getattr(entry, key))}}
        for entry in context.dataplane.repository_index(only_ready)
    ]
    exchange.answer(200, JSON, orjson.dumps(entries))


def load(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer POST /v2/repository/models/NAME/load once the model is loaded."""
    config, files = None, {}
    for key, value in _parameters(exchange).items():
        if key == "config":
            config = _string(value)
        elif key.startswith(_FILE):
            files[key.removeprefix(_FILE)] = _base64(key, _string(value))
        else:
            _string(value)
            raise internal("unexpected error on creating Triton parameter")
    exchange.run(_load(context, exchange, target.model, config, files), to_end=True)


def unload(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer POST /v2/repository/models/NAME/unload once unloading has begun."""
    dependents = _parameters(exchange).get("unload_dependents", False)
    if not isinstance(dependents, bool):
        raise internal(f"Unable to parse 'unload_dependents': {NON_BOOLEAN}")
    exchange.run(_unload(context, exchange, target.model, dependents), to_end=True)


async def _load(context: Context, exchange: Exchange, name: str, config: str | None, files: dict[str, bytes]) -> None:
    await context.dataplane.load_model(name, config, files)
    exchange.answer(200, JSON)


async def _unload(context: Context, exchange: Exchange, name: str, dependents: bool) -> None:
    await context.dataplane.unload_model(name, dependents)
    exchange.answer(200, JSON)


def _parameters(exchange: Exchange) -> dict[str, Any]:
    parameters = parse_object(exchange.body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise internal(NON_OBJECT_MEMBERS)
    return parameters


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise internal(NON_STRING)
    return value


def _base64(key: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"failed to decode the base64 content of parameter '{shown(key)}'") from None
