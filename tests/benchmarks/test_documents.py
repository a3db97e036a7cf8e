"""The benchmark of documents runs small, and its references do the same work."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.documents import _output, _page, documents, pillow_input, plain_suppression
from slipway.documents.detection import DetectionRules, page_elements
from slipway.documents.letterbox import page_batch

pytest.importorskip("PIL")


def test_every_row_is_measured_and_has_its_target():
    rows = documents(turns=1, rows=600, page=(330, 255))
    assert [row.at_most or row.at_least for row in rows] == [60, None, 5, 5, None]
    assert all(row.value > 0 for row in rows)
    assert [row.reference is not None for row in rows] == [False, True, False, True, False]


def test_the_loop_keeps_as_many_boxes():
    output = _output(600)
    rules = DetectionRules(labels=("a", "b", "c"))  # without the rules for tables and charts
    [elements] = page_elements(output, [(1024, 1024)], rules)
    assert sum(map(len, elements.values())) == len(plain_suppression(output[0])) > 5


def test_pillow_makes_the_same_input():
    page = _page(900, 700)[::-1, :, :]
    ours = page_batch([page]).pixels
    theirs = pillow_input(page)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 2
