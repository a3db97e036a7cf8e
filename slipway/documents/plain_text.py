"""The Markdown in ECLAIR's texts to plain text, and escaped LaTeX tables to LaTeX, in time linear to the text.

Formatting goes and its words stay; what cannot be read as words goes entirely: code, displayed equations, tables. The
steps are in an order in which none makes the input of an earlier one.
"""

from __future__ import annotations

import re
from typing import Final

_CONTINUED: Final = "<tbc>"  # the paragraph continues on the next page

# Each pattern begins and ends at a character that it cannot contain, so a failed match costs the way to the next one.
_WORDS_REMAIN: Final = (
    (re.compile(r"\[([^\[\]\n]{1,2000})\]\([^()\s]{1,2000}\)"), r"\1"),  # link
    (re.compile(r"^#+\s+", re.MULTILINE), ""),  # heading
    (re.compile(r"^[ \t]*\*[ \t]+", re.MULTILINE), ""),  # item of a list
    (re.compile(r"\*\*"), ""),  # bold
    (re.compile(r"\*([^*\n]*)\*"), r"\1"),  # italic
    (re.compile(r"(?<!\w)_([^_]+)_"), r"\1"),  # emphasis
    (re.compile(r"</?su[pb]>"), ""),
)
# Opening, closing, what replaces both and everything between.
_BLOCKS: Final = (
    (r"\begin{table}", r"\end{table}", ""),
    (r"\begin{tabular}", r"\end{tabular}", "<table>"),
    ("```", "```", ""),
    (r"\[", r"\]", ""),
)
_REMOVED: Final = (
    (re.compile(r"\\[()]"), ""),  # around a formula in a sentence, which stays
    (re.compile(r"\$[^$\n]*\$"), ""),
    (re.compile(r"^[ \t]*\|[^\n]*\|[ \t]*$", re.MULTILINE), ""),  # row of a Markdown table
    (re.compile(r"\\"), ""),
)
_DOUBLED: Final = re.compile(r"\\(\\|n|t|\"|')")
_MEANINGS: Final = {"\\": "\\", "n": "\n", "t": "\t", '"': '"', "'": "'"}


def plain_text(text: str) -> str:
    """Return the words of a text with Markdown and LaTeX in it."""
    text = text.replace(_CONTINUED, "").strip()
    for opening, closing, replacement in _BLOCKS:
        text = _without_block(text, opening, closing, replacement)
    for pattern, replacement in (*_WORDS_REMAIN, *_REMOVED):
        text = pattern.sub(replacement, text)
    return text.strip()


def latex_table(text: str) -> str:
    r"""Return a table's LaTeX. If its commands have two backslashes (`\\begin`), all escapes of the text are resolved;
    otherwise it is LaTeX already, in which `\\` ends a row."""
    text = text.replace(_CONTINUED, "").strip()
    if "\\\\begin" not in text:
        return text
    return _DOUBLED.sub(lambda found: _MEANINGS[found[1]], text)


def _without_block(text: str, opening: str, closing: str, replacement: str) -> str:
    """Return a text with every block replaced; an opening that nothing closes remains."""
    parts = []
    read = 0
    while (start := text.find(opening, read)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        parts += [text[read:start], replacement]
        read = end + len(closing)
    return "".join([*parts, text[read:]])
