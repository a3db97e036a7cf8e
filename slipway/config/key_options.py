"""The flags that say which API keys open the server, and where options come from. They are part of `ServerOptions`.

Knows the flags, what contradicts what, and what to warn of; `slipway.api_keys` compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from slipway.api_keys import ApiKeys, KeyDigest, is_readable_by_others, key_digest, others_can_read, read_key_file
from slipway.config.flags import BOOLEAN, FILE, Kind, hidden, option

API_KEY: Final = Kind("KEY", key_digest, hidden)
CONFIG: Final = "config"
SHOW_OPTIONS: Final = "show-options"

_keys = partial(option, "API keys")
_sources = partial(option, "Options")


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """The flags, which tritonserver does not have."""

    config: Path | None = _sources(  # noqa: RUF009  a dataclass field
        None, FILE, "TOML file with the flags that the command line does not have"
    )
    show_options: bool = _sources(
        False, BOOLEAN, "print the value of each option and where it comes from, without secrets, and exit"
    )

    api_key: tuple[KeyDigest, ...] = _keys(
        (), API_KEY,
        "refuse requests without this key, except for health; the list of processes shows it, unlike --api-key-file "
        "and the variable SLIPWAY_API_KEY",
        gather=tuple,
    )  # fmt: skip
    api_key_file: Path | None = _keys(  # noqa: RUF009  as above
        None, FILE, "file with such keys, one per line, with comments after #; read again when it changes"
    )
    metrics_require_api_key: bool = _keys(False, BOOLEAN, "refuse requests for metrics without a key too")

    @property
    def needs_api_key(self) -> bool:
        """Whether requests need a key."""
        return bool(self.api_key) or self.api_key_file is not None

    def api_keys(self) -> ApiKeys | None:
        """Return the keys, read for the first time, None if requests need none; raise `ValueError` if the file cannot
        be used."""
        if not self.needs_api_key:
            return None
        keys = ApiKeys(self.api_key, self.api_key_file)
        keys.load()
        return keys


def key_problems(options: KeyOptions) -> Iterator[str]:
    """Yield what contradicts, and why the file cannot be used."""
    if options.api_key_file is not None:
        try:
            read_key_file(options.api_key_file)
        except ValueError as error:
            yield f"--api-key-file: {error}"
    if options.metrics_require_api_key and not options.needs_api_key:
        yield "--metrics-require-api-key needs --api-key-file or --api-key"


def key_warnings(options: KeyOptions, *, on_command_line: bool, in_config: bool) -> Iterator[str]:
    """Yield who else can read the keys, of which some may be on the command line or in the file of `--config`."""
    if on_command_line:
        yield "--api-key can be read in the list of processes; --api-key-file or SLIPWAY_API_KEY keeps it out of there"
    files = (options.api_key_file, options.config if in_config else None)
    for path in filter(None, files):
        if is_readable_by_others(path):
            yield others_can_read(path)
