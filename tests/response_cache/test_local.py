"""The cache in memory stays within its bytes, and the least recently used response leaves first."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.tensor import Tensor
from slipway.response_cache.local import LocalCache
from slipway.response_cache.stored import StoredResponse

SIZE = StoredResponse.of([], {}).size


def response(count: int) -> StoredResponse:
    """Return a response whose size is `count` times that of an empty one."""
    return StoredResponse((), (), count * SIZE)


STEPS = st.lists(st.tuples(st.sampled_from(["insert", "lookup"]), st.integers(0, 7), st.integers(1, 4)), max_size=60)


@given(STEPS, st.integers(4, 12))
def test_it_does_what_a_list_ordered_by_use_does(steps, capacity):
    cache = LocalCache(capacity * SIZE)
    model: OrderedDict[int, int] = OrderedDict()
    evictions = 0
    for step, number, count in steps:
        key = bytes([number])
        if step == "lookup":
            found = cache.lookup(key)
            assert (found is not None) == (number in model)
            if number in model:
                assert found.size == model[number] * SIZE
                model.move_to_end(number)
        else:
            model.pop(number, None)
            while sum(model.values()) + count > capacity:
                model.popitem(last=False)
                evictions += 1
            model[number] = count
            cache.insert(key, response(count))
        report = cache.report()
        assert report.entries == len(model)
        assert report.utilization == pytest.approx(sum(model.values()) / capacity)
        assert report.utilization <= 1
        assert report.statistics.evictions == evictions


def test_a_closed_cache_is_empty():
    cache = LocalCache(10 * SIZE)
    cache.insert(b"a", response(1))
    asyncio.run(cache.close())
    assert cache.lookup(b"a") is None
    assert cache.report().utilization == 0


def _small(number: int) -> StoredResponse:
    outputs = [Tensor.from_array(f"OUT{number}{index}", np.full((1, 1), number, np.int32)) for index in range(2)]
    return StoredResponse.of(outputs, {f"p{number}": f"value {number}", f"q{number}": number})


def _empty(_: int) -> StoredResponse:
    return StoredResponse.of([], {})


def _deep(number: int) -> StoredResponse:
    return StoredResponse.of([Tensor.from_array("OUT", np.full((1000, *[1] * 20), number, np.int64))], {})


@pytest.mark.parametrize("make", [_empty, _small, _deep], ids=["empty", "small", "many dimensions"])
def test_the_memory_of_the_process_stays_within_the_bytes(make):
    capacity = 4 << 20
    cache = LocalCache(capacity)
    cache.insert(os.urandom(32), make(0))
    gc.collect()
    tracemalloc.start()
    number = 0
    while cache.statistics.evictions < 100:
        number += 1
        cache.insert(os.urandom(32), make(number + 1000))
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used <= capacity


def test_a_response_does_not_keep_the_memory_that_it_was_copied_from():
    batch = bytearray(np.arange(8, dtype=np.int32).tobytes())
    stored = StoredResponse.of([Tensor("OUT", "INT32", (2,), raw=memoryview(batch)[4:12])], {})
    batch[4:12] = bytes(8)
    assert stored.outputs()[0].array.tolist() == [1, 2]


def test_large_tensors_are_copied_whole():
    array = np.arange(1_000_003, dtype=np.int32)
    stored = StoredResponse.of([Tensor.from_array("OUT", array)], {})
    np.testing.assert_array_equal(stored.outputs()[0].array, array)
    with pytest.raises(ValueError, match="read-only"):
        stored.outputs()[0].array[0] = 1


def test_an_array_made_of_a_hit_is_not_kept_with_the_response():
    stored = StoredResponse.of([Tensor.from_array("OUT", np.array([b"a"], np.object_))], {})
    first, second = stored.outputs()[0], stored.outputs()[0]
    assert first.array is not second.array
