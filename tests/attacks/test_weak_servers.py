"""No group of the attack suite can only say "held": each weakness of a little server is found by the group it is for,
and the same server without it holds."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from benchmarks.serving import running_server
from slipway.attack.bounds import Bounds
from slipway.attack.group import GroupResult, HeldState
from slipway.attack.loopback import LoopbackAddress, grpc_address, http_address
from slipway.attack.suite import AttackTarget, attack
from slipway.attack.table import chosen_groups
from slipway.errors import SlipwayError
from tests.attacks.conftest import CONFIG

PATIENT = Bounds(seconds=12, patience_ms=20_000)
HURRIED = Bounds(seconds=12, patience_ms=900)
IN_BODY = "what is in a body was read as a request"
AFTER_IT = "what comes after it was read as a request"


@dataclass(frozen=True, slots=True)
class Weakness:
    """A weakness of the server, the group that finds it, and words that the group finds for it."""

    name: str
    group: str
    words: str
    bounds: Bounds = PATIENT


WEAKNESSES = (
    Weakness("upgrade", "body-ends", IN_BODY),
    Weakness("first-length", "doubtful-ends", AFTER_IT),
    Weakness("first-length", "byte-by-byte", AFTER_IT),
    Weakness("any-host", "hosts", AFTER_IT),
    Weakness("trailers", "trailers-as-headers", "it was treated as a header"),
    Weakness("any-method", "methods", "DELETE /v2: accepted with status 200"),
    Weakness("patient", "announced-lengths", "the server waits for the body"),
    Weakness("tidy", "odd-targets", "/v2/./health/live: accepted with status 200"),
    Weakness("endless-head", "endless-heads", "the server read on without a refusal"),
    Weakness("endless-trailers", "endless-trailers", "the server read on without a refusal"),
    Weakness("one-at-a-time", "slow-heads", "a good request of another client meanwhile"),
    Weakness("eager", "unread-responses", "MiB of requests were read while no response was"),
    Weakness("lenient-gzip", "broken-compression", "accepted with status 200"),
    Weakness("recursive", "json-depth", "afterwards, a good request: no connection"),
    Weakness("trusting", "json-shapes", "accepted with status 200"),
    Weakness("trusting", "json-data", "too few: accepted with status 200"),
    Weakness("trusting", "json-datatypes", "INT65: accepted with status 200"),
    Weakness("trusting", "json-documents", "cut: accepted with status 200"),
    Weakness("trusting", "json-duplicates", "an input twice: accepted with status 200"),
    Weakness("talkative", "json-documents", "reveals 'Traceback (most recent call'"),
    Weakness("corrupt", "json-datatypes", "afterwards, a good request: another answer than before"),
    Weakness("blocking", "large-data", "a health check on another connection took", HURRIED),
    Weakness("remembers", "unknown-models", "MiB more memory afterwards"),
    Weakness("files", "names-that-lead-out", "the response contains /etc/passwd"),
    Weakness("loads", "loads-that-lead-out", "accepted with status 200"),
    Weakness("loads", "loads-with-files", "code: accepted with status 200"),
    Weakness("any-origin", "foreign-origins", "Origin: http://evil.example: it reached the repository"),
    Weakness("any-name", "foreign-hosts", "Host: evil.example: it reached the repository"),
    Weakness("any-type", "forms", "text/plain: it reached the repository"),
    Weakness("cors", "cross-origin-reads", "a page of http://evil.example may read the response ('*')"),
    Weakness("rpc-trusting", "grpc-contents", "a byte too few: accepted"),
    Weakness("rpc-trusting", "grpc-shapes", "shape [-1, 2]: accepted"),
    Weakness("rpc-trusting", "grpc-encodings", "random bytes: accepted"),
    Weakness("rpc-raises", "grpc-contents", "UNKNOWN: Exception calling application"),
    Weakness("rpc-dies", "grpc-texts", "afterwards, a good request: a call over gRPC: UNAVAILABLE"),
    Weakness("rpc-one-thread", "grpc-request-resets", "a call of another client meanwhile"),
)
STRICT = sorted({each.group for each in WEAKNESSES if not each.group.startswith("grpc")})


@contextmanager
def weak_server(weakness: str = "") -> Iterator[AttackTarget]:
    """Run the little server in a process of its own."""
    command = [sys.executable, "-m", "tests.attacks.weak", *([weakness] if weakness else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        http, grpc = map(int, process.stdout.readline().split())
        try:
            rpc = LoopbackAddress("127.0.0.1", grpc) if grpc else None
            yield AttackTarget(LoopbackAddress("127.0.0.1", http), rpc, pid=process.pid)
        finally:
            process.kill()


def result(target: AttackTarget, group: str, bounds: Bounds) -> GroupResult:
    """Return what became of one group."""

    async def run() -> GroupResult:
        (found,) = [each async for each in attack(target, chosen_groups([group]), bounds)]
        return found

    return asyncio.run(run())


@pytest.fixture(scope="module")
def strict() -> Iterator[AttackTarget]:
    """Yield the little server without a weakness."""
    with weak_server() as target:
        yield target


@pytest.mark.parametrize("weakness", WEAKNESSES, ids=lambda each: f"{each.name}-{each.group}")
def test_a_weakness_is_found(weakness):
    with weak_server(weakness.name) as target:
        found = result(target, weakness.group, weakness.bounds)
    assert found.state is HeldState.NOT_HELD
    assert weakness.words in "\n".join(found.lines)


@pytest.mark.parametrize("group", STRICT)
def test_the_same_server_without_it_holds(strict, group):
    found = result(strict, group, PATIENT)
    assert (found.state, found.lines) == (HeldState.HELD, ())


def test_a_grpc_engine_that_decompresses_without_a_limit_is_found(tmp_path):
    pytest.importorskip("pygrpc_native", reason="the extra `fast` is not installed")
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG.format(kind="TYPE_INT64", dims="4", batch=0))
    with running_server(tmp_path, "--grpc-engine=native") as running:
        http, grpc = http_address(f"http://{running.http}"), grpc_address(running.grpc)
        found = result(AttackTarget(http, grpc, pid=running.pid), "grpc-bombs", PATIENT)
    assert found.state is HeldState.NOT_HELD
    assert "MiB more memory meanwhile" in "\n".join(found.lines)


def test_a_model_whose_answers_differ_is_compared_by_what_stays():
    with weak_server("random") as target:
        assert result(target, "hosts", PATIENT).state is HeldState.HELD


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        (Bounds(mebibytes=1, patience_ms=20_000), "within 1 MiB (--mebibytes)"),
        (Bounds(seconds=0.001, patience_ms=20_000), "within 0.001 s (--seconds)"),
    ],
    ids=["bytes", "seconds"],
)
def test_what_was_not_tried_within_the_bounds_is_not_held(strict, bounds, reason):
    found = result(strict, "tiny-chunks", bounds)
    assert (found.state, found.lines) == (HeldState.SKIPPED, (f"nothing could be tried {reason}",))
    assert found.sent <= 1 << 20


def test_what_a_server_lacks_is_skipped_and_not_held(strict):
    for group, reason in (("binary-strings", "no model with a small BYTES input"), ("grpc-pings", "--grpc")):
        found = result(strict, group, PATIENT)
        assert found.state is HeldState.SKIPPED
        assert reason in found.lines[0]


@pytest.mark.parametrize("group", ["grpc-contents", "grpc-pings"])
def test_nothing_is_held_by_a_grpc_port_that_nobody_serves(strict, group):
    with socket.socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        target = replace(strict, grpc=LoopbackAddress("127.0.0.1", unserved.getsockname()[1]))
        with pytest.raises(SlipwayError, match=r"the gRPC server at .* does not serve: .*UNAVAILABLE"):
            result(target, group, PATIENT)


@pytest.mark.parametrize("keep_going", [False, True])
def test_nothing_is_held_by_a_server_that_is_gone(keep_going):
    async def run(target: AttackTarget) -> list[GroupResult]:
        groups = chosen_groups(["json-depth", "json-data", "hosts"])
        return [each async for each in attack(target, groups, PATIENT, keep_going=keep_going)]

    with weak_server("recursive") as target:
        found = asyncio.run(run(target))
    states = {each.group.name: each.state for each in found}
    assert states.pop("json-depth") is HeldState.NOT_HELD
    assert states.pop("hosts") is HeldState.HELD
    assert set(states.values()) == ({HeldState.SKIPPED} if keep_going else set())
