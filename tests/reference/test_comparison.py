"""The same requests, good and bad, get the same answers from Slipway and from NVIDIA's tritonserver."""

from __future__ import annotations

import pytest

from tests.reference import grpc_cases, http_cases, odd_cases
from tests.reference.answers import Answer, ask_grpc, ask_http
from tests.reference.differences import DIFFERENCES, reason

HTTP = [*http_cases.cases(), *odd_cases.odd()]
GRPC = grpc_cases.cases()


def judge(case: str, ours: Answer, theirs: Answer) -> None:
    """Fail for a difference that is not intended, and for an intended one that is not there."""
    why = reason(case)
    if why is None:
        assert ours == theirs, f"\n  slipway:   {ours}\n  reference: {theirs}"
    else:
        assert ours != theirs, f"listed as different ({why}) but both say {ours}"


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case.id)
def test_http_answers_are_the_same(servers, case):
    ours, theirs = servers
    judge(f"http:{case.id}", ask_http(ours.http, case), ask_http(theirs.http, case))


@pytest.mark.parametrize("case", GRPC, ids=lambda case: case.id)
def test_grpc_answers_are_the_same(stubs, case):
    ours, theirs = stubs
    judge(f"grpc:{case.id}", ask_grpc(ours, case), ask_grpc(theirs, case))


def test_every_listed_difference_names_a_case():
    known = [f"http:{case.id}" for case in HTTP] + [f"grpc:{case.id}" for case in GRPC]
    unused = [pattern for pattern in DIFFERENCES if not any(reason(case) == DIFFERENCES[pattern] for case in known)]
    assert not unused
