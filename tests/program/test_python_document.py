"""Every code block of docs/python.md runs, one after the other, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "python.md"
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_code_blocks_run():
    text = PAGE.read_text(encoding="utf-8")
    blocks = [match for match in BLOCK.finditer(text) if not match[1]]
    assert len(blocks) >= 7
    names = {"__name__": "docs_python"}
    for match in blocks:
        first = text[: match.start(2)].count("\n")
        exec(compile("\n" * first + match[2], PAGE, "exec"), names)  # noqa: S102  the page's own code
    assert not names["server"].is_running
