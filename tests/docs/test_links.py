"""Every relative link of the pages leads to a file that exists and to a heading in it."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, anchors, links, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page):
    dead = []
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_links_are_found_and_dead_ones_would_be():
    assert sum(len(links(page)) for page in PAGES) > 100
    assert "the-gate" in anchors(ROOT / "docs" / "conversion.md")
    assert "no-such-heading" not in anchors(ROOT / "docs" / "conversion.md")


def test_every_page_of_docs_is_linked_from_another():
    linked = {
        (page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page) if link[0] != "#"
    }
    assert [name_of(page) for page in PAGES if page.parent == DOCS and page not in linked] == []


def test_pages_are_named_so_that_addresses_stay():
    assert [page.name for page in PAGES if page.parent == DOCS and not re.fullmatch(r"[a-z_]+\.md", page.name)] == []
