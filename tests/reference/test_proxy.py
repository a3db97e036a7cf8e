"""The proxy in front of NVIDIA's server and in front of Slipway: the same routes, bodies, statuses and texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kits.proxies import RunningProxy, running_proxy

CASES = [
    ("pair", {"A": [1, 2, 3, 4], "B": [1, 1, 1, 1]}),
    ("pair", {"A": [[1, 2, 3, 4]] * 2, "B": [[1, 1, 1, 1]] * 2}),
    ("nobatch", {"IN": [[1, 2, 3]]}),
    ("pair", {"A": [[1, 2, 3, 4]] * 9, "B": [[1, 1, 1, 1]] * 9}),
    ("pair", {"A": [1, 2, 3, 4]}),
    ("pair", {"A": [1, 2, 3, 4], "b": [1, 1, 1, 1]}),
    ("nobatch", {"IN": [[1, 2], [3, 4]]}),
    ("echo_bytes", {"IN": ["a", "\u00fc", ""]}),
    ("echo_bytes", {"IN": {"b64": "/wA="}}),
    ("echo_fp16", {"IN": [0.5, -2]}),
    ("echo_bool", {"IN": [True, False]}),
    ("echo_uint64", {"IN": [0, 2**64 - 1]}),
    ("optional", {"IN0": [1, 2]}),
    ("moody", {"CODE": 1}),
    ("moody", {"CODE": 3}),
    ("moody", {"CODE": 5}),
    ("chain", {"X": [1, 2, 3, 4], "Y": [4, 3, 2, 1]}),
    ("repeat", {"IN": [1, 2, 3]}),
    ("repeat", {"IN": []}),
    ("nowhere", {"IN": 1}),
    ("finbert", {"text": "Stocks rallied."}),
]


@pytest.fixture(scope="module")
def proxies(servers) -> Iterator[tuple[RunningProxy, RunningProxy]]:
    """Yield the proxies of Slipway and of the reference server."""
    with ExitStack() as stack:
        addresses = (f"127.0.0.1:{ports.grpc}" for ports in servers)
        yield tuple(stack.enter_context(running_proxy(address, "--retries=0")) for address in addresses)


@pytest.mark.parametrize(("name", "body"), CASES, ids=[f"{place}-{name}" for place, (name, _) in enumerate(CASES)])
def test_requests_have_the_same_answers(proxies, name, body):
    ours, theirs = (proxy.post(f"/models/{name}", body, X_Request_Id="id-1") for proxy in proxies)
    assert (ours.status, ours.body) == (theirs.status, theirs.body)


def test_the_page_describes_the_same_models(proxies):
    ours, theirs = ({model["name"]: model for model in proxy.get("/models").json["models"]} for proxy in proxies)
    assert ours == theirs
    documents = [proxy.get("/openapi.json").json["paths"].keys() for proxy in proxies]
    assert documents[0] == documents[1]


def test_both_are_healthy(proxies):
    assert [proxy.get("/healthz").json for proxy in proxies] == [{"status": "OK"}] * 2


def test_the_configurations_have_the_same_fields(proxies):
    ours, theirs = (proxy.get("/v2/models/pair/config").json for proxy in proxies)
    assert {key for key in theirs if theirs[key]} <= ours.keys()
    assert ours["input"] == theirs["input"]
