"""Requests on which a model's process died: run alone when they come again, and refused after the second death.

A process can die on any request of the batch that it was executing, so a batch makes suspects, and only a request that
was alone is convicted. A suspect that survives is forgotten. Requests are recognised by their content, whatever their
id; without suspects, nothing is computed per request. Shared by the instances of a model; bounded. Knows
neither processes nor schedulers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Final

from slipway.core.request import InferRequest

DEATHS: Final = 2
KEPT_S: Final = 600.0  # after the last death
CAPACITY: Final = 256

_Outline = tuple[tuple[str, str, tuple[int, ...], int], ...]


@dataclass(slots=True)
class _Suspect:
    outline: _Outline
    deaths: int
    last: float


class Suspects:
    """The suspects of one model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, _Suspect] = {}  # by digest, in the order of their last death

    def __bool__(self) -> bool:
        """Whether there are suspects."""
        known = self._known
        while known:
            oldest = next(iter(known))
            if self._clock() - known[oldest].last <= KEPT_S:
                return True
            del known[oldest]
        return False

    def died(self, requests: Iterable[InferRequest], *, alone: bool) -> None:
        """Record that a process died on one of `requests`; `alone`: on the only one that it was executing."""
        for request in islice(requests, CAPACITY):
            digest = _digest(request)
            suspect = self._known.pop(digest, None) or _Suspect(_outline(request), 0, 0.0)
            suspect.deaths = suspect.deaths + 1 if alone else max(suspect.deaths, 1)
            suspect.last = self._clock()
            self._known[digest] = suspect
        while len(self._known) > CAPACITY:
            del self._known[next(iter(self._known))]

    def survived(self, request: InferRequest) -> None:
        """Forget a request that was executed without a death."""
        digest = self._find(request)
        if digest is not None:
            del self._known[digest]

    def deaths(self, request: InferRequest) -> int:
        """Return how many deaths the request is suspected of."""
        digest = self._find(request)
        return 0 if digest is None else self._known[digest].deaths

    def _find(self, request: InferRequest) -> bytes | None:
        """Return the digest of a known request. Only one that looks like a suspect is read, which takes a second per
        GiB."""
        outline = _outline(request)
        if all(suspect.outline != outline for suspect in self._known.values()):
            return None
        digest = _digest(request)
        return digest if digest in self._known else None


def _outline(request: InferRequest) -> _Outline:
    return tuple((tensor.name, tensor.datatype, tensor.shape, len(tensor.raw)) for tensor in request.inputs.values())


def _digest(request: InferRequest) -> bytes:
    content = blake2b(digest_size=16)
    head = (_outline(request), tuple(request.outputs), sorted(request.parameters.items()), request.flags)
    content.update(repr(head).encode("utf-8", "surrogatepass"))
    for tensor in request.inputs.values():
        content.update(tensor.raw)
    return content.digest()
