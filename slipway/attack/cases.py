"""Well-framed requests that a server should refuse, or at least answer: how they are written and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from slipway.attack.group import AttackRun
from slipway.attack.http_client import NoResponseError, ReceivedResponse

_INTERNALS: Final = (b"Traceback (most recent call", b"site-packages", b"dist-packages", b"/home/", b"/root/")


@dataclass(frozen=True, slots=True)
class AttackRequest:
    """One request. If `refuse`, only an error is right; otherwise any response is, and if `may_close`, none too."""

    path: str
    body: object = b""  # JSON, or bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    refuse: bool = True
    may_close: bool = False


async def send_requests(run: AttackRun, cases: Mapping[str, AttackRequest], at_once: int = 8) -> None:
    """Send all requests, each on a connection of its own, and note what is not as it should be."""

    async def attempt(case: AttackRequest) -> str:
        try:
            if case.method == "POST":
                response = await run.http.post(case.path, case.body, case.headers)
            else:
                response = await run.http.ask(case.method, case.path, headers=case.headers)
        except NoResponseError as error:
            return "" if case.may_close and "closed" in str(error) else str(error)
        return judged(response, refuse=case.refuse)

    await run.each(cases.items(), attempt, at_once)


def judged(response: ReceivedResponse, *, refuse: bool = True) -> str:
    """Return what is wrong with a response: a success where an error is right, or internals in an error."""
    if response.status < 400:
        return f"accepted with status {response.status}" if refuse else ""
    leaked = [word.decode() for word in _INTERNALS if word in response.body]
    return f"the error (status {response.status}) reveals '{leaked[0]}'" if leaked else ""
