"""Run groups of attacks, one after another, and judge what came of each.

After every group the server has to answer the good request as before, and after those about gRPC the good call too; if
it does not, the group did not hold, and unless the caller wants to go on, nothing more is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.attack.bounds import Allowance, Bounds, BytesSpentError
from slipway.attack.group import AttackGroup, AttackRun, GroupResult, HeldState, Need, NotApplicableError
from slipway.attack.http_client import HttpClient, NoResponseError
from slipway.attack.loopback import LoopbackAddress
from slipway.attack.models import HEALTH, KnownModels, find_models
from slipway.attack.neighbour import Neighbour, Neighbourhood, neighbour, resident_mib
from slipway.attack.rpc_client import rpc_client
from slipway.attack.transport import Dialler
from slipway.errors import invalid, unavailable

_RECOVERY_TRIES: Final = 5
_RECOVERY_S: Final = 1.0
_SHOWN: Final = 10  # failures of a group


@dataclass(frozen=True, slots=True)
class AttackTarget:
    """The server under attack: its addresses, the model to use if not chosen, and its process id if known."""

    http: LoopbackAddress
    grpc: LoopbackAddress | None = None
    model: str = ""
    pid: int | None = None


async def attack(
    target: AttackTarget, groups: Sequence[AttackGroup], bounds: Bounds, *, keep_going: bool = False
) -> AsyncIterator[GroupResult]:
    """Yield the result of each group as it ends; stop after one after which the server no longer serves.

    Raise an error if there is nothing to attack: no server, or no model that answers.
    """
    if target.pid is not None and resident_mib(target.pid) is None:
        raise invalid(f"--pid {target.pid} is not a process whose memory can be read from /proc")
    try:
        models = await find_models(_client(target), target.model)
    except NoResponseError as error:
        raise unavailable(f"no KServe v2 server at {target.http}: {error}") from None
    if any(Need.GRPC in group.needs for group in groups) and (wrong := await _wrong_call(target, models)):
        raise unavailable(f"the gRPC server at {target.grpc} does not serve: {wrong}")
    async with neighbour(target.http, HEALTH, target.pid) as watching:
        gone = ""
        for group in groups:
            if gone and (gone := await _recovered(target, models, group)):
                yield GroupResult(group, HeldState.SKIPPED, (f"the server does not serve any more: {gone}",))
                continue
            result, gone = await _run(target, group, bounds, models, watching)
            yield result
            if gone and not keep_going:
                return


def _client(target: AttackTarget) -> HttpClient:
    """Return a client for good requests, whatever the bounds of the attacks are."""
    return HttpClient(Dialler(target.http, Allowance(Bounds())), Bounds().response_s)


async def _run(
    target: AttackTarget, group: AttackGroup, bounds: Bounds, models: KnownModels, watching: Neighbour
) -> tuple[GroupResult, str]:
    """Return what became of a group, and what is wrong with the server after it."""
    allowance = Allowance(bounds)
    client = HttpClient(Dialler(target.http, allowance), bounds.response_s)
    run = AttackRun(bounds, allowance, client, models, target.grpc)
    lacking = [need.value for need in group.needs if run.lacks(need)]
    if lacking:
        return GroupResult(group, HeldState.SKIPPED, tuple(lacking)), ""
    started = time.monotonic()
    await watching.begin()
    reason = await _attempt(group, run)
    neighbours = await watching.end()
    seconds = time.monotonic() - started
    broken = await _recovered(target, models, group)
    lines = [*run.failures[:_SHOWN]]
    if len(run.failures) > _SHOWN:
        lines.append(f"and {len(run.failures) - _SHOWN} more like these")
    lines += [f"afterwards, a good request: {broken}"] if broken else []
    lines += _crowded_out(group, neighbours, bounds)
    if reason and not lines:
        return GroupResult(group, HeldState.SKIPPED, (reason,), seconds=seconds), ""
    state = HeldState.NOT_HELD if lines else HeldState.HELD
    result = GroupResult(group, state, tuple(lines), run.tried, run.planned, seconds, allowance.sent, neighbours)
    return result, broken


async def _attempt(group: AttackGroup, run: AttackRun) -> str:
    """Run a group within its time and bytes; return the reason if it does not apply, or if nothing could be tried."""
    reason, limit = "", f"{run.bounds.mebibytes} MiB (--mebibytes)"
    try:
        async with asyncio.timeout(run.bounds.seconds):
            await group.run(run)
    except* NotApplicableError as errors:
        reason = str(_first(errors))
    except* TimeoutError:
        limit = f"{run.bounds.seconds:g} s (--seconds)"
    except* BytesSpentError:
        pass
    except* OSError as errors:
        run.failures.append(f"no connection: {_first(errors)}")
    return reason or ("" if run.tried or run.failures else f"nothing could be tried within {limit}")


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _recovered(target: AttackTarget, models: KnownModels, group: AttackGroup) -> str:
    """Return what is wrong with the good request, and for groups about gRPC with the good call, "" once it is answered
    as before; it has a few seconds."""
    wrong = ""
    client = _client(target)
    for attempt in range(_RECOVERY_TRIES):
        await asyncio.sleep(_RECOVERY_S if attempt else 0)
        wrong = await models.good.what_is_wrong(client)
        if not wrong and Need.GRPC in group.needs:
            wrong = await _wrong_call(target, models)
        if not wrong:
            break
    return wrong


async def _wrong_call(target: AttackTarget, models: KnownModels) -> str:
    """Return what is wrong with the answer to the good call, "" if nothing is or there is no gRPC address."""
    if target.grpc is None:
        return ""
    run = AttackRun(Bounds(), Allowance(Bounds()), _client(target), models, target.grpc)
    async with rpc_client(run) as client:
        wrong = await client.what_is_wrong(models.good)
    return f"a call over gRPC: {wrong}" if wrong else ""


def _crowded_out(group: AttackGroup, found: Neighbourhood, bounds: Bounds) -> Iterable[str]:
    """Yield what a neighbour suffered more than it may."""
    if found.failed:
        yield f"{found.failed} of {found.checks} health checks on another connection failed"
    if found.worst_ms > bounds.patience_ms:
        yield (
            f"a health check on another connection took {found.worst_ms:.0f} ms, and at the 99th percentile "
            f"{found.p99_ms:.0f} ms (--patience-ms {bounds.patience_ms:g})"
        )
    if found.peak_mib is not None and found.peak_mib > group.peak_mib:
        yield f"the server used {found.peak_mib:.0f} MiB more memory meanwhile (at most {group.peak_mib} are right)"
    if found.kept_mib is not None and found.kept_mib > group.kept_mib:
        yield f"the server kept {found.kept_mib:.0f} MiB more memory afterwards (at most {group.kept_mib} are right)"
