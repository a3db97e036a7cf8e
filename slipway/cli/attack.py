"""Attack a KServe v2 server on this machine, and print which groups of attacks it held.

Malformed, lying, endless, slow, compressed, nested and flooding requests are sent, bounded in time, bytes and
connections. After each group the server has to answer a good request as before. Models are never unloaded. Only
loopback addresses are attacked. Exit code 0: everything held; 1: something did not; 2: wrong usage, or no server.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from slipway.attack.bounds import Bounds
from slipway.attack.group import GroupResult, HeldState
from slipway.attack.loopback import grpc_address, http_address
from slipway.attack.results import failure_lines, groups_table, results_document, results_table, summary
from slipway.attack.suite import AttackTarget, attack
from slipway.attack.table import GROUPS, chosen_groups
from slipway.cli.output import for_reading, output_width, visible
from slipway.cli.parser import CommandParser
from slipway.errors import SlipwayError

_MISUSE = 2
_DEFAULTS = Bounds()


class _AttackParser(CommandParser):
    """Wrong usage has exit code 2 here: 1 says that something did not hold."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (see '{self.prog} --help')", file=sys.stderr)
        raise SystemExit(_MISUSE)


def run(arguments: Sequence[str]) -> int:
    """Attack and print; return 0 if every group held or was skipped, 1 if one did not hold, 2 for wrong usage."""
    options = _options(arguments)
    if options.list:
        print(groups_table(GROUPS, output_width()))
        return 0
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines on every connection that is refused
    try:
        results = asyncio.run(_results(options))
    except SlipwayError as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return _MISUSE
    print(results_document(results) if options.json else visible(_report(results)))
    return 1 if any(each.state is HeldState.NOT_HELD for each in results) else 0


def attack_parser() -> CommandParser:
    """Return the parser of the options."""
    parser = _AttackParser(prog="slipway attack", description=__doc__)
    parser.add_argument("--url", metavar="URL", help="HTTP address of the server, http://127.0.0.1:8000")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="gRPC address; without it, its groups are skipped")
    parser.add_argument(
        "--group",
        metavar="N|NAME",
        nargs="+",
        action="extend",
        default=[],
        help="only these groups, by number or name (repeatable, default: all)",
    )
    parser.add_argument("--list", action="store_true", help="print the groups and send nothing")
    parser.add_argument(
        "--model", metavar="NAME", default="", help="model to send requests to (default: a small one, chosen)"
    )
    parser.add_argument("--pid", metavar="PID", type=int, help="process id of the server, to judge its memory")
    parser.add_argument(
        "--seconds",
        metavar="SECONDS",
        type=float,
        default=_DEFAULTS.seconds,
        help=f"time limit for each group (default: {_DEFAULTS.seconds:g})",
    )
    parser.add_argument(
        "--mebibytes",
        metavar="MIB",
        type=int,
        default=_DEFAULTS.mebibytes,
        help=f"bytes that each group may send, in MiB (default: {_DEFAULTS.mebibytes})",
    )
    parser.add_argument(
        "--patience-ms",
        metavar="MS",
        type=float,
        default=_DEFAULTS.patience_ms,
        help=f"time that a health check may take during a group (default: {_DEFAULTS.patience_ms:g})",
    )
    parser.add_argument("--keep-going", action="store_true", help="go on if the server no longer serves after a group")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def _options(arguments: Sequence[str]) -> Any:
    parser = attack_parser()
    options = parser.parse_args(arguments)
    if options.url is None and not options.list:
        parser.error("specify the --url of a server on this machine")
    for name in ("seconds", "mebibytes", "patience_ms"):
        if not 0 < getattr(options, name) < float("inf"):
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name):g}; it must be above 0")
    return options


async def _results(options: Any) -> list[GroupResult]:
    groups = chosen_groups(options.group)
    grpc = grpc_address(options.grpc) if options.grpc else None
    target = AttackTarget(http_address(options.url), grpc, options.model, options.pid)
    bounds = Bounds(options.seconds, options.mebibytes, options.patience_ms)
    results = []
    async for result in attack(target, groups, bounds, keep_going=options.keep_going):
        results.append(result)
        if sys.stderr.isatty():
            print(f"[{len(results)}/{len(groups)}] {result.group.name}: {result.state.value}", file=sys.stderr)
    if len(results) < len(groups):
        left = len(groups) - len(results)
        print(f"stopped with {left} groups left: the server no longer serves (see --keep-going)", file=sys.stderr)
    return results


def _report(results: Sequence[GroupResult]) -> str:
    lines = [for_reading(line) for line in (*failure_lines(results), summary(results))]
    return "\n".join([results_table(results, output_width()), *lines])
