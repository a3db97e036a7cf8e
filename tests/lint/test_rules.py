"""Every rule has a repository that breaks it, and the exact text that is then printed.

SLIPWAY_UPDATE_GOLDEN=1 rewrites the texts.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway.lint.check import check_repository
from slipway.lint.printing import report_text
from slipway.machine import Machine
from slipway.problems import Rule
from tests.kits.lint_cases import CASES

GOLDEN = Path(__file__).parent / "golden"
MACHINE = Machine(cpus=4, gpus=0)
# What no repository alone can show: a missing library, an unreadable file, a value that only some libraries check, and
# an error without a problem.
ELSEWHERE = {"backend-not-installed", "file-unreadable", "parameter-invalid", "config-invalid"}


def report(tmp_path, monkeypatch, rule):
    monkeypatch.chdir(tmp_path)
    repository = Path("models")
    CASES[rule](repository)
    return check_repository(repository, MACHINE)


@pytest.mark.parametrize("rule", CASES)
def test_a_broken_rule_prints_its_golden_text(tmp_path, monkeypatch, rule):
    found = report(tmp_path, monkeypatch, rule)
    text = report_text(found, colour=False) + "\n"
    path = GOLDEN / f"{rule}.txt"
    if os.environ.get("SLIPWAY_UPDATE_GOLDEN"):
        path.write_text(text)
    assert rule in {finding.rule for finding in found.findings}
    assert text == path.read_text()


@pytest.mark.parametrize("rule", CASES)
def test_a_finding_names_its_file_and_says_what_to_do(tmp_path, monkeypatch, rule):
    for finding in report(tmp_path, monkeypatch, rule).findings:
        assert str(finding.file).startswith("models")
        assert finding.rule in Rule
        assert finding.message
        assert finding.fix


def test_every_rule_has_a_case():
    assert CASES.keys() | ELSEWHERE == {rule.value for rule in Rule}
    assert {path.stem for path in GOLDEN.iterdir()} == CASES.keys()
