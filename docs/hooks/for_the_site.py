"""Changes the text of a page where the site needs other Markdown than the repository, in which the pages are read too.

Links to files outside `docs/`, such as `../SECURITY.md`, become links to the source; one to a file that does not exist
is a warning, with which a strict build fails. In the cells of tables, code may contain a bar as it is, where GitHub
needs a backslash before it. mkdocs calls `on_page_markdown` for every page.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("mkdocs.hooks.for_the_site")
_LINK = re.compile(r"\]\(\.\./([^)#\s]+)")
_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
_CODE = re.compile(r"`[^`]*`")


def on_page_markdown(markdown: str, /, *, page: Any, config: Any, **_: object) -> str:
    """Return the text of a page for the site; `extra.source` is the address of the repository."""
    root, source = Path(config.docs_dir).parent, config.extra["source"]

    def outside(match: re.Match[str]) -> str:
        path = root / match[1]
        if not path.exists():
            _LOG.warning("'%s' links to '../%s', which does not exist", page.file.src_uri, match[1])
        return f"]({source}/{'tree' if path.is_dir() else 'blob'}/main/{match[1]}"

    return _ROW.sub(_with_bars, _LINK.sub(outside, markdown))


def _with_bars(row: re.Match[str]) -> str:
    return _CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0])
