"""Answers exchanges whose route depends on more than the path, or may be restricted. Does not know the routes.

`app.App` is faster, and serves where nothing is restricted. Here the key comes first, as in tritonserver: whoever does
not have it learns nothing, not even which methods a path has.
"""

from __future__ import annotations

from collections.abc import Callable

from slipway.config.restrictions import refusal_text
from slipway.errors import SlipwayError
from slipway.rest.context import Context, Match
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON, error_body


def answer_not_found(exchange: Exchange) -> None:
    """Answer that a path does not lead anywhere."""
    exchange.answer(404, JSON, error_body("Not Found"))


class Dispatcher:
    """Finds the route of an exchange with `route`, and answers with its handler what may be answered.

    `route` returns None for an exchange that it has answered itself, or that has no route: then `missing` answers.
    """

    def __init__(
        self,
        context: Context,
        route: Callable[[Exchange], Match | None],
        missing: Callable[[Exchange], None] = answer_not_found,
    ) -> None:
        self._context = context
        self._route = route
        self._missing = missing
        self._keys = {
            group: (restriction.header.lower().encode(), restriction)
            for group, restriction in context.options.restrictions.items()
        }

    def handle(self, exchange: Exchange) -> None:
        """Answer the exchange, or start the work that will answer it."""
        try:
            match = self._route(exchange)
            if match is None:
                self._missing(exchange)  # without effect if it has been answered
            else:
                self._answer(exchange, match)
        except SlipwayError as error:
            exchange.fail(error)
        except Exception as error:  # noqa: BLE001  a bug must not cost other clients their connections
            exchange.fail_unexpectedly(error)

    def _answer(self, exchange: Exchange, match: Match) -> None:
        if match.envelope is not None:
            exchange.envelope = match.envelope
        if self._is_locked(exchange, match):
            exchange.refuse(403, refusal_text(self._context.options.restrictions[match.group], "API"))
        elif exchange.method not in (match.method, match.other):
            exchange.refuse(405, "Method Not Allowed")
        elif refusal := self._context.options.access.refusal(exchange, changes_state=match.changes_state):
            exchange.refuse(refusal.status, refusal.message)
        else:
            match.handler(self._context, exchange, match.target)

    def _is_locked(self, exchange: Exchange, match: Match) -> bool:
        key = self._keys.get(match.group)
        return key is not None and not key[1].admits(exchange.headers.get(key[0]))
