"""What a Python model may ask of the server: run another model, load and unload models, define metrics.

`ServerServices` is the seam. `HostServer` implements it on the engine's `Host` (thread mode, and the parent's side of a
child process); the child process implements it with messages. The texts of refused BLS requests are Triton's (pb_stub,
request_executor.cc).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from slipway.core.pending import Deliver
from slipway.core.request import InferRequest, InferResponse
from slipway.errors import Code, FailureReason, SlipwayError, internal

Cancel = Callable[[], None]


class Series(Protocol):
    """One labelled series of a metric family."""

    @property
    def value(self) -> float:
        """The value of a counter or gauge."""

    def increment(self, amount: float) -> None:
        """Add to a counter or gauge."""

    def set(self, value: float) -> None:
        """Replace a gauge's value."""

    def observe(self, value: float) -> None:
        """Count a value in a histogram."""


class SeriesFamily(Protocol):
    """A named group of series."""

    def metric(self, labels: Mapping[str, str], buckets: Iterable[float] = ()) -> Series:
        """Return the series of `labels`; each call is matched by one `release`."""

    def release(self, labels: Mapping[str, str]) -> None:
        """Release one use of a series."""


class Metrics(Protocol):
    """The families that models define."""

    def family(self, name: str, description: str, kind: str) -> SeriesFamily:
        """Return the family `name`, created on first use. Raise `SlipwayError` if it exists with another kind."""


class ServerServices(Protocol):
    """The server as a model sees it. Every method is thread-safe and may block."""

    @property
    def metrics(self) -> Metrics:
        """The metric families that models define."""

    def submit(self, request: InferRequest, deliver: Deliver, *, decoupled: bool) -> Cancel:
        """Run a BLS request; every answer, even a refusal, goes to `deliver`. Return a function that cancels it."""

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load a model and wait for it. Raise `SlipwayError`."""

    def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Unload a model. Raise `SlipwayError`."""

    def is_model_ready(self, name: str, version: str) -> bool:
        """Return whether the model (version "" for any) is ready."""


class BlsHost(Protocol):
    """The part of `backends.api.Host` that a BLS request needs, repeated here because importing `Host` imports grpc."""

    def submit(self, request: InferRequest, deliver: Deliver) -> Cancel:
        """Start a request on the dataplane."""

    def is_decoupled(self, name: str, version: str) -> bool:
        """Return whether the model's requests may get any number of responses."""


def submit_bls(host: BlsHost, request: InferRequest, deliver: Deliver, *, decoupled: bool) -> Cancel:
    """Run a BLS request on `host`; a refusal is delivered in Triton's words."""
    name = request.model_name
    try:
        target_decoupled = host.is_decoupled(name, request.model_version)
    except SlipwayError:
        deliver(InferResponse(model_name=name, error=_refusal(name, _not_ready(name))))
        return _nothing
    if target_decoupled and not decoupled:
        deliver(InferResponse(model_name=name, error=_refusal(name, _needs_decoupled(name))))
        return _nothing

    def forward(response: InferResponse) -> None:
        if response.error is not None:
            response.error = _as_bls_error(name, response.error)
        deliver(response)

    return host.submit(request, forward)


def _nothing() -> None:
    """Cancel a request that was never started."""


def _as_bls_error(name: str, error: SlipwayError) -> SlipwayError:
    """Return a refusal with the prefix that models see; an error of the called model itself is left as it is."""
    if error.reason is FailureReason.OTHER and error.code in (Code.NOT_FOUND, Code.UNAVAILABLE):
        return _refusal(name, _not_ready(name))
    if error.reason is FailureReason.REJECTED or (
        error.reason is FailureReason.OTHER and error.code is Code.INVALID_ARG
    ):
        return _refusal(name, error.message)
    return error


def _refusal(name: str, message: str) -> SlipwayError:
    return internal(f"Model {name} - Error when running inference: {message}")


def _not_ready(name: str) -> str:
    return f"Failed for execute the inference request. Model '{name}' is not ready."


def _needs_decoupled(name: str) -> str:
    return (
        f"Model {name} is using the decoupled. The current BLS request call doesn't support models using the decoupled "
        "transaction policy. Please use 'decoupled=True' argument to the 'exec' or 'async_exec' calls for decoupled "
        "models.'"
    )
