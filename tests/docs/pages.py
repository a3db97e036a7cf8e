"""The texts that people read, and the parts of their Markdown: code blocks, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]+`")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced block: its language, its text, and where it begins, as PAGE:LINE."""

    language: str
    text: str
    place: str


def name_of(path: Path) -> str:
    """Return the path of a page inside the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[CodeBlock]:
    """Yield the code blocks of a page."""
    text = path.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield CodeBlock(match[1], match[2], f"{name_of(path)}:{text.count(chr(10), 0, match.start()) + 1}")


def prose(path: Path) -> str:
    """Return a page without its code blocks."""
    return _BLOCK.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def links(path: Path) -> list[str]:
    """Return the targets of a page's links to other files and to anchors."""
    text = _CODE.sub("", prose(path))
    return [each for each in _LINK.findall(text) if "://" not in each and not each.startswith("mailto:")]
