"""The engine's `Host` as the `ServerServices` that a Python model sees."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from slipway.backends.api import Host
from slipway.backends.python.parents import CURRENT
from slipway.backends.python.server import Cancel, Metrics, submit_bls
from slipway.core.pending import Deliver
from slipway.core.request import InferRequest


class HostServer:
    """The server for thread mode: direct calls."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def metrics(self) -> Metrics:
        """The metric families that models define."""
        return self._host.metrics

    def submit(self, request: InferRequest, deliver: Deliver, *, decoupled: bool) -> Cancel:
        """Run a BLS request; every answer, even a refusal, goes to `deliver`. Return a function that cancels it.

        It is cancelled too when nobody waits for the batch that makes it.
        """
        start = partial(submit_bls, self._host, request, decoupled=decoupled)
        calls = CURRENT.get()
        return start(deliver) if calls is None else calls.submit(start, deliver)

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load a model and wait for it. Raise `SlipwayError`."""
        self._host.load_model(name, config, files)

    def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Unload a model. Raise `SlipwayError`."""
        self._host.unload_model(name, unload_dependents)

    def is_model_ready(self, name: str, version: str) -> bool:
        """Return whether the model (version "" for any) is ready."""
        return self._host.is_model_ready(name, version)
