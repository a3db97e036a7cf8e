"""Limits, cancellation, credentials and errors of the transfers, with a driver that does what the test says."""

import asyncio
import sys
import threading

import pytest

from slipway.config.remote_location import read_location
from slipway.errors import Code, SlipwayError
from slipway.repository.remote import storage as module
from slipway.repository.remote.listing import RemoteObject
from slipway.repository.remote.storage import Storage
from tests.kits.s3_service import SECRET, VARIABLES

LOCATION = read_location("s3://bucket/models")
ONE = RemoteObject("m/x", "bucket/models/m/x", 4)


class LibraryError(Exception):
    pass


class Scripted:
    """A driver whose steps are class attributes; `made` counts the connections."""

    made = 0
    closed = 0
    errors = (LibraryError,)

    def __init__(self, _location, credentials):
        type(self).made += 1
        self.credentials = credentials

    @staticmethod
    def library_errors():
        return (LibraryError,)

    async def objects(self, _folder):
        return [ONE]

    async def fetch(self, _each, target):
        target.write_bytes(b"four")

    async def fault(self, _each, _target):
        return ""

    async def close(self):
        type(self).closed += 1


@pytest.fixture
def driver(monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    kind = type("Driver", (Scripted,), {})
    monkeypatch.setattr(module, "_kind", lambda _: kind)
    return kind


def raising(error):
    async def step(*_):
        raise error

    return step


def refused(step):
    with pytest.raises(SlipwayError) as caught:
        step()
    assert caught.value.code is Code.UNAVAILABLE
    return caught.value.message


def test_objects_are_listed_and_fetched(driver, tmp_path):
    storage = Storage(LOCATION)
    assert storage.objects() == [ONE]
    storage.fetch([(ONE, tmp_path / "x")])
    assert (tmp_path / "x").read_bytes() == b"four"
    storage.close()
    assert (driver.made, driver.closed) == (1, 1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LibraryError("out of order"), "out of order"),
        (OSError(121, "Input/output error"), "Input/output error"),
        (TimeoutError(), "TimeoutError"),
        (KeyError("Contents"), "Contents"),
        (LibraryError(f"key {VARIABLES['AWS_ACCESS_KEY_ID']} with {SECRET}"), "key *** with ***"),
        (LibraryError("GET https://host/x?sig=abc&se=1 failed"), "GET https://host/x?*** failed"),
        (LibraryError("not there\nRequestId:5\nTime:now"), "not there"),
    ],
)
def test_what_the_libraries_raise_becomes_our_error_without_secrets(driver, tmp_path, error, text):
    driver.objects = driver.fetch = raising(error)
    storage = Storage(LOCATION)
    assert refused(storage.objects).strip("'") in (
        f"listing s3://bucket/models: {text}",
        f"listing s3://bucket/models: '{text}",
    )
    assert text in refused(lambda: storage.fetch([(ONE, tmp_path / "x")]))


def test_the_first_transfer_that_fails_ends_the_others(driver, tmp_path):
    ended = []

    async def fetch(_, each, target):
        if each.path == "m/bad":
            raise LibraryError("broken")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(each.path)

    driver.fetch = fetch
    bad = RemoteObject("m/bad", "k", 4)
    assert "copying 'm/bad': broken" in refused(
        lambda: Storage(LOCATION).fetch([(ONE, tmp_path / "x"), (bad, tmp_path / "y")])
    )
    assert ended == ["m/x"]


def test_a_transfer_without_data_is_ended(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STALL_S", 0.05)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    driver.fetch = lambda *_: asyncio.Event().wait()
    assert "'m/x': no data for 0.05 s" in refused(lambda: Storage(LOCATION).fetch([(ONE, tmp_path / "x")]))


def test_a_transfer_that_writes_too_much_is_ended(driver, tmp_path, monkeypatch):
    async def fetch(_, each, target):
        while True:
            with target.open("ab") as file:
                file.write(b"more")
            await asyncio.sleep(0.001)

    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    driver.fetch = fetch
    assert "has more than the 4 bytes" in refused(lambda: Storage(LOCATION).fetch([(ONE, tmp_path / "x")]))


def test_a_listing_that_does_not_end_or_is_too_long_is_refused(driver, monkeypatch):
    monkeypatch.setattr(module, "MOST_OBJECTS", 1)

    async def objects(*_):
        return [ONE, ONE]

    driver.objects = objects
    assert "has more than 1 objects" in refused(Storage(LOCATION).objects)
    monkeypatch.setattr(module, "LIST_S", 0.02)
    driver.objects = lambda *_: asyncio.Event().wait()
    assert "listing s3://bucket/models: TimeoutError" in refused(Storage(LOCATION).objects)


def test_a_server_that_stops_ends_the_transfers_and_begins_no_others(driver, tmp_path):
    begun = threading.Event()

    async def fetch(*_):
        begun.set()
        await asyncio.Event().wait()

    driver.fetch = fetch
    storage = Storage(LOCATION)
    texts = []
    thread = threading.Thread(target=lambda: texts.append(refused(lambda: storage.fetch([(ONE, tmp_path / "x")]))))
    thread.start()
    assert begun.wait(20)
    storage.cancel()
    thread.join(20)
    assert [*texts, refused(storage.objects)] == ["Server is stopping"] * 2


def test_credentials_are_read_again_after_a_failure_and_used_if_they_changed(driver, monkeypatch):
    storage = Storage(LOCATION)
    storage.objects()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "new")
    storage.objects()
    assert driver.made == 1
    working, driver.objects = driver.objects, raising(LibraryError("expired"))
    refused(storage.objects)
    driver.objects = working
    storage.objects()
    assert (driver.made, driver.closed) == (2, 1)
    driver.objects = raising(LibraryError("out of order"))
    refused(storage.objects)
    refused(storage.objects)
    assert driver.made == 2


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/models", "s3://bucket/models"])
def test_without_any_of_the_libraries_the_command_that_installs_them_is_named(monkeypatch, url):
    for name in ("fsspec", "fsspec.asyn", "fsspec.implementations.http", "s3fs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SlipwayError, match=r"need the package '(fsspec|s3fs)': pip install .*cloud"):
        Storage(read_location(url)).objects()
