"""Two checkouts are measured by the same benchmarks, in turns, and a figure is only worse if it is in every turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.compare import Compared, paired, unpaired
from benchmarks.reference import CannotRunError
from benchmarks.report import Row

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("higher", "this", "other", "verdict"),
    [
        (True, (98.0, 99.0), (100.0, 101.0), ""),
        (True, (90.0, 91.0), (100.0, 101.0), "worse"),
        (True, (90.0, 91.0, 102.0), (95.0, 100.0, 101.0), "unclear"),
        (True, (200.0, 201.0), (100.0, 101.0), ""),
        (False, (110.0, 111.0), (100.0, 101.0), "worse"),
        (False, (90.0, 91.0), (100.0, 101.0), ""),
        (None, (90.0, 91.0), (100.0, 101.0), ""),
        (False, (0.0, 0.0), (0.0, 0.0), ""),
    ],
)
def test_a_figure_is_worse_if_its_median_exceeds_the_tolerance_and_every_turn_is_worse(higher, this, other, verdict):
    assert Compared("figure", "", higher, this, other).verdict == verdict


def test_figures_are_paired_by_name_and_those_missing_in_some_turns_are_listed():
    this = [[Row("a", 1.0, "ms"), Row("b", 2.0, "")], [Row("a", 3.0, "ms"), Row("c", 4.0, "")]]
    other = [[Row("a", 5.0, "ms")], [Row("a", 6.0, "ms"), Row("b", 7.0, "")]]
    assert paired(this, other) == [Compared("a", "ms", higher=False, this=(1.0, 3.0), other=(5.0, 6.0))]
    assert unpaired(this, other) == ["b", "c"]


def fake_checkout(directory: Path, value: float) -> Path:
    """Write a checkout whose Slipway contains a number that the section below measures."""
    (directory / "slipway").mkdir(parents=True)
    (directory / "slipway" / "__init__.py").write_text(f"VALUE = {value}\n")
    return directory


def fake_benchmarks(directory: Path) -> Path:
    """Write benchmarks with one section, run by the real `turn.py`, which reads the number of its checkout."""
    directory.mkdir(parents=True)
    for name in ("__init__.py", "turn.py", "report.py", "serving.py", "reference.py"):
        text = (ROOT / "benchmarks" / name).read_text()
        (directory / name).write_text(text.replace("from slipway import __version__", "__version__ = ''"))
    (directory / "sections.py").write_text(
        "import slipway\nfrom benchmarks.report import Row\n"
        "TURNS = {'number': lambda: [Row('number', slipway.VALUE, 'req/s')]}\n"
    )
    return directory


def test_each_turn_runs_these_benchmarks_on_the_slipway_of_its_checkout(tmp_path, monkeypatch, capsys):
    this, other = fake_checkout(tmp_path / "this", 9.0), fake_checkout(tmp_path / "other", 10.0)
    monkeypatch.setattr(compare, "HERE", fake_benchmarks(this / "benchmarks"))
    assert compare.compare(["number"], other, 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[-1] for line in lines if "turn " in line] == ["this", "other", "other", "this"]
    assert lines[-1].split() == ["number", "9.0", "10.0", "req/s", "0.900", "0.0", "%", "worse"]


def test_a_section_that_cannot_run_on_a_checkout_reports_where_and_why(tmp_path, monkeypatch):
    this, other = fake_checkout(tmp_path / "this", 9.0), fake_checkout(tmp_path / "other", 10.0)
    (other / "slipway" / "__init__.py").write_text("raise ImportError('too old')\n")
    monkeypatch.setattr(compare, "HERE", fake_benchmarks(this / "benchmarks"))
    with pytest.raises(CannotRunError, match=r"number on .*other: (?s:.*)too old"):
        compare.compare(["number"], other, 1)


def test_a_directory_without_slipway_is_refused(tmp_path):
    with pytest.raises(CannotRunError, match="is not a checkout of Slipway"):
        compare.compare(["http"], tmp_path, 1)
