"""Every group of the public attack suite, against a real server: each holds, and none is skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.serving import running_server
from slipway.attack.bounds import Bounds
from slipway.attack.group import AttackGroup, GroupResult, HeldState
from slipway.attack.loopback import grpc_address, http_address
from slipway.attack.suite import AttackTarget, attack
from slipway.attack.table import GROUPS
from tests.attacks.conftest import CONFIG, MODELS

# The latency of health checks is measured on quiet machines (`benchmarks/neighbours.py`); here it must only end.
BOUNDS = Bounds(seconds=60, patience_ms=30_000)


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Iterator[AttackTarget]:
    """Yield a server that lets clients load models, so that those groups apply too."""
    models = tmp_path_factory.mktemp("suite") / "models"
    for name, (kind, dims, batch) in MODELS.items():
        (models / name / "1").mkdir(parents=True)
        (models / name / "config.pbtxt").write_text(CONFIG.format(kind=kind, dims=dims, batch=batch))
    flags = ("--model-control-mode=explicit", "--load-model=*", "--grpc-engine=asyncio")
    with running_server(models, *flags) as running:
        http, grpc = http_address(f"http://{running.http}"), grpc_address(running.grpc)
        yield AttackTarget(http, grpc, pid=running.pid)


def result(target: AttackTarget, group: AttackGroup) -> GroupResult:
    """Return what became of one group."""

    async def run() -> GroupResult:
        (found,) = [each async for each in attack(target, [group], BOUNDS)]
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_the_group_holds(target, group):
    found = result(target, group)
    assert (found.state, found.lines) == (HeldState.HELD, ())
    assert found.tried == found.planned > 0
    assert found.neighbours is not None
    assert found.neighbours.checks > 0
