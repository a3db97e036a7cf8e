"""Pages as the servers in use write them, shortened."""

import pytest

from slipway.repository.remote.pages import listed_names

URL = "http://host:8080/models/"
APACHE = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html><head><title>Index of /models</title></head><body><h1>Index of /models</h1><table>
<tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td></tr>
<tr><td><a href="a%20b/">a b/</a></td><td align="right">2026-11-30 07:00</td></tr>
<tr><td><a href="notes.txt">notes.txt</a></td></tr></table></body></html>"""
NGINX = """<html><head><title>Index of /models/</title></head><body><h1>Index of /models/</h1><hr><pre>
<a href="../">../</a>
<a href="a%20b/">a b/</a>          30-Nov-2026 07:00      -
<a href="notes.txt">notes.txt</a>  30-Nov-2026 07:00     12
</pre><hr></body></html>"""
PYTHON = """<!DOCTYPE HTML><html lang="en"><body><h1>Directory listing for /models/</h1><hr><ul>
<li><a href="a%20b/">a b/</a></li>
<li><a href="notes.txt">notes.txt</a></li></ul><hr></body></html>"""
CADDY = """<html><body><main><table><tr class="file"><td><a href="./a%20b/"><span>a b</span></a></td></tr>
<tr><td><a href="./notes.txt">notes.txt</a></td></tr></table>
<footer><a rel="noopener" href="https://caddyserver.com">Caddy</a></footer></main></body></html>"""
ABSOLUTE = '<a href="/models/a%20b/">a</a><A HREF="http://host:8080/models/notes.txt">n</A><a>none</a><a href="">e</a>'


@pytest.mark.parametrize("page", [APACHE, NGINX, PYTHON, CADDY, ABSOLUTE])
def test_the_entries_of_a_directory_are_found(page):
    assert listed_names(page, URL) == {"a b/": f"{URL}a%20b/", "notes.txt": f"{URL}notes.txt"}


@pytest.mark.parametrize(
    "target",
    [
        "..",
        "/",
        "/other/x",
        "deep/er/x",
        "https://host:8080/models/x",
        "http://elsewhere/models/x",
        "//elsewhere/models/x",
        "x?download=1",
        "#top",
        "mailto:me@host",
        "http://[broken/x",
        "javascript:alert(1)",
    ],
)
def test_other_links_are_not_entries(target):
    assert listed_names(f'<a href="{target}">x</a>', URL) == {}


def test_names_that_decode_to_something_dangerous_stay_whole_for_the_check():
    assert list(listed_names('<a href="..%2Fx">x</a><a href="%2e%2e/">y</a><a href="%ff">z</a>', URL)) == [
        "../x",
        "../",
        "\udcff",
    ]
