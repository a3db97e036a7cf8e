"""What a configuration may ask for and this version does not have: refused where a model would give other answers
without it, named where it only runs otherwise.

Both the server and the linter ask here. What a backend alone knows is its own (`backends/shared/ignored.py`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.problems import FieldPath, Problem, Rule

_REMOVE: Final = "remove it, where no other server needs it"


def refusals(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield what keeps a model from being served."""
    if config.HasField("sequence_batching"):
        text = f"model '{config.name}' asks for sequence batching, which this version does not offer"
        fix = "remove sequence_batching if a request holds all that its answer needs, else serve it with NVIDIA Triton"
        yield Problem(Rule.NOT_OFFERED, text, ("sequence_batching",), fix)


def without_effect(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield what is passed over."""
    if config.response_cache.enable:
        yield _passed_over(("response_cache",), "response_cache has no effect: there is no response cache yet")
    for index, group in enumerate(config.instance_group):
        path = ("instance_group", index)
        if group.HasField("rate_limiter"):
            yield _passed_over((*path, "rate_limiter"), "rate_limiter has no effect: instances run whenever they can")
        if group.host_policy:
            yield _passed_over((*path, "host_policy"), "host_policy has no effect: instances are not pinned to cores")


def _passed_over(path: FieldPath, text: str) -> Problem:
    return Problem(Rule.WITHOUT_EFFECT, text, path, _REMOVE)
