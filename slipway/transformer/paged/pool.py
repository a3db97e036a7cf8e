"""The pages of a pool: who holds which, which contents are kept for later prompts, and which page goes next.

Pages are numbers; what is in them, the network knows. A page is held by sequences (several, if their beginnings are
equal), kept for the prefix cache when nobody holds it, or free. Contents have keys (`page_keys.py`): a page that is
full may be found by its key and shared, and the beginning of a page that is not full may be found and copied. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from slipway.errors import internal


class PagePool:
    """`count` pages of `page_size` tokens, all free at first."""

    def __init__(self, count: int, page_size: int) -> None:
        self.count = count
        self.page_size = page_size
        self._free = list(range(count - 1, -1, -1))  # the lowest is taken first, so that little memory is touched
        self._holders = [0] * count
        self._kept: OrderedDict[int, None] = OrderedDict()  # pages without holders, least recently used first
        self._pages: dict[bytes, int] = {}  # full pages by key
        self._keys: dict[int, bytes] = {}
        self._beginnings: dict[bytes, int] = {}  # pages by the key of a beginning
        self._beginning_keys: dict[int, list[bytes]] = {}

    @property
    def available(self) -> int:
        """How many pages can be taken."""
        return len(self._free) + len(self._kept)

    @property
    def held(self) -> int:
        """How many pages sequences hold."""
        return self.count - self.available

    def pages_for(self, tokens: int) -> int:
        """Return how many pages `tokens` tokens need."""
        return -(-tokens // self.page_size)

    def take(self, count: int) -> list[int]:
        """Return pages for one holder; kept contents go, the least recently used first. Check `available` before."""
        if count > self.available:
            raise internal(f"{count} pages were taken from a pool that has {self.available}")
        taken = []
        for _ in range(count):
            page = self._free.pop() if self._free else self._evict()
            self._holders[page] = 1
            taken.append(page)
        return taken

    def hold(self, page: int) -> None:
        """Add a holder to a page that was found."""
        self._kept.pop(page, None)
        self._holders[page] += 1

    def release(self, pages: Sequence[int]) -> None:
        """Take a holder from each page of a sequence. The last pages are the first that later prompts lose: a beginning
        is of use without its continuation, but not the other way round."""
        for page in reversed(pages):
            if self._holders[page] < 1:
                raise internal(f"page {page} was released more often than it was held")
            self._holders[page] -= 1
            if self._holders[page]:
                continue
            if page in self._keys:
                self._kept[page] = None
            else:
                self._forget(page)
                self._free.append(page)

    def is_kept(self, page: int) -> bool:
        """Return whether only the prefix cache has the page."""
        return page in self._kept

    def find(self, key: bytes) -> int | None:
        """Return the full page with this key; the caller must `hold` it before it takes others."""
        return self._pages.get(key)

    def name(self, page: int, key: bytes) -> None:
        """Let a full page be found, unless another page has the same contents."""
        if key not in self._pages and page not in self._keys:
            self._pages[key] = page
            self._keys[page] = key

    def find_beginning(self, key: bytes) -> int | None:
        """Return a page that begins with the contents of this key, to be copied from before the next step."""
        return self._beginnings.get(key)

    def name_beginning(self, page: int, key: bytes) -> None:
        """Let the beginning of a page be found as long as the page is not released."""
        if key not in self._beginnings:
            self._beginnings[key] = page
            self._beginning_keys.setdefault(page, []).append(key)

    def unname(self, pages: Sequence[int]) -> None:
        """Let nobody find these pages any more: their contents are not to be trusted."""
        for page in pages:
            self._forget(page)

    def _evict(self) -> int:
        page, _ = self._kept.popitem(last=False)
        self._forget(page)
        return page

    def _forget(self, page: int) -> None:
        """Drop the names of a page, whose contents are about to change."""
        key = self._keys.pop(page, None)
        if key is not None:
            del self._pages[key]
        for beginning in self._beginning_keys.pop(page, ()):
            del self._beginnings[beginning]
