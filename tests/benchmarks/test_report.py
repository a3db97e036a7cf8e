"""Measurements are judged by their targets, and only the newest result of a section is kept."""

from __future__ import annotations

import pytest

from benchmarks import __main__ as command
from benchmarks.report import Row, from_json, kept, save, to_json

MET = Row("rate", 30.0, "req/s", 10.0, at_least=2.0)
MISSED = Row("memory", 140.0, "MB", at_most=130.0)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (MET, "met"),
        (MISSED, "missed"),
        (Row("rate", 19.0, "req/s", 10.0, at_least=2.0), "missed"),
        (Row("memory", 130.0, "MB", at_most=130.0), "met"),
        (Row("rate", 1.0, "req/s", 10.0), ""),
    ],
)
def test_the_ratio_is_judged_if_there_is_a_reference_and_otherwise_the_value(row, verdict):
    assert row.verdict == verdict


@pytest.mark.parametrize(
    ("row", "higher"),
    [
        (MET, True),
        (MISSED, False),
        (Row("rate", 1.0, "tok/s"), True),
        (Row("latency", 1.0, "ms"), False),
        (Row("padding", 1.0, "%"), None),
    ],
)
def test_the_target_or_the_unit_decides_whether_higher_is_better(row, higher):
    assert row.higher is higher


def test_a_result_replaces_the_older_one_of_its_section(tmp_path):
    for name in ("http", "grpc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "2026-01-31.json").write_text("{}")
    path = save("http", [MET, MISSED], tmp_path)
    assert [file.name for file in (tmp_path / "http").iterdir()] == [path.name]
    assert (tmp_path / "grpc" / "2026-01-31.json").exists()
    date, rows = kept("http", tmp_path)
    assert date.startswith(path.stem)
    assert rows == [MET, MISSED]
    assert kept("memory", tmp_path) is None


def test_rows_survive_the_way_through_json():
    assert from_json(to_json([MET, MISSED])) == [MET, MISSED]


@pytest.mark.parametrize(
    ("found", "code"),
    [(("2026-01-31", [MET]), 0), (("2026-01-31", [MET, MISSED]), 1), (None, 1)],
    ids=["met", "missed", "nothing kept"],
)
def test_kept_results_are_judged_without_measuring(found, code, monkeypatch, capsys):
    monkeypatch.setattr(command, "kept", lambda _: found)
    monkeypatch.setattr("sys.argv", ["benchmarks", "http", "--judge"])
    assert command.main() == code
    assert ("missed" in capsys.readouterr().out) == (found is not None and MISSED in found[1])
