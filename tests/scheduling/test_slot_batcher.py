"""The direct strategy: every sequence keeps its row, and no shape waits for ever."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.batcher import IDLE, Dispatch, WaitUntil
from slipway.scheduling.slot_batcher import SlotBatcher, SlotRules


@dataclass(frozen=True)
class Row:
    name: str
    slot: int
    merge_key: str = ""
    rows: int = 1


def batcher(slots=4, share=0.0, delay=0):
    rules = SlotRules(slots, share, delay)
    return SlotBatcher(
        rules, lambda row: row.slot, lambda like, count: [Row("-", -1, like.merge_key) for _ in range(count)]
    )


def names(decision):
    assert isinstance(decision, Dispatch)
    return [row.name for row in decision.items]


def test_nothing_waits():
    assert batcher().poll(0) is IDLE


def test_a_row_for_every_slot_up_to_the_last():
    line = batcher()
    line.push(Row("c", 2), 0)
    line.push(Row("a", 0), 1)
    assert names(line.poll(1)) == ["a", "-", "c"]
    assert len(line) == 0


def test_another_shape_waits_for_the_next_batch():
    line = batcher()
    line.push(Row("b", 1, "wide"), 0)
    line.push(Row("a", 0, "narrow"), 1)
    line.push(Row("d", 3, "wide"), 2)
    first = line.poll(2)
    assert names(first) == ["-", "b", "-", "d"]
    assert {row.merge_key for row in first.items} == {"wide"}
    assert names(line.poll(2)) == ["a"]


def test_it_waits_until_enough_slots_have_a_request():
    line = batcher(share=0.5, delay=100)
    line.push(Row("b", 1), 10)
    assert line.poll(10) == WaitUntil(110)
    assert names(line.poll(110)) == ["-", "b"]
    line.push(Row("b", 1), 200)
    line.push(Row("c", 2), 210)
    assert names(line.poll(210)) == ["-", "b", "c"]


def test_a_share_without_a_delay_and_a_delay_without_a_share_mean_nothing():
    for share, delay in ((0.9, 0), (0.0, 100)):
        line = batcher(share=share, delay=delay)
        line.push(Row("a", 0), 0)
        assert names(line.poll(0)) == ["a"]


def test_a_cancelled_request_is_gone():
    line = batcher()
    row = Row("a", 0)
    line.push(row, 0)
    assert line.remove(row)
    assert not line.remove(row)
    assert line.poll(0) is IDLE


@given(st.dictionaries(st.integers(0, 5), st.sampled_from(["x", "y", "z"]), max_size=6))
def test_every_request_is_in_exactly_one_batch_in_its_row(keys):
    line = batcher(slots=6)
    rows = [Row(f"r{slot}", slot, key) for slot, key in keys.items()]
    for time, row in enumerate(rows):
        line.push(row, time)
    seen = []
    while line:
        batch = line.poll(9).items
        real = [row for row in batch if row.slot >= 0]
        assert all(batch[row.slot] is row for row in real)
        assert batch[-1].slot >= 0
        assert len({row.merge_key for row in batch}) == 1
        seen += real
    assert sorted(row.name for row in seen) == sorted(row.name for row in rows)
    assert seen[:1] == [] or rows[0].merge_key == seen[0].merge_key
