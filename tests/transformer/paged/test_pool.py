"""Pages are taken, shared, kept and given to others without being lost."""

from __future__ import annotations

import pytest

from slipway.errors import SlipwayError
from slipway.transformer.paged.page_keys import first_key, next_key
from slipway.transformer.paged.pool import PagePool


def test_pages_are_free_again_when_their_last_holder_releases_them() -> None:
    pool = PagePool(4, 16)
    pages = pool.take(3)
    pool.hold(pages[0])
    pool.release(pages)
    assert (pool.available, pool.held) == (3, 1)
    pool.release(pages[:1])
    assert pool.available == 4


def test_more_pages_than_there_are_cannot_be_taken() -> None:
    with pytest.raises(SlipwayError, match="3 pages were taken from a pool that has 2"):
        PagePool(2, 16).take(3)


def test_a_page_cannot_be_released_twice() -> None:
    pool = PagePool(2, 16)
    pages = pool.take(1)
    pool.release(pages)
    with pytest.raises(SlipwayError, match="released more often"):
        pool.release(pages)


def test_a_full_page_is_kept_and_found_after_its_holder_is_gone() -> None:
    pool = PagePool(2, 16)
    (page,) = pool.take(1)
    pool.name(page, b"key")
    pool.release([page])
    assert pool.find(b"key") == page
    assert pool.available == 2
    pool.hold(page)
    assert pool.available == 1


def test_the_least_recently_used_page_is_given_to_others_first_and_the_last_of_a_sequence_before_its_beginning() -> (
    None
):
    pool = PagePool(3, 16)
    old, new = pool.take(1), pool.take(2)
    for page, key in zip(old + new, (b"old", b"new 0", b"new 1"), strict=True):
        pool.name(page, key)
    pool.release(old)
    pool.release(new)
    gone = []
    for _ in range(3):
        pool.take(1)
        gone.append([key for key in (b"old", b"new 0", b"new 1") if pool.find(key) is None])
    assert gone == [[b"old"], [b"old", b"new 1"], [b"old", b"new 0", b"new 1"]]


def test_contents_that_are_there_already_get_no_second_page() -> None:
    pool = PagePool(2, 16)
    first, second = pool.take(2)
    pool.name(first, b"key")
    pool.name(second, b"key")
    pool.release([first, second])
    assert pool.find(b"key") == first
    assert pool.take(1) == [second]  # it was free, not kept


def test_a_beginning_is_found_until_its_page_is_released() -> None:
    pool = PagePool(1, 16)
    pages = pool.take(1)
    pool.name_beginning(pages[0], b"key")
    assert pool.find_beginning(b"key") == pages[0]
    pool.release(pages)
    assert pool.find_beginning(b"key") is None


def test_a_key_depends_on_the_tokens_on_all_before_them_and_on_the_scope() -> None:
    keys = {
        next_key(next_key(first_key(scope), before), tokens)
        for scope in (b"", b"adapter")
        for before in ([1, 2], [1, 3])
        for tokens in ([4, 5], [4, 6])
    }
    assert len(keys) == 8


def test_a_page_that_lost_its_names_is_not_found_and_not_kept() -> None:
    pool = PagePool(2, 16)
    pages = pool.take(1)
    pool.name(pages[0], b"key")
    pool.name_beginning(pages[0], b"beginning")
    pool.unname(pages)
    assert pool.find(b"key") is None
    assert pool.find_beginning(b"beginning") is None
    pool.release(pages)
    assert not pool.is_kept(pages[0])
    assert pool.available == 2
