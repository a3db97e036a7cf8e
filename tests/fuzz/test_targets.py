"""Every reader returns or refuses, whatever the bytes: the seeds, many changes to them, and any bytes at all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.errors import SlipwayError, invalid, unforeseen
from slipway.rest.framing import RequestFraming
from tests.fuzz.documents import json_seeds, variations
from tests.fuzz.mutation import MOST, mutate
from tests.fuzz.run import HangError, cpu_limit, inputs
from tests.fuzz.target import SEEDS, Target
from tests.fuzz.targets import TARGETS, can_run

SEED = 20
QUICK, SLOW = 300, 30


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Keep the warnings of the readers out of the log: most inputs deserve one."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    found = TARGETS[request.param]
    if not can_run(found):
        pytest.skip(f"needs {', '.join(found.needs)}")
    return found


def test_every_target_has_seeds_and_every_seed_a_target():
    assert {path.name for path in SEEDS.iterdir() if path.is_dir()} == set(TARGETS)
    assert [name for name, target in TARGETS.items() if not target.seeds()] == []


def test_every_seed_is_read_or_refused(target):
    for data in target.seeds():
        with cpu_limit():
            target(data)


def test_changed_seeds_are_read_or_refused(target):
    for data in islice(inputs(target, SEED), SLOW if target.slow else QUICK):
        with cpu_limit():
            target(data)


JSON_TARGETS = [name for name, each in TARGETS.items() if not each.slow and list(json_seeds(each.seeds()))]


@pytest.mark.parametrize("name", JSON_TARGETS)
def test_no_value_of_a_document_can_be_odd_enough(name):
    target = TARGETS[name]
    written = [path.read_bytes() for path in sorted(target.directory.iterdir()) if not path.name.startswith("found-")]
    for document in json_seeds(written):
        for data in variations(document):
            with cpu_limit():
                target(data)


def test_any_bytes_are_read_or_refused(target):
    @settings(max_examples=20 if target.slow else 200, derandomize=True, database=None, deadline=None)
    @given(st.binary(max_size=512))
    def read(data: bytes) -> None:
        target(data)

    read()


def test_a_target_passes_on_everything_but_our_errors():
    def fail(data: bytes) -> None:
        raise invalid("refused") if data else KeyError(data)

    target = Target("none", fail)
    target(b"x")
    with pytest.raises(KeyError):
        target(b"")


def test_a_reader_without_an_end_is_a_finding():
    def turn() -> None:
        while True:
            pass

    with pytest.raises(HangError), cpu_limit(0.05):
        turn()


def test_a_reader_that_catches_everything_cannot_hide_a_hang():
    def turn() -> None:
        try:
            while True:
                pass
        except Exception as error:  # noqa: BLE001  as readers of native libraries do
            raise invalid(str(error)) from None

    with pytest.raises(HangError), cpu_limit(0.05):
        turn()


def test_an_error_that_hides_another_is_a_finding():
    def fail(_: bytes) -> None:
        raise unforeseen(KeyError("x"))

    with pytest.raises(SlipwayError):
        Target("none", fail)(b"")


def test_a_request_that_only_one_way_of_reading_finds_is_a_finding(monkeypatch):
    target = TARGETS["http"]
    receive = RequestFraming.receive
    for seed in target.seeds():
        target(seed)
    monkeypatch.setattr(
        RequestFraming,
        "receive",
        lambda framing, data: receive(framing, data) if len(data) > 7 else framing.refuse(400, "in pieces"),
    )
    with pytest.raises(AssertionError, match="in pieces"):
        target(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def test_changes_are_the_same_for_the_same_numbers_and_bounded_in_size():
    one, other = (
        [mutate(b'{"a": 1}', random, [b"[]"], [b"x"]) for _ in range(300)] for random in (Random(1), Random(1))
    )
    assert one == other
    assert len(set(one)) > 200
    assert max(map(len, one)) <= MOST
