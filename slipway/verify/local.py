"""A server for one verification: the engine and its gRPC front in this process, on a port that the system chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from slipway import __version__
from slipway.config.options import ServerOptions
from slipway.core.model_id import ModelId
from slipway.engine.dataplane import Engine
from slipway.engine.failures import NOT_FOUND, LoadFailure
from slipway.errors import invalid
from slipway.repository.scan import scan_repositories
from slipway.rpc.listener import GrpcListener
from slipway.rpc.options import GrpcOptions
from slipway.verify.advice import Cause, Fault, Known
from slipway.verify.probe import Probe, Verdict

_ADDRESS: Final = "127.0.0.1"
_DRAIN_S: Final = 10.0


def model_directories(repository: Path) -> Mapping[str, Path]:
    """Return the models of a repository by name; raise INVALID_ARG if it is not a directory."""
    if not repository.is_dir():
        raise invalid(f"'{repository}' is not a directory; specify a model repository")
    return scan_repositories([repository]).models


async def verify_repository(repository: Path, models: Sequence[str], timeout_s: float) -> list[Verdict]:
    """Load all models or those named, send each a sample over gRPC, and return the verdicts by name."""
    directories = model_directories(repository)
    options = ServerOptions(
        model_repository=(repository,),
        model_control_mode="explicit" if models else "none",
        load_model=tuple(models),
        exit_on_error=False,
        strict_readiness=False,
    )
    engine = Engine(options, version=__version__)
    listener = GrpcListener(engine, GrpcOptions(grpc_address=_ADDRESS, grpc_port=0))
    drain_s = 0.0  # of what is interrupted, nobody waits for the answers
    try:
        failed = await engine.start()
        port = await listener.start()
        known = {(row.name, row.version): row.problems for row in engine.repository_index(ready_only=False)}
        probe = Probe(f"{_ADDRESS}:{port}", timeout_s=timeout_s, directories=directories, known=known)
        verdicts = await asyncio.to_thread(probe.run, models)
        drain_s = _DRAIN_S
    finally:
        await listener.stop(drain_s)
        await engine.shutdown(drain_s)
    return sorted([*verdicts, *_unlisted(failed, verdicts)], key=lambda each: (each.model, each.version))


def _unlisted(failed: Mapping[ModelId, LoadFailure], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return verdicts for models that failed before they had a version for the index to show."""
    shown = {verdict.model for verdict in verdicts if not verdict.passed}
    return [
        Verdict(model.name, "-", reason=failure.detail.strip(), known=_known(failure))
        for model, failure in failed.items()
        if model.name not in shown
    ]


def _known(failure: LoadFailure) -> tuple[Known, ...]:
    return (Fault(Cause.UNKNOWN_MODEL, failure.detail),) if failure is NOT_FOUND else failure.problems
