"""The site builds without a warning, has every page, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT

LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=["']?(https?:)?//[^>]*>""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return target


def test_every_page_is_on_the_site(site):
    pages = {f"{page.stem}.html" for page in PAGES if page.parent == DOCS}
    assert pages <= {path.name for path in site.iterdir()}


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": (\w+\.md)$", nav, re.MULTILINE)
    assert sorted(named) == sorted(page.name for page in PAGES if page.parent == DOCS)


def test_nothing_is_loaded_from_elsewhere(site):
    texts = {path: path.read_text(encoding="utf-8") for path in site.glob("*.html")}
    assert len(texts) > 30
    assert {path.name: found[0] for path, text in texts.items() if (found := LOADED.search(text))} == {}
    # for these, the theme's script would ask GitHub for figures of the repository, and a CDN for a library
    asking = re.compile(r'data-md-component="source"|class="mermaid')
    assert [path.name for path, text in texts.items() if asking.search(text)] == []
    styles = [path.read_text(encoding="utf-8") for path in site.glob("assets/**/*.css")]
    assert styles
    assert not any(re.search(r"url\(['\"]?(https?:)?//|@import", text) for text in styles)


def test_a_link_out_of_the_pages_leads_to_the_source(site):
    text = (site / "triton.html").read_text(encoding="utf-8")
    assert "https://github.com/slipway-serving/slipway/blob/main/tests/reference/differences.py" in text
    assert 'href="../' not in text


def test_lists_and_tables_are_read_as_such(site):
    wrong = re.compile(r"<p>[^<]*(?:<(?!/p>)[^<]*)*?^(?:- |\d+\. |\| )", re.MULTILINE)
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}
    assert {name: found[0][-60:] for name, text in pages.items() if (found := wrong.search(text))} == {}


def test_a_bar_in_a_table_is_shown_as_one(site):
    text = (site / "flags.html").read_text(encoding="utf-8")
    assert "<code>none|poll|explicit</code>" in (site / "triton.html").read_text(encoding="utf-8")
    assert "<code>auto|asyncio|grpcio|native</code>" in text
