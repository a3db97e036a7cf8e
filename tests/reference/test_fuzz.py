"""Generated requests get the same answers from both servers, or differ for a reason that is written down."""

from __future__ import annotations

import os

import pytest

from tests.reference.foreseen import FORESEEN
from tests.reference.fuzz.cases import KINDS, Case, whole_case
from tests.reference.fuzz.run import Finding, run
from tests.reference.fuzz.servers import Servers, shown
from tests.reference.fuzz.signatures import Signature, TensorSignature
from tests.reference.requirement import skipped_without_reference

SECONDS = 60
MODELS = (
    Signature(
        "pair",
        8,
        decoupled=False,
        inputs=(
            TensorSignature("A", "FP32", (4,), optional=False),
            TensorSignature("B", "BYTES", (-1, 2), optional=True),
        ),
        outputs=(TensorSignature("SUM", "FP16", (4,), optional=False),),
    ),
    Signature(
        "codes",
        0,
        decoupled=True,
        inputs=(TensorSignature("CODE", "INT32", (1,), optional=False),),
        outputs=(TensorSignature("OUT", "BYTES", (1,), optional=False),),
    ),
)


def test_a_seed_decides_every_request():
    for index in range(2000):
        case = whole_case(5, index)
        assert list(map(shown, case.steps(MODELS))) == list(map(shown, whole_case(5, index).steps(MODELS)))


def test_every_change_may_be_left_out():
    cases = [whole_case(6, index) for index in range(2000)]
    for case in cases:
        for place in case.kept:
            smaller = case.without(place)
            assert len(smaller.changes) == len(case.changes) - 1
            assert smaller.steps(MODELS)
    assert {case.kind for case in cases} == set(KINDS)


def test_a_case_names_its_replay():
    assert str(Case(7, 12, (0, 2))) == "--seed 7 --case 12 --keep 0,2"
    assert str(Case(7, 12, ())) == "--seed 7 --case 12 --keep none"


def test_every_intended_difference_has_a_name_and_a_reason():
    names = [row.name for row in FORESEEN]
    assert len(set(names)) == len(names)
    assert all(row.reason and (row.request or row.ours or row.theirs or row.both or row.without) for row in FORESEEN)


@pytest.mark.slow
def test_no_generated_request_differs_without_a_reason(tmp_path):
    seed = int(os.environ.get("SLIPWAY_FUZZ_SEED", "1"))
    found: list[Finding] = []
    with skipped_without_reference(), Servers(tmp_path) as servers:
        findings = run(servers, seed, SECONDS, note=found.append)
    report = "\n".join((f"seed {seed}", *map(str, found), *findings.lines()))
    assert findings.cases > 100, report
    assert not findings.count, report
