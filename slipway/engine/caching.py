"""Gives models that enable `response_cache` the server's cache, and says which loads may share responses.

The key of a response begins with the identity of the model as it is loaded: a response of a model never outlives the
files that the model was loaded from, and one of an ensemble never outlives a model of one of its steps. Does not know
how responses are kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from tritonclient.grpc import model_config_pb2

from slipway.core.model_id import ModelId
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.engine.dependencies import is_ensemble
from slipway.engine.serving import ServingTable
from slipway.engine.source import ModelSource
from slipway.response_cache.api import ResponseCache
from slipway.scheduling.api import Scheduler
from slipway.scheduling.cached import CachedScheduler, uncached

_LATEST = -1  # `model_version` of a step that uses the latest version


@dataclass(frozen=True, slots=True)
class Caching:
    """The server's response cache, for the models that `serving` knows.

    With `shared`, other servers and later runs of this one use the same cache: an identity then depends on the model's
    config and on the names, sizes and modification times of its files. Otherwise every load is another one.
    """

    cache: ResponseCache
    serving: ServingTable
    shared: bool

    def identity(self, source: ModelSource, version: int, config: model_config_pb2.ModelConfig) -> bytes:
        """Return the identity of a version that is being loaded, 32 bytes."""
        if not self.shared:
            return os.urandom(32)
        stamps = (source.fingerprint.shared, source.fingerprint.versions.get(version, ()))
        digest = sha256(repr((str(source.id), version, stamps)).encode(errors="surrogatepass"))
        digest.update(config.SerializeToString(deterministic=True))
        return digest.digest()

    def wrapper(
        self,
        model: ModelId,
        config: model_config_pb2.ModelConfig,
        signature: ModelSignature,
        statistics: ModelStatistics,
        version: int,
        identity: bytes,
    ) -> Callable[[Scheduler], Scheduler]:
        """Return the function that gives a scheduler the cache, if the config enables it."""
        if not config.response_cache.enable:
            return uncached
        combined = EnsembleIdentity(self.serving, config, identity, model.namespace)
        of_now = combined if is_ensemble(config) else lambda: identity

        def cached(scheduler: Scheduler) -> Scheduler:
            return CachedScheduler(
                scheduler,
                self.cache,
                signature,
                statistics=statistics,
                version=str(version),
                identity=of_now,
                has_sequences=is_ensemble(config),
            )

        return cached


class EnsembleIdentity:
    """The identity of an ensemble with the models of its steps as they serve now; computed again after changes."""

    def __init__(
        self, serving: ServingTable, config: model_config_pb2.ModelConfig, own: bytes, namespace: str = ""
    ) -> None:
        self._serving = serving
        self._config = config
        self._own = own
        self._namespace = namespace
        self._changes = -1
        self._value = b""

    def __call__(self) -> bytes:
        """Return the identity, 32 bytes."""
        if self._changes != self._serving.changes:
            self._changes = self._serving.changes
            self._value = _combined(self._serving, self._config, self._own, self._namespace)
        return self._value


def _combined(serving: ServingTable, config: model_config_pb2.ModelConfig, own: bytes, namespace: str) -> bytes:
    digest = sha256(own)
    for step in config.ensemble_scheduling.step:
        number = "" if step.model_version == _LATEST else str(step.model_version)
        model = (serving.seen_in(namespace, step.model_name) or {}).get(number)
        if model is None:  # gone: the request fails, and nothing is kept
            continue
        part = model.identity
        if is_ensemble(model.config):
            part = _combined(serving, model.config, part, model.id.namespace)
        digest.update(part)
    return digest.digest()
