"""GET /ui/models: the models of the repository, with what the list of the page shows about each.

It says what the repository index and the configurations say, so it needs the headers of both if they are restricted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import orjson
from tritonclient.grpc import model_config_pb2

from slipway.config.purpose import Purpose, purpose_of
from slipway.config.restrictions import refusal_text
from slipway.engine.api import IndexEntry
from slipway.engine.explaining import engine_of
from slipway.errors import SlipwayError
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.page.files import FRESH
from slipway.rest.response import JSON

_CONFIG_GROUP: Final = "model-config"
_READY: Final = "READY"
_LIVELY: Final = ("LOADING", "UNLOADING")
_NONE: Final = Purpose("")


def list_models(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer with the models in the order of their names."""
    restriction = context.options.restrictions.get(_CONFIG_GROUP)
    if restriction is not None and not restriction.admits(exchange.headers.get(restriction.header.lower().encode())):
        exchange.refuse(403, refusal_text(restriction, "API"))
        return
    index = sorted(context.dataplane.repository_index(False), key=_model_of)
    models = [_described(context, *model, list(entries)) for model, entries in groupby(index, key=_model_of)]
    parts = {part for model in models for part in model["parts"]}
    for model in models:
        model["is_part"] = model["name"] in parts
    exchange.answer(200, JSON + FRESH, orjson.dumps({"models": models}))


def _model_of(entry: IndexEntry) -> tuple[str, str]:
    return entry.name, entry.namespace


def _described(context: Context, name: str, namespace: str, entries: Sequence[IndexEntry]) -> dict[str, Any]:
    """Return a model as the page's list has it; what needs its configuration is left empty unless it is ready."""
    state = _state(entries)
    config = _config(context, name) if state == _READY else None
    purpose = (None if config is None else purpose_of(config)) or _NONE
    described = {
        "name": name,
        "namespace": namespace,
        "state": state,
        "versions": [
            {"version": entry.version, "state": entry.state, "reason": entry.reason}
            for entry in entries
            if entry.version or entry.state or entry.reason
        ],
        "task": purpose.task,
        "use": purpose.use.value if purpose.task else "",
        "chat": bool(purpose.chat_template and purpose.completions),
        "stream": purpose.stream,
    }
    if config is None:
        return described | {"platform": "", "engine": {}, "decoupled": False, "parts": []}
    return described | {
        "platform": config.platform or config.backend,
        "engine": engine_of(_computing(context, config, purpose)),
        "decoupled": config.model_transaction_policy.decoupled,
        "parts": sorted(set(_parts(config, purpose)) - {name, ""}),
    }


def _state(entries: Sequence[IndexEntry]) -> str:
    """Return the state of a model: the best of its versions', "" if it was never loaded."""
    states = [entry.state for entry in entries]
    return next((state for state in (_READY, *_LIVELY) if state in states), next(filter(None, states), ""))


def _config(context: Context, name: str) -> model_config_pb2.ModelConfig | None:
    try:
        return context.dataplane.model_config(name, "")
    except SlipwayError:  # its name means several models, or it is being unloaded
        return None


def _computing(
    context: Context, config: model_config_pb2.ModelConfig, purpose: Purpose
) -> model_config_pb2.ModelConfig:
    """Return the configuration of what computes a model: for an ensemble, the step that takes token ids, if it has one
    that is ready."""
    step = purpose.encoder if config.HasField("ensemble_scheduling") else ""
    return (_config(context, step) if step else None) or config


def _parts(config: model_config_pb2.ModelConfig, purpose: Purpose) -> Iterator[str]:
    """Yield the models that serve this one: its steps, and other forms that the converter wrote beside it."""
    yield from (step.model_name for step in config.ensemble_scheduling.step)
    if purpose.task:
        yield from (purpose.tokenizer, purpose.stream, purpose.completions)
