"""The routes that do not run a model, where a server is not needed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Request

from slipway.proxy.catalog import Catalog
from slipway.proxy.options import ProxyOptions
from slipway.proxy.pages import Pages
from slipway.proxy.upstream import Upstream


@pytest.mark.parametrize(
    "last",
    [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": bytes(5000)},
        {"type": "http.request", "body": b"[]"},
    ],
)
def test_an_index_request_that_is_not_whole_or_not_valid_is_refused(last):
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"{", "more_body": True}, last]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    upstream, options = Upstream(ProxyOptions()), ProxyOptions()
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    answer = asyncio.run(Pages(upstream, Catalog(upstream, 1.0), options).index(request))
    assert answer.status_code == 400
