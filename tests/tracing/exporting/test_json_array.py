"""An array in a file is complete after each element, also when the disk is full."""

from __future__ import annotations

import errno
import json
import os
import threading

import pytest

from slipway.tracing.exporting.json_array import JsonArrayFile


def test_the_file_is_valid_json_after_each_element(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text("what was there before")
    file = JsonArrayFile(str(path))
    for number in range(3):
        file.append(f'{{"id":{number}}},{{"more":{number}}}')
        assert len(json.loads(path.read_text())) == 2 * number + 2
    file.close()
    assert json.loads(path.read_text())[-1] == {"more": 2}


def test_what_does_not_fit_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "trace.json"
    file = JsonArrayFile(str(path))
    file.append('{"id":1}')
    written = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) < 10:
            return written(descriptor, data, offset)
        if data.startswith(b",\n"):
            return written(descriptor, data[:5], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        file.append('{"id":2,"long":"' + "x" * 50 + '"}')
    assert json.loads(path.read_text()) == [{"id": 1}]
    monkeypatch.undo()
    file.append('{"id":3}')
    file.close()
    assert [each["id"] for each in json.loads(path.read_text())] == [1, 3]


def test_a_disk_that_is_full_from_the_start_is_an_error():
    file = JsonArrayFile("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        file.append("{}")
    file.close()


def test_a_pipe_gets_the_array_in_order(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    file = JsonArrayFile(str(path))
    for number in range(3):
        file.append(str(number))
    file.close()
    reader.join()
    assert json.loads(read[0]) == [0, 1, 2]
