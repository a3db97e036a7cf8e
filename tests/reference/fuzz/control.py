"""Sequences of loads, unloads and questions about one model that is kept for them, with changed configurations."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.reference.fuzz.documents import Members, encode, members
from tests.reference.fuzz.signatures import Signature
from tests.reference.fuzz.values import odd
from tests.reference.http_cases import HttpCase
from tests.reference.models import CONTROLLED, ECHO, HEADER

_LOAD = f"/v2/repository/models/{CONTROLLED}/load"
_UNLOAD = f"/v2/repository/models/{CONTROLLED}/unload"
_VERSIONS = (1, 2, 3)


def write_controlled(repository: Path) -> None:
    """Write the model with three versions, of which the newest is served."""
    for version in _VERSIONS:
        (repository / CONTROLLED / str(version)).mkdir(parents=True)
        (repository / CONTROLLED / str(version) / "model.py").write_text(HEADER + ECHO)
    (repository / CONTROLLED / "config.pbtxt").write_text(
        'backend: "python"\nmax_batch_size: 4\n'
        'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 2 ] } ]\n'
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 2 ] } ]\n'
    )


def _config(rng: Random, **changes: object) -> Members:
    """Return an override with a mark of its own: the reference ignores one that it has seen before."""
    base: dict[str, object] = {
        "backend": "python",
        "max_batch_size": 4,
        "input": [members(name="IN", data_type="TYPE_FP32", dims=[2])],
        "output": [members(name="OUT", data_type="TYPE_FP32", dims=[2])],
        "parameters": members(mark=members(string_value=str(rng.random()))),
    }
    return Members({**base, **changes}.items())


@dataclass(slots=True)
class ControlDraft:
    """The steps between a fresh load of the model and the questions at the end."""

    steps: list[HttpCase]

    def finish(self, name: str) -> tuple[HttpCase, ...]:
        """Return the whole sequence; it begins with the model as it is on disk and ends without it."""
        begin, end = [HttpCase("unload", _UNLOAD), HttpCase("load", _LOAD)], [HttpCase("unload", _UNLOAD)]
        return tuple(
            HttpCase(f"{name}: {each.id}", each.path, each.method, each.body)
            for each in (*begin, *self.steps, *ASK, *end)
        )


_INFER = json.dumps({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}).encode()
ASK = [
    HttpCase("ready", f"/v2/models/{CONTROLLED}/ready", "GET"),
    HttpCase("config", f"/v2/models/{CONTROLLED}/config", "GET"),
    HttpCase("metadata", f"/v2/models/{CONTROLLED}", "GET"),
    *(HttpCase(f"ready {each}", f"/v2/models/{CONTROLLED}/versions/{each}/ready", "GET") for each in (1, 2)),
    HttpCase("infer", f"/v2/models/{CONTROLLED}/infer", body=_INFER),
    HttpCase("infer 1", f"/v2/models/{CONTROLLED}/versions/1/infer", body=_INFER),
    HttpCase("index", "/v2/repository/index"),
]


def _with(config: object, **parameters: object) -> bytes:
    text = config if isinstance(config, str) else encode(config).decode()
    return encode(members(parameters=members(config=text, **parameters)))


def draft_control(rng: Random, _signatures: tuple[Signature, ...]) -> ControlDraft:
    """Return a sequence without steps, or with one plain load or unload."""
    return ControlDraft(rng.choice(([], [HttpCase("load", _LOAD)], [HttpCase("unload", _UNLOAD)])))


def load_with(draft: ControlDraft, rng: Random) -> None:
    """Load with a configuration that changes one thing."""
    change = rng.choice(
        (
            {"max_batch_size": rng.choice((0, 1, 8, -1, "4", 1.5, None))},
            {"version_policy": members(all=Members())},
            {"version_policy": members(latest=members(num_versions=rng.choice((1, 2, 9, 0))))},
            {"version_policy": members(specific=members(versions=rng.choice(([1], [1, 3], [7], []))))},
            {
                "instance_group": [
                    members(kind=rng.choice(("KIND_GPU", "KIND_CPU", "KIND_AUTO", "KIND_MODEL", "KIND_X")))
                ]
            },
            {"instance_group": [members(count=rng.choice((0, 1, 2, -1)), kind="KIND_CPU")]},
            {"dynamic_batching": Members()},
            {"dynamic_batching": members(preferred_batch_size=rng.choice(([2], [4], [5], [0], [])))},
            {"optimization": members(priority=rng.choice(("PRIORITY_MAX", "PRIORITY_DEFAULT")))},
            {"name": rng.choice((CONTROLLED, "other", ""))},
            {"backend": rng.choice(("nosuch", "", "identity"))},
            {"platform": "nosuch"},
            {"input": []},
            {"output": [members(name="OUT", data_type="TYPE_FP32", dims=rng.choice(([], [0], [3], [-1], [-2])))]},
            {"input": [members(name="IN", data_type=rng.choice(("TYPE_INT32", "TYPE_X", 11, "")), dims=[2])]},
            {"colour": 1},
        )
    )
    draft.steps.append(HttpCase("load with", _LOAD, body=_with(_config(rng, **change))))


def load_text(draft: ControlDraft, rng: Random) -> None:
    """Load with text that is not a configuration."""
    text = rng.choice(("", "{", "[]", "null", "{}", "1", "max_batch_size: 4", '{"backend": 1}'))
    draft.steps.append(HttpCase("load text", _LOAD, body=_with(text)))


def load_files(draft: ControlDraft, rng: Random) -> None:
    """Load with files in the request, or what claims to be files."""
    code = base64.b64encode((HEADER + ECHO).encode()).decode()
    key = rng.choice(("file:1/model.py", "file:7/model.py", "file:model.py", "file:", "file:../x", "files:1/model.py"))
    body = _with(_config(rng), **{key: rng.choice((code, code, "not base64!", "", 1, None))})
    if rng.random() < 0.2:
        body = encode(members(parameters=members(**{key: code})))
    draft.steps.append(HttpCase("load files", _LOAD, body=body))


def load_odd(draft: ControlDraft, rng: Random) -> None:
    """Load with a body of any kind."""
    key = rng.choice(("parameters", "x"))
    inner = members(**{rng.choice(("config", "x", "unload_dependents")): odd(rng)})
    body = encode(members(**{key: rng.choice((inner, inner, odd(rng)))}))
    draft.steps.append(HttpCase("load odd", _LOAD, body=body))


def plain(draft: ControlDraft, rng: Random) -> None:
    """Load or unload without a configuration."""
    draft.steps.append(rng.choice((HttpCase("load", _LOAD), HttpCase("unload", _UNLOAD))))


def unload_odd(draft: ControlDraft, rng: Random) -> None:
    """Unload with parameters."""
    parameters = members(unload_dependents=rng.choice((True, False, odd(rng))))
    draft.steps.append(HttpCase("unload odd", _UNLOAD, body=encode(members(parameters=parameters))))


def ask(draft: ControlDraft, rng: Random) -> None:
    """Ask in between."""
    draft.steps.append(rng.choice(ASK[:3]))


CONTROL_CHANGES: tuple[Callable[[ControlDraft, Random], None], ...] = (
    load_with,
    load_with,
    load_with,
    load_text,
    load_files,
    load_odd,
    plain,
    unload_odd,
    ask,
)
