"""One row as the scheduler sees it: its tokens, its pages, and how far it has been computed."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.transformer.paged.page_keys import first_key, next_key

PATIENCE = 1024  # steps that a row waits longer per level of priority: higher numbers are less urgent, as in Triton


class PagedSequence:
    """Tokens, of which the first `computed` have their keys and values in `pages`.

    `rank` orders rows: by priority and arrival, but a row of a lower priority is never overtaken by one that comes more
    than `PATIENCE` steps per level later, so that nobody starves.
    """

    __slots__ = (
        "_keys",
        "_scope",
        "cacheable",
        "computed",
        "pages",
        "prompt",
        "rank",
        "running",
        "serial",
        "tokens",
    )

    def __init__(
        self,
        serial: int,
        prompt: Sequence[int],
        *,
        now: int = 0,
        priority: int = 0,
        cacheable: bool = True,
        scope: bytes = b"",
    ) -> None:
        """Take a prompt; `now` is the number of the current step.

        `cacheable`: pages may be shared with sequences of the same `scope`.
        """
        self.serial = serial
        self.rank = (now + priority * PATIENCE, serial)
        self.tokens = list(prompt)
        self.prompt = len(self.tokens)
        self.cacheable = cacheable
        self.computed = 0
        self.pages: list[int] = []
        self.running = False
        self._scope = first_key(scope)
        self._keys: list[bytes] = []  # of the full pages, as far as they were asked for

    @property
    def left(self) -> int:
        """How many tokens have to be computed before the next one can be chosen; 1 if only the newest."""
        return len(self.tokens) - self.computed

    @property
    def begun(self) -> bool:
        """Whether a token has been generated."""
        return len(self.tokens) > self.prompt

    def key(self, page: int, page_size: int) -> bytes:
        """Return the key of the sequence's page number `page`, all of whose tokens are known."""
        while len(self._keys) <= page:
            first = len(self._keys) * page_size
            self._keys.append(next_key(self._before(len(self._keys)), self.tokens[first : first + page_size]))
        return self._keys[page]

    def beginning_key(self, page: int, page_size: int, end: int) -> bytes:
        """Return the key of the tokens of page number `page` up to token `end`."""
        if page:
            self.key(page - 1, page_size)
        return next_key(self._before(page) + b"beginning", self.tokens[page * page_size : end])

    def _before(self, page: int) -> bytes:
        return self._keys[page - 1] if page else self._scope
