"""How the report shows models that generate text: the columns of candidates, and the parameters of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway.convert.token_columns import token_columns
from slipway.runtime.arguments import SETTINGS, STOP_NAMES
from slipway.runtime.settings import FIELDS, STOP_STRINGS

COLUMNS: Final = token_columns("transformers", "beams, draws, own", texts=True)


def parameter_rows(defaults: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the parameters of a request with their defaults, and the settings that hold for every request."""
    rows = [(", ".join(each.names), each.datatype, defaults.get(each.name, "")) for each in SETTINGS]
    rows.append((", ".join(STOP_NAMES), "BYTES", defaults.get(STOP_STRINGS, "")))
    return rows + [(name, "for every request", defaults[name]) for name in FIELDS if name in defaults]
