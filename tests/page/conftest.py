"""A browser for the tests of the page: Debian's Chromium, driven by Playwright. Without one they are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.page.models import served_page
from tests.rest.conftest import Served

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(slots=True)
class Watched:
    """What a page did that it must not do: errors on the console, requests to other hosts."""

    origin: str
    problems: list[str] = field(default_factory=list)

    def follow(self, page: Any) -> None:
        page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith(self.origin) or self.problems.append(request.url))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A running Chromium. Only for a module: until Playwright is stopped, its event loop counts as running in this
    thread, in which other tests run theirs."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page, with all models in memory."""
    with served_page(tmp_path_factory.mktemp("models")) as running:
        yield running


Open = Callable[..., Any]


@contextmanager
def opening(browser: Any, origin: str) -> Iterator[Open]:
    """Yield what opens pages of `origin` in a context of their own; then no error and no other host may be seen."""
    watched = Watched(origin)
    contexts = []

    def open_page(fragment: str = "", *, selector: str = "h1", **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **settings})
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        watched.follow(page)
        page.goto(f"{origin}/{fragment}")
        page.wait_for_selector(selector)
        return page

    open_page.watched = watched
    try:
        yield open_page
    finally:
        for context in contexts:
            context.close()
    assert watched.problems == []


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[Open]:
    with opening(browser, f"http://{served.url}") as opened:
        yield opened


def picture(path: Path, width: int = 400, height: int = 300) -> Path:
    """Write a PNG whose pixels are (10, 20, 30); return its path."""
    from PIL import Image

    Image.new("RGB", (width, height), (10, 20, 30)).save(path)
    return path
