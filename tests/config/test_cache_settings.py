"""--cache-config is read as tritonserver reads it; what it would misread or ignore is refused."""

from __future__ import annotations

import pytest

from slipway.config.cache_settings import LocalCacheSettings, RedisCacheSettings, cache_settings
from slipway.config.options import parse_options
from slipway.errors import SlipwayError

FORMAT = "--cache-config option format is '<cache name>,<setting>=<value>'. Got "
NO_CACHE = "No cache specified. --cache-config option format is <cache name>,<setting>=<value>. Got "

INCOMPATIBLE = (
    "Incompatible flags --response-cache-byte-size and --cache-config both provided. Please provide one or the other."
)
UNKNOWN = (
    "--cache-config: cache 'redis' does not have a setting 'x'; expected one of host, port, user, password, db, "
    "connect_timeout, socket_timeout, pool_size, wait_timeout"
)


def settings(*flags, environment=None):
    options = parse_options(["models", *flags])
    return cache_settings(options.cache_config, options.response_cache_byte_size, environment or {})


# Most texts are what tritonserver 2.51 says.
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cache-config=local"], f'Bad option: "--cache-config". {NO_CACHE}local'),
        (["--cache-config=,size=5"], f'Bad option: "--cache-config". {NO_CACHE},size=5'),
        (["--cache-config=size=5"], f'Bad option: "--cache-config". {NO_CACHE}size=5'),
        (["--cache-config=local,size"], f'Bad option: "--cache-config". {FORMAT}local,size'),
        (["--cache-config=local,size="], f'Bad option: "--cache-config". {FORMAT}local,size='),
        (
            ["--cache-config=local,size=9", "--cache-config=redis,host=a", "--cache-config=redis,port=1"],
            "found multiple cache configurations, but only a single cache is currently supported",
        ),
        (
            ["--cache-config=local,size=9", "--response-cache-byte-size=9"],
            INCOMPATIBLE,
        ),
        (["--cache-config=memcached,size=5"], "--cache-config: unknown cache 'memcached'; expected local or redis"),
        (
            ["--cache-config=local,size=5", "--cache-config=local,sise=5"],
            "--cache-config: cache 'local' does not have a setting 'sise'; did you mean 'size'?",
        ),
        (
            ["--cache-config=redis,host=a", "--cache-config=redis,port=1", "--cache-config=redis,x=1"],
            UNKNOWN,
        ),
        (
            ["--cache-config=redis,host=a"],
            "Failed to initialize RedisCache: config must contain 'host' and 'port'.",
        ),
        (["--cache-config=local,size=abc"], "--cache-config=local,size=abc: Invalid option value. Got abc"),
        (["--cache-config=local,size=0"], "--cache-config=local,size=0: Provided option value is out of bound. Got 0"),
        (
            ["--cache-config=redis,host=a", "--cache-config=redis,port=65536"],
            "--cache-config=redis,port=65536: Provided option value is out of bound. Got 65536",
        ),
        (
            ["--response-cache-byte-size=-1"],
            'Bad option: "--response-cache-byte-size". Provided option value is out of bound. Got -1',
        ),
    ],
    ids=lambda value: value if isinstance(value, list) else "",
)
def test_a_mistake_is_named(flags, message):
    with pytest.raises(SlipwayError) as caught:
        settings(*flags)
    assert caught.value.message == message


def test_a_local_cache_needs_a_size():
    with pytest.raises(SlipwayError) as caught:
        settings("--cache-config=local,sizes=5")
    assert "Failed to initialize LocalCache: config didn't contain a valid 'size' field." in caught.value.message


def test_without_the_flags_there_is_no_cache():
    assert settings() is None
    assert settings("--response-cache-byte-size=0") is None


def test_the_last_size_of_a_local_cache_counts():
    assert settings("--cache-config=local,size=7", "--cache-config", "local,size=9") == LocalCacheSettings(9)


def test_the_older_flag_means_a_local_cache_and_warns():
    assert settings("--response-cache-byte-size=1000") == LocalCacheSettings(1000)
    [warning] = parse_options(["models", "--response-cache-byte-size=1000"]).warnings
    assert warning.endswith("--cache-config=local,size=1000")


REDIS = ("--cache-config=redis,host=redis-host", "--cache-config=redis,port=6379")


def test_a_redis_cache_has_the_settings_of_tritons():
    more = {"user": "u", "password": "p,=q", "db": 3, "connect_timeout": 1, "socket_timeout": 2, "pool_size": 4}
    given = [f"--cache-config=redis,{name}={value}" for name, value in more.items()]
    assert settings(*REDIS, *given, "--cache-config=redis,wait_timeout=9") == RedisCacheSettings(
        "redis-host", 6379, **more, wait_timeout=9
    )


def test_the_environment_has_the_user_and_password_unless_a_flag_has():
    environment = {"TRITONCACHE_REDIS_USERNAME": "u", "TRITONCACHE_REDIS_PASSWORD": "secret"}
    found = settings(*REDIS, "--cache-config=redis,user=other", environment=environment)
    assert found == RedisCacheSettings("redis-host", 6379, user="other", password="secret")
    assert "secret" not in repr(found)
