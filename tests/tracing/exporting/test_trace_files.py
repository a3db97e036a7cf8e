"""Which trace goes to which file, with Triton's names and numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway.tracing.exporting.trace_files import MOST_OPEN, TraceFiles, Written
from slipway.tracing.record import RequestRecord, TraceRecord


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.json"


Setting = tuple[int, int, bool]  # number, frequency, is counted


def traces(setting: Setting, *numbers: int, last: int = -1) -> list[TraceRecord]:
    made = []
    for number in numbers:
        request = RequestRecord(number, 0, "", "m", 1, "", "", False, 1, [], [])
        made.append(TraceRecord([request], *setting, False, number == last))
    return made


def found(path) -> dict[str, list[int]]:
    """Return the ids in each file."""
    return {file.name: [each["id"] for each in json.loads(file.read_text())] for file in sorted(path.parent.iterdir())}


PLAIN = (1, 0, False)


def test_all_traces_go_to_one_file(path):
    files = TraceFiles(str(path))
    assert files.write(traces(PLAIN, 1, 2)) == Written(2)
    assert files.write(traces(PLAIN, 3)) == Written(1)
    assert found(path) == {"trace.json": [1, 2, 3]}
    files.close()
    assert found(path) == {"trace.json": [1, 2, 3]}


def test_a_log_frequency_gives_each_file_so_many_traces(path):
    files = TraceFiles(str(path))
    files.write(traces((1, 2, False), 1, 2, 3, 4, 5))
    files.close()
    assert found(path) == {"trace.json.0": [1, 2], "trace.json.1": [3, 4], "trace.json.2": [5]}


def test_a_count_that_is_reached_gives_a_numbered_file(path):
    files = TraceFiles(str(path))
    files.write(traces((1, 0, True), 1, 2, 3, last=3))
    files.write(traces((2, 0, True), 4, last=4))
    files.close()
    assert found(path) == {"trace.json.0": [1, 2, 3], "trace.json.1": [4]}


def test_a_count_that_is_not_reached_leaves_the_traces_in_the_file(path):
    files = TraceFiles(str(path))
    files.write(traces((1, 0, True), 1, 2))
    files.close()
    assert found(path) == {"trace.json": [1, 2]}


def test_settings_of_models_do_not_share_numbered_files(path):
    files = TraceFiles(str(path))
    one, other = (1, 2, False), (2, 2, False)
    files.write([*traces(one, 1), *traces(other, 2), *traces(PLAIN, 3), *traces(one, 4), *traces(other, 5)])
    files.close()
    assert found(path) == {"trace.json": [3], "trace.json.0": [1, 4], "trace.json.1": [2, 5]}


def test_what_cannot_be_written_is_counted_with_the_reason(tmp_path):
    directory = tmp_path / "absent"
    files = TraceFiles(str(directory / "trace.json"))
    numbered = (2, 5, False)
    assert files.write([*traces(PLAIN, 1, 2), *traces(numbered, 3)]) == Written(0, 3, "No such file or directory")
    directory.mkdir()
    assert files.write([*traces(PLAIN, 4), *traces(numbered, 5)]) == Written(2)
    files.close()
    assert found(directory / "trace.json") == {"trace.json": [4], "trace.json.0": [5]}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_of_settings_that_are_not_used_any_more_do_not_stay_open(path):
    files = TraceFiles(str(path))
    files.write(traces((0, 2, False), 1))
    before = open_files()
    for number in range(1, 3 * MOST_OPEN):
        files.write(traces((number, 2, False), number))
    assert open_files() < before + MOST_OPEN
    files.write(traces((0, 2, False), 0))
    files.close()
    written = found(path)
    assert len(written) == 3 * MOST_OPEN + 1
    assert (written["trace.json.0"], written[f"trace.json.{3 * MOST_OPEN}"]) == ([1], [0])
