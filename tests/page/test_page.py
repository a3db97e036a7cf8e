"""How the page behaves: keys, keyboard, colours, widths, charts, models that come and go, what it loads."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from slipway.api_keys import ApiKeys, key_digest
from slipway.config.options import parse_options
from slipway.config.restrictions import by_group
from tests.page.conftest import opening, picture
from tests.page.models import served_page

KEY = "sk-0pen.sesame"
FIRST_PAINT = 100_000  # bytes, of everything that is loaded
TABS = ("Request", "Live", "Conversion", "Details")


def heading(page, name):
    page.get_by_role("heading", level=1, name=name, exact=True).wait_for()


def test_the_first_paint_is_small_and_the_second_one_is_not_sent_again(browser, served):
    with opening(browser, f"http://{served.url}") as open_page:
        page = open_page("#model=embedder")
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        loaded = []
        session.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        page.reload()
        heading(page, "embedder")
        first = sum(loaded)
        session.send("Network.setCacheDisabled", {"cacheDisabled": False})
        loaded.clear()
        page.reload()
        heading(page, "embedder")
    assert 20_000 < first < FIRST_PAINT
    assert sum(loaded) < first / 2


def test_colours_follow_the_system_until_somebody_switches(open_page):
    page = open_page(color_scheme="dark")

    def theme():
        return page.evaluate("document.documentElement.dataset.theme")

    def paper():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert theme() == "dark"
    dark = paper()
    page.get_by_role("button", name="Switch to light colours").click()
    assert theme() == "light"
    assert paper() != dark
    page.reload()
    page.wait_for_selector("h1")
    assert theme() == "light"
    page.get_by_role("button", name="Switch to dark colours").click()
    assert (theme(), paper()) == ("dark", dark)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, scheme):
    run = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    axe = run.Axe()
    page = open_page("#model=embedder", color_scheme=scheme)

    def check(what):
        found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = [each for each in found if each["impact"] in ("serious", "critical")]
        serious = [(each["id"], each["nodes"][0]["html"]) for each in grave]
        assert (what, serious) == (what, [])

    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".matrix")
    page.get_by_text("This request in programs").click()
    check("an answer")
    for tab in TABS[1:]:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(".panel .card")
        check(tab)
    for model, answer in (("moods", ".bar-row"), ("talker", ".chat"), ("broken", ".error-text"), ("failing", ".error")):
        page.goto(f"{page.url.partition('#')[0]}#model={model}")
        heading(page, model)
        if model in ("moods", "failing"):
            page.get_by_role("button", name="Send").click()
        page.wait_for_selector(answer)
        check(model)
    page.get_by_role("button", name="Key").click()
    check("the dialog")
    open_page.watched.problems[:] = [each for each in open_page.watched.problems if "status of 400" not in each]


def test_the_keyboard_reaches_everything(open_page):
    page = open_page("#model=embedder")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the model"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "model"
    page.get_by_role("tab", name="Request").focus()
    page.keyboard.press("ArrowLeft")
    details = page.get_by_role("tab", name="Details")
    assert details.get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.textContent") == "Details"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "tabpanel"
    page.get_by_role("button", name="counter").focus()
    page.keyboard.press("Enter")
    heading(page, "counter")
    assert page.get_by_role("button", name="counter").get_attribute("aria-current") == "true"


def test_a_phone_shows_everything_without_scrolling_sideways(open_page):
    page = open_page("#model=embedder", viewport={"width": 360, "height": 740})
    assert not page.get_by_role("navigation", name="Models").is_visible()
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".matrix")
    for tab in ("", *TABS[1:]):
        if tab:
            page.get_by_role("tab", name=tab).click()
            page.wait_for_selector(".panel .card")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab
    menu = page.get_by_role("button", name="Models")
    menu.click()
    assert menu.get_attribute("aria-expanded") == "true"
    page.get_by_role("button", name="moods").click()
    heading(page, "moods")
    assert not page.get_by_role("navigation", name="Models").is_visible()


def test_charts_move_with_the_requests(open_page, served):
    page = open_page("#model=numbers&tab=live")
    chart = page.locator("figure", has_text="Requests per second").locator("svg")
    page.get_by_role("img", name=re.compile("^Requests per second: answered 0")).wait_for()
    body = {"inputs": [{"name": "IN0", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}]}
    for _ in range(20):
        assert served.ask("POST", "/v2/models/numbers/infer", json.dumps(body).encode()).status == 200
    page.get_by_role("img", name=re.compile("^Requests per second: answered [1-9]")).wait_for()
    assert "failed 0" in chart.get_attribute("aria-label")
    assert chart.locator("path.line-0").get_attribute("d").count("L") >= 1
    batch = page.get_by_role("img", name="Rows per batch: rows 2")
    assert batch.locator(".spot, path").count() > 0


def test_models_are_loaded_and_unloaded(open_page):
    page = open_page("#model=flags")
    page.get_by_role("button", name="Unload").click()
    page.get_by_text("The model is unavailable.").wait_for()
    assert "unloaded" in page.locator("main").inner_text()
    assert page.locator(".control-problem").inner_text() == ""
    page.get_by_role("button", name="Load", exact=True).click()
    page.get_by_role("button", name="Send").wait_for()
    assert page.locator(".control-problem").inner_text() == ""


def test_a_failed_load_says_why(open_page):
    page = open_page("#model=broken")
    page.get_by_role("button", name="Load", exact=True).click()
    assert "failed to load 'broken'" in page.locator(".control-problem .error").inner_text()
    open_page.watched.problems[:] = [each for each in open_page.watched.problems if "status of 400" not in each]


def test_the_report_of_a_conversion(open_page):
    page = open_page("#model=embedder&tab=conversion")
    page.get_by_text("openvino bf16 was chosen").wait_for()
    assert page.locator("tr.chosen").inner_text().split("\t") == [
        "openvino bf16", "chosen", "0.9999", "210 rows/s, 11 ms alone", "45.0",
    ]  # fmt: skip
    assert "secret" not in page.content()
    page.get_by_role("button", name="ranker").click()
    page.get_by_text("This model has no report").wait_for()
    page.get_by_role("button", name="moods").click()
    page.get_by_text("The report of moods is not shown").wait_for()


def test_the_page_asks_for_a_key_and_keeps_it_in_the_tab(browser, tmp_path):
    with (
        served_page(tmp_path, ApiKeys([key_digest(KEY)])) as running,
        opening(browser, f"http://{running.url}") as open_page,
    ):
        page = open_page(selector="dialog")
        for typed in ("wrong", KEY):
            page.get_by_role("textbox", name="API key").fill(typed)
            page.keyboard.press("Enter")
            if typed != KEY:
                page.get_by_text("the API key is not valid").wait_for()
        page.wait_for_selector("h1")
        assert KEY in page.evaluate("JSON.stringify({...sessionStorage})")
        assert KEY not in page.evaluate("JSON.stringify({...localStorage}) + document.cookie + location.href")
        page.reload()
        page.wait_for_selector("h1")
        page.goto(f"{page.url.partition('#')[0]}#model=embedder")
        heading(page, "embedder")
        page.get_by_role("button", name="Send").click()
        page.get_by_text("This request in programs").click()
        assert "Bearer $SLIPWAY_API_KEY" in page.locator(".snippet pre").inner_text()
        assert KEY not in page.content()
        page.get_by_role("button", name="Key").click()
        page.get_by_role("button", name="Forget").click()
        page.wait_for_selector("dialog", state="detached")
        assert page.evaluate("JSON.stringify({...sessionStorage})").count("Bearer") == 0
        unauthorised = [each for each in open_page.watched.problems if "status of 401" in each]
        assert 2 <= len(unauthorised) <= 4
        open_page.watched.problems.clear()


def test_the_page_asks_for_the_header_of_a_restricted_api(browser, tmp_path):
    flags = parse_options(["models", "--http-restricted-api=inference:X-Admin=open"], {})
    with (
        served_page(tmp_path, restrictions=by_group(flags.http_restricted_api)) as running,
        opening(browser, f"http://{running.url}") as open_page,
    ):
        page = open_page("#model=moods")
        page.get_by_role("button", name="Send").click()
        page.get_by_role("textbox", name="Header X-Admin").fill("open")
        page.keyboard.press("Enter")
        page.wait_for_selector(".bar-row")
        open_page.watched.problems[:] = [each for each in open_page.watched.problems if "status of 403" not in each]


def test_the_shown_requests_work(open_page, served, tmp_path):
    page = open_page("#model=moods")
    page.get_by_label("text", exact=True).fill('it\'s "quoted" $HOME `x` \\ é 東京')
    page.get_by_role("button", name="Send").click()
    page.get_by_text("This request in programs").click()
    curl = page.locator(".snippet pre").inner_text()
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["outputs"][0]["data"] == ["positive"]
    sent = served.plane.requests[-2:]
    assert sent[0].inputs["text"].array.tolist() == sent[1].inputs["text"].array.tolist()
    page.get_by_role("tab", name="Python").click()
    python = page.locator(".snippet pre").inner_text()
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, timeout=60, check=True)
    assert "positive" in done.stdout
    assert served.plane.requests[-1].inputs["text"].array.tolist() == sent[0].inputs["text"].array.tolist()
    page.get_by_role("tab", name="gRPC").click()
    compile(page.locator(".snippet pre").inner_text(), "snippet", "exec")


def test_the_shown_request_with_a_file_has_its_length(open_page, served, tmp_path):
    page = open_page("#model=pages")
    file = picture(tmp_path / "a.png").rename(tmp_path / "FILE")
    page.get_by_label("encoded_image", exact=True).set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": file.read_bytes()}
    )
    page.get_by_role("button", name="Send").click()
    page.get_by_text("This request in programs").click()
    curl = page.locator(".snippet pre").inner_text()
    command = ["bash", "-c", curl]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert json.loads(done.stdout)["outputs"][0]["name"] == "table"
    assert served.plane.requests[-1].inputs["encoded_image"].array.item() == file.read_bytes()
