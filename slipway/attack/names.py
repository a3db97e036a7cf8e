"""Groups about names: unknown ones without end, and ones that lead out of the repository."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from slipway.attack.cases import AttackRequest, judged, send_requests
from slipway.attack.group import AttackGroup, AttackRun, NotApplicableError
from slipway.attack.http_client import NoResponseError, ReceivedResponse

NOTHING: Final = "slipway-attack-nothing"
_UNKNOWN: Final = 2000
_LONG: Final = 4000
_CLOSED: Final = (403, 405, 501)
_CLOSED_WORDS: Final = (b"explicit", b"not allowed", b"not supported", b"unsupported", b"disabled")
_PASSWORDS: Final = b"root:x:0:0"
_LEADING_OUT: Final = (
    "..",
    "../..",
    "%2e%2e",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "....//....//etc/passwd",
    "%2fetc%2fpasswd",
    "%00",
    "slipway%00attack",
    "%c0%ae%c0%ae%2fetc%2fpasswd",
    "%ef%bc%8e%ef%bc%8e",
    "slipway-attack%0d%0aX-Injected:%20yes",
    "%1b%5b31m",
    "%ff%fe",
    "%",
    "%zz",
)
_PYTHON_CONFIG: Final = {
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [1]}],
}
# Code that does nothing, in case somebody runs it.
_CODE: Final = base64.b64encode(
    b"class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
).decode()


async def _unknown(run: AttackRun) -> None:
    cases = {}
    for number in range(_UNKNOWN):
        name = f"{NOTHING}-{number}-".ljust(_LONG, "x")
        cases[f"name {number}"] = AttackRequest(f"/v2/models/{name}", method="GET")
    await send_requests(run, cases)


async def _versions(run: AttackRun) -> None:
    path = run.models.good.path
    versions = (
        "0",
        "-1",
        "1.0",
        "1e1",
        "+1",
        "%2e%2e",
        "..%2f1",
        "9" * 30,
        "1" + "x" * 5000,
        "%31%00",
        "01x",
        "latest ",
    )
    cases = {
        f"version {version[:20]} of {what or 'the model'}": AttackRequest(
            f"{path}/versions/{version.replace(' ', '%20')}{what}", method="GET"
        )
        for version in versions
        for what in ("", "/config", "/stats")
    }
    cases |= {
        f"version {number}": AttackRequest(f"{path}/versions/{number}{'7' * 30}", method="GET")
        for number in range(1, 500)
    }
    await send_requests(run, cases)


async def _leading_out(run: AttackRun) -> None:
    async def attempt(path: str) -> str:
        try:
            response = await run.http.ask("GET", path)
        except NoResponseError as error:
            return "" if "closed" in str(error) else str(error)
        if _PASSWORDS in response.body:
            return "the response contains /etc/passwd"
        if "x-injected" in response.headers:
            return "the name became a header of the response"
        if NOTHING in path and response.status < 400:
            return f"accepted with status {response.status}"
        return judged(response, refuse=False)

    cases = {}
    for name in _LEADING_OUT:
        cases[f"model {name}"] = f"/v2/models/{name}"
        cases[f"config of {name}"] = f"/v2/models/{name}/config"
        cases[f"statistics of {name}"] = f"/v2/models/{NOTHING}/{name}/stats"
        cases[f"path {name}"] = f"/{name}"
    await run.each(cases.items(), attempt)


async def client_can_load(run: AttackRun, headers: Mapping[str, str] | None = None) -> ReceivedResponse:
    """Return the response to loading a model that does not exist; raise `NotApplicableError` if the server does not
    let clients load models."""
    try:
        response = await run.http.post(f"/v2/repository/models/{NOTHING}/load", {}, headers)
    except NoResponseError as error:
        raise NotApplicableError(f"the server does not let clients load models ({error})") from None
    closed = response.status in _CLOSED or any(word in response.body.lower() for word in _CLOSED_WORDS)
    listed = response.status != 404 or NOTHING.encode() in response.body
    if closed or not listed:
        raise NotApplicableError(f"the server does not let clients load models (status {response.status})")
    return response


async def _load(run: AttackRun, loads: Mapping[str, tuple[str, Any]]) -> None:
    """Load models that cannot exist; what is loaded all the same is unloaded again, which can only be our own."""

    async def attempt(load: tuple[str, Any]) -> str:
        name, document = load
        try:
            response = await run.http.post(f"/v2/repository/models/{name}/load", document)
            if response.status < 400 and name.startswith(NOTHING):
                await run.http.post(f"/v2/repository/models/{name}/unload", {})
        except NoResponseError as error:
            return str(error)
        return judged(response)

    await run.each(loads.items(), attempt, at_once=2)


async def _names(run: AttackRun) -> None:
    await client_can_load(run)
    names = (*_LEADING_OUT, "%20", "%20..", "..%20", f"{NOTHING}/../{NOTHING}", f"{NOTHING}/", "a" * 300)
    await _load(run, {f"model {name[:40]}": (name.replace("/", "%2f"), {}) for name in names})


async def _files(run: AttackRun) -> None:
    await client_can_load(run)
    config = json.dumps(_PYTHON_CONFIG)
    files = {
        "code": "file:1/model.py",
        "a parent directory": "file:../../../slipway-attack",
        "an absolute path": "file:/tmp/slipway-attack",
        "a parent directory behind a version": "file:1/../../../slipway-attack",
        "a long component": "file:" + "A" * 256,
        "a backslash": "file:..\\..\\slipway-attack",
        "NUL": "file:1/model\0.py",
        "no name": "file:",
    }
    loads = {
        name: (f"{NOTHING}-{number}", {"parameters": {"config": config, file: _CODE}})
        for number, (name, file) in enumerate(files.items())
    }
    loads |= {
        "a config that is not JSON": (f"{NOTHING}-a", {"parameters": {"config": "{"}}),
        "a config 100 000 lists deep": (f"{NOTHING}-b", {"parameters": {"config": "[" * 100_000 + "]" * 100_000}}),
        "files that are not base64": (f"{NOTHING}-c", {"parameters": {"config": config, "file:1/model.py": "\1"}}),
        "a config without files": (f"{NOTHING}-d", {"parameters": {"config": config}}),
        "a backend in another place": (
            f"{NOTHING}-e",
            {"parameters": {"config": json.dumps({**_PYTHON_CONFIG, "backend": "../../tmp/slipway-attack"})}},
        ),
    }
    await _load(run, loads)


GROUPS: Final = (
    AttackGroup(
        38,
        "unknown-models",
        "2 000 different names of 4 000 characters that no model has",
        "a table that a stranger can fill grows for ever",
        "an error for each; memory",
        _unknown,
        kept_mib=16,
    ),
    AttackGroup(
        39,
        "unknown-versions",
        "versions that are not numbers, too long, negative, and 500 that no model has",
        "the same; KServe v2: a version is a number in decimal",
        "an error for each; memory",
        _versions,
        kept_mib=16,
    ),
    AttackGroup(
        40,
        "names-that-lead-out",
        "model names and paths with .., percent signs, backslashes, NUL, line breaks and escapes of terminals",
        "CWE-22, CWE-113",
        "no file of the machine, no header and no paths of the server in the response",
        _leading_out,
    ),
    AttackGroup(
        41,
        "loads-that-lead-out",
        "loading models whose names lead out of the repository",
        "CVE-2023-31036",
        "an error; skipped if clients cannot load models",
        _names,
    ),
    AttackGroup(
        42,
        "loads-with-files",
        "loading models that do not exist with files, code and configurations of the client's own",
        "whoever can load files can run code",
        "an error; skipped if clients cannot load models",
        _files,
    ),
)
