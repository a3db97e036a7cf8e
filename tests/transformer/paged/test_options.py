"""How many pages a running batch gets."""

from __future__ import annotations

import pytest

from slipway.machine import Memory
from slipway.transformer.paged import options
from slipway.transformer.paged.options import RunningOptions

GIB = 1 << 30
PAGE = 1 << 20


@pytest.mark.parametrize(
    ("free", "pages"),
    [(8 * GIB, 2048), (GIB, 256), (64 * GIB, 4096), (0, 1)],
)
def test_pages_take_a_quarter_of_the_free_memory_of_the_device_that_holds_them(free, pages, monkeypatch):
    monkeypatch.setattr(options, "read_memory", lambda: Memory(total=40 * GIB, used=28 * GIB))
    assert RunningOptions().pages(PAGE, free) == pages
    assert RunningOptions().pages(PAGE) == 3 * 1024
    assert RunningOptions(cache_mib=5).pages(PAGE, free) == 5


def test_where_the_free_memory_is_not_known_a_quarter_is_not_assumed(monkeypatch):
    monkeypatch.setattr(options, "read_memory", lambda: None)
    assert RunningOptions().pages(PAGE) == 1024
