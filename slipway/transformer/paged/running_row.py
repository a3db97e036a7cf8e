"""One row of a running batch: its tokens and pages, its decoding, and the listener that learns of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import torch

from slipway.errors import internal
from slipway.transformer.decoding.lookahead import FIRST_SHARE, Lookahead, worthwhile
from slipway.transformer.decoding.single_rows import SingleRow, open_single_row, ordinary
from slipway.transformer.generation import Hypothesis, SequenceRequest, StartedListener
from slipway.transformer.paged.sequence import PagedSequence

_LOG: Final = logging.getLogger("slipway.transformer")
_CPU: Final = torch.device("cpu")  # scores are chosen from there


def most_tokens(row: SequenceRequest) -> int:
    """Return how many tokens a row has in pages when it is decoded to its limit: the last one is not fed back."""
    return len(row.ids) + (0 if row.decoding is None else row.decoding.max_tokens - 1)


class RunningRow:
    """A row from its arrival to its end. It passes its decoding's reports on to the listener."""

    __slots__ = (
        "_listener",
        "_lookahead",
        "_result",
        "arrived",
        "decoding",
        "gone",
        "index",
        "latest",
        "request",
        "sequence",
    )

    sequence: PagedSequence  # since it waits for its turn

    def __init__(self, index: int, request: SequenceRequest, listener: StartedListener, arrived: float) -> None:
        """Take row number `index` of those that the listener knows; `arrived` is a time in seconds.

        Raise an internal error for a decoding that cannot be followed.
        """
        if request.decoding is None:
            raise internal(f"row {index} has no decoding")
        self.index = index
        self.request = request
        self.arrived = arrived
        self.latest = arrived  # the time of its latest token
        self.gone = False  # whether its client has left
        self._listener = listener
        self._result: Sequence[Hypothesis] = ()
        self._lookahead: Lookahead | None = None  # from the first step on in which a guess would pay
        self.decoding: SingleRow = open_single_row(index, request.decoding, request.ids.tolist(), self, _CPU)

    def wait(self, serial: int, *, now: int, cacheable: bool) -> PagedSequence:
        """Return the row's tokens and pages, of which it has none yet; `now` is the scheduler's clock."""
        self.sequence = PagedSequence(
            serial,
            self.request.ids.tolist(),
            now=now,
            priority=self.request.priority,
            cacheable=cacheable,
        )
        return self.sequence

    def draft(self, cost: float, most: int) -> list[int]:
        """Return what `Lookahead.draft` does, but nothing beyond the row's limit."""
        left = most_tokens(self.request) - len(self.sequence.tokens)
        if self._lookahead is None:
            if not worthwhile(FIRST_SHARE, cost):
                return []
            self._lookahead = Lookahead(self.sequence.tokens)
        return self._lookahead.draft(cost, min(most, left))

    def take(self, token: int) -> None:
        """Continue the row by a token that has been chosen."""
        if self._lookahead is not None:
            self._lookahead.observe(token)
        self.sequence.tokens.append(token)

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass a token on, and note whether the client has left."""
        self.gone = self._listener.token(row, token, log_probability, figure)
        return self.gone

    def wanted(self, row: int) -> bool:
        """Return whether the client still waits."""
        self.gone = self.gone or not self._listener.wanted(row)
        return not self.gone

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:  # noqa: ARG002
        """Keep the result until what the row had is free."""
        self._result = hypotheses

    def report(self) -> None:
        """Pass the result on; none if the row was not wanted."""
        try:
            self._listener.done(self.index, self._result)
        except BaseException as error:  # noqa: BLE001  a listener may raise anything
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Report why the row failed; whatever the listener raises then is only logged."""
        try:
            self._listener.failed(self.index, ordinary(error))
        except BaseException:  # noqa: BLE001  a listener may raise anything
            _LOG.exception("a listener failed when it learnt that its row had failed")
