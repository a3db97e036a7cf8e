"""The pages on which web servers list a directory: the names in their links. Pure.

Apache, nginx, Python's http.server and others write one link per entry, relative to the page or to the host. Everything
else on such a page (the parent directory, links that sort, other hosts, anchors) does not lead one level down.
"""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the target of a link."""
        if tag == "a":
            self.targets.extend(value for name, value in attrs if name == "href" and value)


def listed_names(page: str, url: str) -> dict[str, str]:
    """Return the entries of the directory at `url`, which ends with a slash: their URLs by their names, decoded and
    with a slash after those of directories."""
    links = _Links()
    links.feed(page)
    links.close()
    base = urlsplit(url)
    names: dict[str, str] = {}
    for target in links.targets:
        try:
            parts = urlsplit(urljoin(url, target.strip()))
        except ValueError:  # not a URL
            continue
        inside = parts.path.removeprefix(base.path)
        if (parts.scheme, parts.netloc) != (base.scheme, base.netloc) or parts.query or inside == parts.path:
            continue
        encoded = inside.removesuffix("/")
        if encoded and "/" not in encoded and encoded not in {".", ".."}:
            names[unquote(encoded, errors="surrogateescape") + inside[len(encoded) :]] = f"{url}{inside}"
    return names
