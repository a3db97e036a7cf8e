"""Groups about large requests: what they cost the others."""

from __future__ import annotations

import json
from typing import Any, Final

from slipway.attack import json_corpus as corpus
from slipway.attack.bounds import MIB
from slipway.attack.cases import AttackRequest, send_requests
from slipway.attack.group import AttackGroup, AttackRun

_MANY: Final = 100_000
_NUMBERS: Final = 4_000_000
_DIGITS: Final = 8 * MIB


async def _send(run: AttackRun, bodies: dict[str, Any], path: str = "") -> None:
    """Send large bodies one after another: any response is right, in time for the group."""
    to = path or run.models.good.infer
    cases = {name: AttackRequest(to, body, refuse=False, may_close=True) for name, body in bodies.items()}
    await send_requests(run, cases, at_once=1)


async def _many_parts(run: AttackRun) -> None:
    good = run.models.good
    first = good.first.entry()
    bodies = {
        "100 000 dimensions": corpus.many_dims(good.document()),
        "100 000 inputs": good.with_first(*({**first, "name": f"I{number}"} for number in range(_MANY))),
        "100 000 outputs": {**good.document(), "outputs": [{"name": f"O{number}"} for number in range(_MANY)]},
        "a million parameters": {**good.document(), "parameters": {f"p{number}": number for number in range(10**6)}},
    }
    await _send(run, bodies)


async def _data(run: AttackRun) -> None:
    good = run.models.good
    document = good.document()  # its shape stays, so that the server works and not the model
    bodies = {
        "4 million numbers": corpus.put(document, "data", "[" + "1," * (_NUMBERS - 1) + "1]"),
        "4 million empty strings": corpus.put(document, "data", "[" + '"",' * (_NUMBERS - 1) + '""]'),
        "a million times NaN": corpus.put(document, "data", "[" + "NaN," * 1_000_000 + "NaN]"),
        "a string of 16 MiB": corpus.put(document, "data", '["' + "x" * 16 * MIB + '"]'),
        "8 MiB of digits": corpus.put(document, "data", "[" + "1" * _DIGITS + "]"),
        "blanks": json.dumps(good.document()).encode() + b" " * 16 * MIB,
        "escapes": corpus.put(document, "data", '["' + "\\n" * 8 * MIB + '"]'),
    }
    await _send(run, bodies)


async def _generate(run: AttackRun) -> None:
    good = run.models.good
    name = json.dumps(good.first.name).encode()
    bodies = {
        "a text of 16 MiB": b'{%b: "%b"}' % (name, b"x" * 16 * MIB),
        "8 million numbers": b"{%b: [%b1]}" % (name, b"1," * 8 * MIB),
        "colons and escapes": b'{%b: ":%b"}' % (name, b"\\n" * 8 * MIB),
    }
    await _send(run, bodies, f"{good.path}/generate")


GROUPS: Final = (
    AttackGroup(
        35,
        "many-parts",
        "infer requests with 100 000 dimensions, inputs or outputs, and a million parameters",
        "a product before the check of the rank is quadratic; an object per part takes the memory",
        "any response; health checks and memory meanwhile",
        _many_parts,
    ),
    AttackGroup(
        36,
        "large-data",
        "infer requests of 4 to 24 MiB: numbers, empty strings, NaN, one string, digits, blanks, escapes",
        "one large request must not make the others wait",
        "any response; health checks and memory meanwhile",
        _data,
    ),
    AttackGroup(
        37,
        "large-generate",
        "requests of 16 MiB to generate",
        "the same, on the other path that reads JSON",
        "any response; health checks and memory meanwhile",
        _generate,
    ),
)
