"""docs/triton.md: what Slipway does about each flag of tritonserver, field of config.pbtxt and environment variable.

`python -m slipway.cli.triton_page FILE` (`make docs`) writes the page from the tables that the server reads, so the
page says what the server does. Decides nothing itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.backends.registry import BUILT_IN
from slipway.cli.markdown import code, flag_row, table
from slipway.config.environment import ENVIRONMENT
from slipway.config.fields import FieldRow, all_fields
from slipway.config.flags import flags_of
from slipway.config.options import ServerOptions
from slipway.config.support import Support
from slipway.config.triton_flags import TRITON_FLAGS
from slipway.config.unserved import WITHOUT_EFFECT

_HEAD: Final = """# Triton's settings

What Slipway does about each flag of tritonserver, each field of config.pbtxt and each environment variable that Triton
reads. `make docs` writes this page from the tables that the server itself uses.

- **works**: it does what it does in Triton.
- **accepted, without effect**: it has no meaning here, for the reason given. The server says so in its log if the
  setting is used.
- **refused**: the server does not load the model, and says why.

[flags.md](flags.md) lists the flags that only Slipway has, and
[tests/reference/differences.py](../tests/reference/differences.py) lists the intended differences in responses.
"""


def page() -> str:
    """Return the text of the page."""
    sections = (
        ("## Flags of tritonserver", _flags()),
        ("### Flags that are accepted without effect", table(("Flag", "Why"), _ignored_flags())),
        ("## Fields of config.pbtxt", table(("Field", "Slipway"), _field_rows())),
        ("### Parameters that are accepted without effect", table(("Backend", "Keys"), _ignored_keys())),
        ("## Environment variables", table(("Variable", "Slipway"), _variables())),
    )
    return "\n".join([_HEAD, *(f"{head}\n\n{text}\n" for head, text in sections)])


def _flags() -> str:
    flags = [flag for flag in flags_of(ServerOptions) if flag.name in TRITON_FLAGS]
    return table(("Flag", "Value", "Default", "What it does"), (flag_row(flag, ServerOptions()) for flag in flags))


def _ignored_flags() -> Iterator[tuple[str, str]]:
    return ((code(f"--{name}"), why) for name, (_, why) in sorted(WITHOUT_EFFECT.items()))


def _field_rows() -> Iterator[tuple[str, str]]:
    return ((code(name), describe(row)) for name, row in all_fields())


def describe(row: FieldRow) -> str:
    """Return what the server does about a field, in one cell of the page."""
    status = f"**{row.support.value}**"
    if row.support is Support.WORKS and row.backends:
        return f"{status} with {code(*row.backends)}; with other backends it has no effect: {row.note}"
    return f"{status}: {row.note}" if row.note else status


def _ignored_keys() -> Iterator[tuple[str, str]]:
    return ((code(name), code(*row.ignored_keys)) for name, row in BUILT_IN.items() if row.ignored_keys)


def _variables() -> Iterator[tuple[str, str]]:
    return ((code(name), f"**{row.support.value}**: {row.note}") for name, row in ENVIRONMENT.items())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
