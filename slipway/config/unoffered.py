"""Features that a configuration may request and this version does not support: refused if the model would give other
results without them, reported if it only runs differently.

Used by the server and the linter. Settings of one backend belong to `backends/shared/ignored.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.prepared import prepared_without_effect
from slipway.problems import FieldPath, Problem, Rule

_REMOVE: Final = "remove it unless another server needs it"


def refusals(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the settings that keep a model from being served."""
    if config.HasField("sequence_batching"):
        text = f"model '{config.name}' uses sequence batching, which this version does not support"
        fix = "remove sequence_batching if each request is self-contained, or serve the model with NVIDIA Triton"
        yield Problem(Rule.NOT_OFFERED, text, ("sequence_batching",), fix)


def without_effect(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the settings that are ignored."""
    if config.response_cache.enable:
        yield _passed_over(
            ("response_cache",), "response_cache has no effect: this version does not have a response cache"
        )
    for index, group in enumerate(config.instance_group):
        path = ("instance_group", index)
        if group.host_policy:
            yield _passed_over((*path, "host_policy"), "host_policy has no effect: instances are not pinned to cores")
    yield from prepared_without_effect(config)


def _passed_over(path: FieldPath, text: str) -> Problem:
    return Problem(Rule.WITHOUT_EFFECT, text, path, _REMOVE)
