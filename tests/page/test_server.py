"""The page of a real server: explanations, the requests that it shows, models that are loaded and unloaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request

import pytest

from benchmarks.serving import running_server
from tests.kits.repositories import add_identity
from tests.page.conftest import opening


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    add_identity(repository)
    add_identity(repository, "versions")
    shutil.copytree(repository / "versions" / "1", repository / "versions" / "2")
    with (repository / "versions" / "config.pbtxt").open("a") as config:
        config.write("version_policy { all { } }")
    with running_server(repository, "--model-control-mode=explicit", "--load-model=*") as running:
        yield running


def test_the_page_is_at_the_root(server):
    with urllib.request.urlopen(f"http://{server.http}/") as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert b"<title>Slipway</title>" in answer.read()


def test_an_explained_request_and_the_same_over_grpc(browser, server):
    with opening(browser, f"http://{server.http}") as open_page:
        page = open_page()
        page.get_by_label("INPUT0", exact=True).fill("1 2.5\n3 4")
        page.get_by_label("Explain").check()
        page.get_by_role("button", name="Send").click()
        facts = page.locator(".explained .facts")
        facts.wait_for()
        assert "1 request, 2 rows" in facts.inner_text()
        assert "identity" in facts.inner_text()
        assert "infer" in page.locator(".explained .legend").inner_text()
        page.get_by_text("This request in programs").click()
        for title, values in (("gRPC", "[[1.  2.5]\n [3.  4. ]]"), ("Python", "[[1.  2.5]\n [3.  4. ]]")):
            page.get_by_role("tab", name=title).click()
            program = page.locator(".snippet pre").inner_text()
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            assert done.stdout.strip() == values


def test_unloading_and_loading_a_real_model(browser, server):
    with opening(browser, f"http://{server.http}") as open_page:
        page = open_page()
        page.get_by_role("button", name="Unload").click()
        page.get_by_text("The model is unavailable").wait_for()
        page.get_by_role("button", name="Load", exact=True).click()
        page.get_by_role("button", name="Send").wait_for()
        assert page.locator(".control-problem").inner_text() == ""


def test_a_version_is_chosen(browser, server):
    with opening(browser, f"http://{server.http}") as open_page:
        page = open_page("#model=versions")
        for version in ("1", "2"):
            page.get_by_role("combobox", name="Version").select_option(version)
            page.wait_for_url(f"**version={version}")
            page.get_by_role("button", name="Send").wait_for()
            page.get_by_label("Explain").check()
            page.keyboard.press("Control+Enter")
            page.get_by_role("heading", name=f"versions, version {version}").wait_for()
