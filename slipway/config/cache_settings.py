"""tritonserver's `--cache-config`: read, gathered per cache, checked. Knows no cache.

The format and its errors are tritonserver's (`command_line_parser.cc`); the settings of a Redis cache are those of
triton-inference-server/redis_cache (README, "Available Configuration Options").
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from slipway.config.flags import HIDDEN, Kind, whole
from slipway.nearest import nearest_or_all

Given = Mapping[str, Mapping[str, str]]  # settings by cache

_INT32: Final = 2**31 - 1
# Setting -> its lowest and highest value; None for a text.
_LOCAL: Final[dict[str, tuple[int, int] | None]] = {"size": (1, 2**63 - 1)}
_REDIS: Final[dict[str, tuple[int, int] | None]] = {
    "host": None,
    "port": (1, 65535),
    "user": None,
    "password": None,
    "db": (0, _INT32),
    "connect_timeout": (0, _INT32),
    "socket_timeout": (0, _INT32),
    "pool_size": (1, 1024),
    "wait_timeout": (0, _INT32),
}
_SETTINGS: Final = {"local": _LOCAL, "redis": _REDIS}
_USER: Final = "TRITONCACHE_REDIS_USERNAME"
_PASSWORD: Final = "TRITONCACHE_REDIS_PASSWORD"  # noqa: S105  the name of a variable


@dataclass(frozen=True, slots=True)
class LocalCacheSettings:
    """A cache in the server's memory, of `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class RedisCacheSettings:
    """A Redis server; times are in milliseconds; 0 means that the setting itself sets no limit."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    connect_timeout: int = 0
    socket_timeout: int = 0
    pool_size: int = 8
    wait_timeout: int = 100


def _read(text: str) -> tuple[str, str, str]:
    cache, comma, rest = text.partition(",")
    if not comma or not cache:
        raise ValueError(
            f"No cache specified. --cache-config option format is <cache name>,<setting>=<value>. Got {text}"
        )
    setting, equals, value = rest.partition("=")
    if not equals or not setting or not value:
        raise ValueError(f"--cache-config option format is '<cache name>,<setting>=<value>'. Got {text}")
    return cache, setting, value


def _without_password(text: str) -> str:
    name, _, _ = text.partition("=")
    return f"{name}={HIDDEN}" if name.endswith(",password") else text


CACHE_SETTING: Final = Kind("CACHE,SETTING=VALUE", _read, _without_password)


def by_cache(settings: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """Gather the settings of each cache; the last value of a setting counts."""
    gathered: dict[str, dict[str, str]] = {}
    for cache, setting, value in settings:
        gathered.setdefault(cache, {})[setting] = value
    return gathered


def cache_problems(given: Given, byte_size: int | None) -> Iterator[str]:
    """Yield what is wrong with the settings and with `--response-cache-byte-size`, the older flag for `local,size`."""
    if given and byte_size is not None:
        yield (
            "Incompatible flags --response-cache-byte-size and --cache-config both provided. Please provide one or "
            "the other."
        )
    if len(given) > 1:
        yield "found multiple cache configurations, but only a single cache is currently supported"
    for cache, settings in given.items():
        known = _SETTINGS.get(cache)
        if known is None:
            yield f"--cache-config: unknown cache '{cache}'; expected local or redis"
            continue
        for setting, value in settings.items():
            yield from _setting_problems(cache, setting, value)
        if cache == "local" and "size" not in settings:
            yield "Failed to initialize LocalCache: config didn't contain a valid 'size' field."
        if cache == "redis" and not settings.keys() >= {"host", "port"}:
            yield "Failed to initialize RedisCache: config must contain 'host' and 'port'."


def _setting_problems(cache: str, setting: str, value: str) -> Iterator[str]:
    known = _SETTINGS[cache]
    if setting not in known:
        hint = nearest_or_all(setting, known)
        yield f"--cache-config: cache '{cache}' does not have a setting '{setting}'{hint}"
        return
    bounds = known[setting]
    if bounds is not None:
        try:
            whole(*bounds).read(value)
        except ValueError as error:
            yield f"--cache-config={cache},{setting}={value}: {error}"


def cache_warnings(byte_size: int | None) -> Iterator[str]:
    """Yield the warning about the deprecated flag."""
    if byte_size is not None:
        yield (
            "--response-cache-byte-size is deprecated; use --cache-config. The equivalent is "
            f"--cache-config=local,size={byte_size}"
        )


def cache_settings(
    given: Given, byte_size: int | None, environment: Mapping[str, str] = os.environ
) -> LocalCacheSettings | RedisCacheSettings | None:
    """Return the settings, which have no problems; None if there is no cache. A byte size of 0 means no cache.

    The user and password of Redis may be in TRITONCACHE_REDIS_USERNAME and TRITONCACHE_REDIS_PASSWORD.
    """
    if "redis" in given:
        read: dict[str, str | int] = {
            name: value if _REDIS[name] is None else int(value) for name, value in given["redis"].items()
        }
        for name, variable in (("user", _USER), ("password", _PASSWORD)):
            if environment.get(variable):
                read.setdefault(name, environment[variable])
        return RedisCacheSettings(**read)  # type: ignore[arg-type]
    if "local" in given:
        return LocalCacheSettings(int(given["local"]["size"]))
    return LocalCacheSettings(byte_size) if byte_size else None
