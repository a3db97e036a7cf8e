"""The variables of the environment that begin with SLIPWAY_: one for each flag, and those that other parts read. Pure.

`SLIPWAY_HTTP_PORT` is `--http-port`. Kubernetes sets variables of the same form in every container for a Service whose
name begins with "slipway"; these are not settings.
Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

PREFIX: Final = "SLIPWAY_"
# Variables that are not flags -> who reads them, and what for.
OTHER_VARIABLES: Final = {
    "SLIPWAY_CACHE_DIR": "directory of converted models and unpacked environments (default: `slipway` in the user's "
    "XDG cache)",
    "SLIPWAY_PROXY_OPTIONS": "flags of the proxy where uvicorn's own command runs it",
}
_LINK: Final = re.compile("_SERVICE_HOST|_SERVICE_PORT(_.+)?|_PORT(_[0-9]+_[A-Z]+(_PROTO|_PORT|_ADDR)?)?")
_MISSPELT: Final = 0.7  # similarity of a name to a setting's from which it is not a variable of somebody else's
_SERVICE: Final = "_SERVICE_HOST"
_URL: Final = "://"  # as in SLIPWAY_HTTP_PORT=tcp://10.0.0.1:8000 for the Service slipway-http


@dataclass(frozen=True, slots=True)
class VariableReading:
    """What the environment sets: flags with their text, and what is wrong or to be warned of."""

    given: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def variable_of(flag: str) -> str:
    """Return the name of a flag's variable."""
    return PREFIX + flag.upper().replace("-", "_")


def read_variables(
    environment: Mapping[str, str], flags: Collection[str], repeatable: Collection[str]
) -> VariableReading:
    """Return what the variables set of `flags`; `repeatable` ones have a value in each line.

    A name that is nearly that of a setting is a problem, since its meaning would be lost; any other is only named.
    """
    by_variable = {variable_of(flag): flag for flag in flags}
    reading = VariableReading()
    for name in sorted(_own(environment, by_variable)):
        flag, text = by_variable.get(name), environment[name]
        if flag is not None:
            lines = [line.strip() for line in text.splitlines() if line.strip()] if flag in repeatable else []
            reading.given.extend((flag, line) for line in lines or [text])
        elif name not in OTHER_VARIABLES:
            settings = [known.removeprefix(PREFIX) for known in by_variable]
            close = get_close_matches(name.removeprefix(PREFIX), settings, 1, _MISSPELT)
            if close:
                reading.problems.append(f"{name} is not a setting; did you mean '{PREFIX}{close[0]}'?")
            else:
                reading.warnings.append(f"the environment variable {name} is not a setting, and has no effect")
    return reading


def _own(environment: Mapping[str, str], settings: Collection[str]) -> Iterator[str]:
    """Yield the variables that begin with the prefix, apart from those that Kubernetes sets."""
    services = [name.removesuffix(_SERVICE) for name in environment if name.endswith(_SERVICE)]
    for name in environment:
        if not name.startswith(PREFIX):
            continue
        ends = [name.removeprefix(service) for service in services if name.startswith(service)]
        is_link = any(map(_LINK.fullmatch, ends))
        if not is_link or (name in settings and _URL not in environment[name]):
            yield name
