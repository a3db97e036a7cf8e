"""Builds the cache that the options specify."""

from __future__ import annotations

from slipway.config.cache_settings import LocalCacheSettings, RedisCacheSettings
from slipway.response_cache.api import ResponseCache
from slipway.response_cache.local import LocalCache


def build_cache(settings: LocalCacheSettings | RedisCacheSettings) -> ResponseCache:
    """Return the cache; raise UNAVAILABLE if the package that it needs is not installed."""
    if isinstance(settings, LocalCacheSettings):
        return LocalCache(settings.size)
    from slipway.response_cache.redis_cache import RedisCache

    return RedisCache(settings)
