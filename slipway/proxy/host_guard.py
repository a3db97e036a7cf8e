"""Refuses requests that a web page may have sent under a name that is not the proxy's (DNS rebinding).

The rule is the server's own (`slipway.rest.access`): a proxy that only this machine reaches answers to its names only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from slipway.proxy.asgi import JSON, Receive, Scope, Send, answer
from slipway.proxy.failures import plain_error
from slipway.rest.access import Access


class HostGuard:
    """The middleware around the application `app`."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "http":
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            refusal = self._access.refusal_of_host(host)
            if refusal is not None:
                await answer(send, refusal.status, plain_error(refusal.message), [JSON])
                return
        await self._app(scope, receive, send)
