"""How far a run of lines is, in words."""

from __future__ import annotations

import pytest

from slipway.lines.progress import LinesProgress
from slipway.lines.transfer import TransferState


@pytest.mark.parametrize(
    ("state", "total", "seconds", "text"),
    [
        (TransferState(), 0, 0, "0 lines"),
        (TransferState(written=50), 0, 2, "50 lines, 25 lines/s"),
        (TransferState(written=1000), 4000, 10, "1,000 of 4,000 lines (25%), 100 lines/s, about 30 s left"),
        (
            TransferState(before=3000, written=10),
            4000,
            10,
            "3,010 of 4,000 lines (75%), 1.0 lines/s, about 16 min left",
        ),
        (TransferState(written=1), 4000, 10, "1 of 4,000 lines (0%), 0.1 lines/s, about 11.1 h left"),
        (TransferState(written=4000), 4000, 10, "4,000 of 4,000 lines (100%), 400 lines/s"),
        (TransferState(written=5, waiting="no server"), 10, 2, "5 of 10 lines (50%), waiting: no server"),
    ],
)
def test_a_run_says_where_it_is_and_how_long_it_takes(state, total, seconds, text):
    assert LinesProgress(state, total).after(seconds) == text
