"""Take the pictures of docs/playground.md: `python -m tests.page.screenshots REPOSITORY docs/images`.

REPOSITORY has a sentence encoder `minilm` that `slipway convert` wrote.
"""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.serving import running_server
from tests.page.conftest import BROWSERS

MODEL = "minilm"
DESKTOP = {"viewport": {"width": 1280, "height": 880}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
SENTENCES = (
    "A cat is sleeping on the sofa.",
    "The kitten naps on the couch.",
    "Shares fell after the report.",
    "My parcel has not arrived although it was sent last week.",
)


def main(repository: Path, directory: Path) -> None:
    """Take every picture."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)))
    with running_server(repository) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        origin = f"http://{server.http}"
        page = browser.new_page(**DESKTOP, color_scheme="light")
        ask(page, origin, explains=True)
        save(page, directory / "playground-light.png")
        page = browser.new_page(**DESKTOP, color_scheme="dark")
        watch(page, origin)
        save(page, directory / "playground-dark.png")
        page = browser.new_page(**PHONE, color_scheme="light")
        ask(page, origin, explains=False)
        save(page, directory / "playground-phone.png", colours=128)
        browser.close()


def ask(page: Any, origin: str, *, explains: bool) -> None:
    """Send the sentences, and show their similarity."""
    page.goto(f"{origin}/#model={MODEL}")
    box = page.get_by_label("text", exact=True)
    box.wait_for()
    page.get_by_label("Explain").set_checked(explains)
    for _ in range(3):  # the first request of a shape is the slowest
        page.get_by_role("button", name="Send").click()
        page.wait_for_selector(".matrix")
        page.wait_for_timeout(500)
    if page.viewport_size["width"] < 600:
        page.locator(".matrix").scroll_into_view_if_needed()


def watch(page: Any, origin: str) -> None:
    """Show the charts after a minute of requests, more and fewer."""
    page.goto(f"{origin}/#model={MODEL}&tab=live")
    page.wait_for_selector(".chart")
    with ThreadPoolExecutor(8) as pool:
        for size in (1, 2, 4, 6, 8, 6, 3, 1, 2, 5, 8, 7, 4, 2, 1, 3, 5, 6):
            for _ in range(10):
                list(pool.map(lambda at: infer(origin, SENTENCES[at % 4]), range(size)))
                page.wait_for_timeout(250)


def infer(origin: str, text: str) -> None:
    """Send one text."""
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    body = json.dumps({"inputs": [tensor]}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{origin}/v2/models/{MODEL}/infer", body)) as answer:
        answer.read()


def save(page: Any, file: Path, colours: int = 256) -> None:
    """Write a picture with few colours, which makes it small."""
    from PIL import Image

    page.screenshot(path=file)
    with Image.open(file) as taken:
        taken.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
