"""Tables in Markdown, for the pages that are made from tables of the code (`flags_page`, `decoding_page`,
`families_page`, `triton_page`). Knows no page."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.config.flags import Flag, field_name, shown_default


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table; a cell may contain line breaks and bars."""
    lines = [heads, ("---",) * len(heads), *(tuple(_cell(cell) for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def code(*names: str) -> str:
    """Return the names as code, with commas between them."""
    return ", ".join(f"`{name}`" for name in names)


def flag_row(flag: Flag, defaults: object) -> tuple[str, str, str, str]:
    """Return names, placeholder, default and help text of a flag; its default is the value in `defaults`."""
    default = shown_default(getattr(defaults, field_name(flag)))
    old = f" (deprecated: {code(*(f'--{name}' for name in flag.deprecated))})" if flag.deprecated else ""
    names = code(*(f"--{name}" for name in (flag.name, *flag.aliases)))
    text = f"{flag.help}; repeatable" if flag.gather else flag.help
    return f"{names}{old}", code(flag.kind.placeholder), code(default) if default else "", text
