"""Open a transformer engine as a model's configuration asks, and show which one it is in the log and the configuration.

The engine and its precision are chosen in `transformer/engines.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from slipway.backends.api import ModelContext
from slipway.backends.shared.parameters import explicit_threads, instance_count
from slipway.transformer.engines import RoutingEngine, open_engine
from slipway.transformer.generation import SequenceRequest
from slipway.transformer.options import EngineOptions
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Weights

SHOWN: Final = "slipway_engine"  # the parameter that shows clients the engine in the model's configuration

_LOG: Final = logging.getLogger("slipway.backends")


def open_shown_engine(
    context: ModelContext,
    spec: Transformer,
    weights: Weights,
    options: EngineOptions,
    *,
    typical: SequenceRequest | None = None,
    note: str = "",
) -> RoutingEngine:
    """Return the engine that `options` ask for, with the threads and workers of the model's configuration. Log its
    description, followed by `note`, and write it into the configuration. Raises the errors of `open_engine`."""
    config = context.config
    running = RunningOptions.of({key: value.string_value for key, value in config.parameters.items()})
    options = replace(options, threads=explicit_threads(config), workers=instance_count(config), running=running)
    engine = open_engine(spec, weights, options, name=context.name, typical=typical)
    config.parameters[SHOWN].string_value = engine.description
    _LOG.info("model '%s' version %d: %s%s", context.name, context.version, engine.description, note)
    return engine
