"""Groups about web pages: what a page in the browser of somebody on this machine could make a server do.

Every request asks to load a model that does not exist, so that the error shows how far it came: a request that is
refused for where it comes from gets another error than one that reached the repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway.attack.group import AttackGroup, AttackRun
from slipway.attack.http_client import NoResponseError, ReceivedResponse
from slipway.attack.names import NOTHING, client_can_load

_LOAD: Final = f"/v2/repository/models/{NOTHING}/load"
_EVIL: Final = "http://evil.example"
ORIGINS: Final = (_EVIL, "https://localhost", "http://localhost:1", "null", "file://")
HOSTS: Final = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "notlocalhost",
    "127.0.0.1.evil.example",
)


async def _refused(run: AttackRun, cases: Mapping[str, Mapping[str, str]], absolute: tuple[str, ...] = ()) -> None:
    """Send the same load with each set of headers, and to absolute targets; right is an error other than without."""
    plain = await client_can_load(run)

    async def attempt(case: tuple[str, Mapping[str, str]]) -> str:
        try:
            response = await run.http.post(case[0], b"{}", case[1])
        except NoResponseError as error:
            return "" if "closed" in str(error) else str(error)
        same = response.status == plain.status and NOTHING.encode() in response.body
        return f"it reached the repository (status {response.status})" if same or response.status < 400 else ""

    targets = {f"a target at {host}": (f"http://{host}{_LOAD}", {"Host": "localhost"}) for host in absolute}
    await run.each([*((name, (_LOAD, headers)) for name, headers in cases.items()), *targets.items()], attempt)


async def _origins(run: AttackRun) -> None:
    cases: dict[str, dict[str, str]] = {f"Origin: {origin}": {"Origin": origin} for origin in ORIGINS}
    for site in ("cross-site", "same-site"):
        cases[f"Sec-Fetch-Site: {site}"] = {"Sec-Fetch-Site": site}
    await _refused(run, cases)


async def _hosts(run: AttackRun) -> None:
    await _refused(run, {f"Host: {host}": {"Host": host} for host in HOSTS}, absolute=HOSTS[:1])


async def _forms(run: AttackRun) -> None:
    own = f"http://{run.dialler.address}"
    browser = {"Origin": own, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}
    types = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
    await _refused(run, {kind: {**browser, "Content-Type": kind} for kind in types})


async def _reading(run: AttackRun) -> None:
    paths = ("/v2", run.models.good.path, "/v2/repository/index", "/v2/health/live")

    async def attempt(request: tuple[str, str]) -> str:
        method, path = request
        headers = {"Origin": _EVIL, "Access-Control-Request-Method": "POST"}
        try:
            response = await run.http.ask(method, path, headers=headers)
        except NoResponseError as error:
            return "" if "closed" in str(error) else str(error)
        return _allowed(response)

    cases = [(f"{method} {path}", (method, path)) for method in ("GET", "OPTIONS") for path in paths]
    cases.append((f"POST {run.models.good.infer}", ("POST", run.models.good.infer)))
    await run.each(cases, attempt)


def _allowed(response: ReceivedResponse) -> str:
    allowed = response.headers.get("access-control-allow-origin", "")
    return f"a page of {_EVIL} may read the response ('{allowed}')" if allowed in ("*", _EVIL, "null") else ""


GROUPS: Final = (
    AttackGroup(
        43,
        "foreign-origins",
        "loads with the Origin of another page, or with Sec-Fetch-Site of another site",
        "CWE-352: a page must not change a server that it only reaches",
        "another error than without; skipped if clients cannot load models",
        _origins,
    ),
    AttackGroup(
        44,
        "foreign-hosts",
        "loads for host names that are not this machine's, in Host and in the target",
        "DNS rebinding: a page's own name suddenly leads here",
        "another error than without; skipped if clients cannot load models",
        _hosts,
    ),
    AttackGroup(
        45,
        "forms",
        "loads as a form or plain text, as a page may send them without asking",
        "Fetch standard, CORS-safelisted request headers",
        "another error than without; skipped if clients cannot load models",
        _forms,
    ),
    AttackGroup(
        46,
        "cross-origin-reads",
        "reading metadata and preflights from the page of another origin",
        "Fetch standard, CORS protocol",
        "no Access-Control-Allow-Origin for it",
        _reading,
    ),
)
