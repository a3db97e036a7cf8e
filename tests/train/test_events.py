"""Event files on a disk that is full."""

from __future__ import annotations

import errno

import pytest

from slipway.errors import SlipwayError
from slipway.train.events import EventFiles


def test_a_full_disk_is_named_with_the_directory(tmp_path, monkeypatch):
    events = EventFiles(tmp_path, "p")

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(events._train, "flush", full)
    with pytest.raises(SlipwayError, match=r"event files in .* cannot be written: No space left on device; the check"):
        events.saved(1)
    monkeypatch.undo()
    events.close()
