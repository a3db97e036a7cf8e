"""The files of the page: what they may do, how they are sent, and that no request leads to another file."""

from __future__ import annotations

import gzip
import re
from urllib.parse import urljoin

import pytest

from slipway.rest.page import files as module
from slipway.rest.page.files import page_file
from tests.rest.page.conftest import FILES

PATHS = sorted(path.decode() for path in FILES)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
# What would run or load what is not a file of the page, or read text as HTML.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc|\beval\b|"
    r"new Function|setTimeout\(['\"]|javascript:|setAttribute\(\"on|\sstyle=|<style|@import|url\(|"
    r"sourceMappingURL|importScripts|WebSocket"
)
NAMESPACE = "http://www.w3.org/2000/svg"


def policy(answer):
    directives = (each.split() for each in answer.headers["Content-Security-Policy"].split(";"))
    return {name: sources for name, *sources in directives}


@pytest.mark.parametrize("path", PATHS)
def test_a_file_is_sent_with_everything_that_protects_it(served, path):
    answer = served.ask("GET", path)
    assert (answer.status, answer.body) == (200, FILES[path.encode()].plain.body)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert policy(answer) == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    assert not [name for name in answer.headers if name.lower().startswith(("access-control", "set-cookie"))]


@pytest.mark.parametrize("path", PATHS)
def test_a_file_asks_for_no_other_host_and_runs_no_text(path):
    text = FILES[path.encode()].plain.body.decode()
    assert FORBIDDEN.findall(text) == []
    assert set(re.findall(r"https?://[^\s\"'`$)]+", text)) <= {NAMESPACE}
    if path == "/":
        assert re.findall(r"<script(?![^>]* src=)", text) == []
        assert re.findall(r"\son\w+=", text) == []


def test_every_file_that_the_page_names_is_there():
    named = set()
    for path in PATHS:
        text = FILES[path.encode()].plain.body.decode()
        named |= {urljoin(path, each) for each in re.findall(r'(?:from|src=|href=) ?"([./][^"]*)"', text)}
    assert named == set(PATHS) - {"/"}


def test_head_sends_the_head_alone(served):
    for path in ("/", "/ui/app.js"):
        with served.connect() as connection:
            connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            head = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Length: %d\r\n" % len(FILES[path.encode()].plain.body) in head
        assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("accepted", ["gzip", "br, GZIP;q=0.5", "deflate, gzip ; q=1"])
def test_a_browser_that_takes_gzip_gets_it(served, accepted):
    answer = served.ask("GET", "/ui/app.js", Accept_Encoding=accepted)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.body) == FILES[b"/ui/app.js"].plain.body
    assert len(answer.body) < len(FILES[b"/ui/app.js"].plain.body) / 2


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip; q=0.000", "identity", "x-gzipped"])
def test_others_get_the_file_as_it_is(served, accepted):
    assert "Content-Encoding" not in served.ask("GET", "/", Accept_Encoding=accepted).headers


def test_a_file_that_the_browser_has_is_not_sent_again(served):
    for coding in ("identity", "gzip"):
        tag = served.ask("GET", "/", Accept_Encoding=coding).headers["ETag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = served.ask("GET", "/", Accept_Encoding=coding, If_None_Match=known)
            assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
        for known in ('"other"', tag.strip('"'), ""):
            assert served.ask("GET", "/", Accept_Encoding=coding, If_None_Match=known).status == 200


def test_the_forms_of_a_file_have_tags_of_their_own_and_a_change_changes_them():
    one, same, other = (page_file(b"text/css", body) for body in (b"a {}", b"a {}", b"b {}"))
    assert one == same
    assert len({one.plain.tag, one.compressed.tag, other.plain.tag, other.compressed.tag}) == 4


def test_a_connection_goes_on_after_a_304(served):
    tag = FILES[b"/"].plain.tag.decode()
    first = f"GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n"
    second = "GET /ui/icon.svg HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = served.send((first + second).encode())
    assert answers.startswith(b"HTTP/1.1 304 ")
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(FILES[b"/"].plain.body) in head
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(FILES[b"/ui/icon.svg"].plain.body)


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/ui",
        "/ui/",
        "/ui/index.html",
        "/ui/../ui/app.js",
        "/ui/./app.js",
        "/ui//app.js",
        "/ui/app.js/",
        "/ui/App.js",
        "/ui/%61pp.js",
        "/ui/app.js%00",
        "/ui/../../../../etc/passwd",
        "/ui/..%2f..%2fpage.py",
        "/ui/files.py",
        "/ui/__init__.py",
        "//ui/app.js",
        "/ui/models/",
        "/ui/models/echo",
        "/ui/models//report",
        "/ui/models/report",
        "/ui/models/a/b/report",
        "/ui/models/echo/report/",
        "/ui/settings/",
    ],
)
def test_no_other_path_leads_to_a_file(served, path):
    answer = served.ask("GET", path)
    assert (answer.status, answer.body) == (404, b'{"error":"Not Found"}')


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/ui/app.js", "/ui/models", "/ui/models/echo/report"])
def test_nothing_is_changed_here(served, method, path):
    answer = served.ask(method, path)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_query_does_not_matter(served):
    assert served.ask("GET", "/?x=<script>").body == FILES[b"/"].plain.body


def test_a_name_that_is_not_the_servers_is_refused(served):
    for path in ("/", "/ui/app.js", "/ui/models", "/ui/metrics", "/ui/settings"):
        assert served.ask("GET", path, Host="evil.example").status == 403
        assert served.ask("GET", path, Host="localhost:1").status == 200


def test_every_kind_of_file_in_the_folder_is_served():
    kinds = {file.suffix for file in module._STATIC.rglob("*") if file.is_file()}
    assert kinds == set(module._MEDIA)
