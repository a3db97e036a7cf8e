"""Send every model a sample and print PASS or FAIL, the reason and what usually helps.

With a repository, its models are loaded in this process; with --url, the models of a running server are verified.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from slipway.cli.client_key import add_api_key, requested_key
from slipway.cli.output import for_reading, others_on_stderr, output_width
from slipway.cli.parser import CommandParser, add_header
from slipway.core.table import render_table
from slipway.errors import invalid
from slipway.verify.advice import Cause, Fault
from slipway.verify.local import model_directories, verify_repository
from slipway.verify.probe import Probe, Verdict

_DEFAULT_PORT: Final = 8001
_TIMEOUT_S: Final = 60.0


def run(arguments: Sequence[str]) -> int:
    """Verify and print; return 0 if every model passes, else 1."""
    options = _options(arguments)
    with others_on_stderr():
        verdicts = _verdicts(options)
    asked = options.model or [each.model for each in verdicts]
    missing = [name for name in asked if name not in {each.model for each in verdicts}]
    unknown = Fault(Cause.UNKNOWN_MODEL, "no model of this name is loaded on the server")
    verdicts += [Verdict(name, "-", reason=str(unknown), known=(unknown,)) for name in missing]
    if not verdicts:
        raise invalid("no models to verify: the repository is empty, or no model is loaded")
    print(_document(verdicts) if options.json else _report(verdicts))
    return 0 if all(each.passed for each in verdicts) else 1


def verify_parser() -> CommandParser:
    """Return the parser of the options."""
    parser = CommandParser(prog="slipway verify", description=__doc__)
    parser.add_argument("repository", metavar="REPOSITORY", type=Path, nargs="?", help="model repository to load")
    parser.add_argument(
        "--repo", metavar="REPOSITORY", type=Path, help="same as REPOSITORY; with --url, where to find warm-up files"
    )
    parser.add_argument(
        "--url",
        metavar="HOST:PORT",
        help="gRPC address of a running server; models that it failed to load count as failed "
        f"(default port: {_DEFAULT_PORT})",
    )
    parser.add_argument(
        "--model", metavar="NAME", action="append", default=[], help="verify only this model (repeatable, default: all)"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=_TIMEOUT_S,
        help=f"time limit for the response of a model (default: {_TIMEOUT_S:g})",
    )
    add_header(parser)
    add_api_key(parser)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def _options(arguments: Sequence[str]) -> Any:
    parser = verify_parser()
    options = parser.parse_args(arguments)
    if options.repository is not None and (options.repo is not None or options.url is not None):
        parser.error("REPOSITORY cannot be combined with --repo or --url; to read warm-up files for --url, use --repo")
    options.repo = options.repo or options.repository
    if options.repo is None and options.url is None:
        parser.error("specify a REPOSITORY, or the --url of a running server")
    for name in ("header", "api_key", "api_key_file"):
        if getattr(options, name) and options.url is None:
            parser.error(f"argument --{name.replace('_', '-')}: needs argument --url")
    if not 0 < options.timeout < float("inf"):
        parser.error(f"--timeout is {options.timeout:g}; it must be a number of seconds above 0")
    return options


def _verdicts(options: Any) -> list[Verdict]:
    if options.url is None:
        logging.getLogger("slipway").addHandler(logging.NullHandler())  # the verdicts already say what the log would
        return asyncio.run(verify_repository(options.repo, options.model, options.timeout))
    url = options.url.partition("://")[2] or options.url  # gRPC clients expect no scheme
    url = url.rstrip("/")
    url = url if ":" in url else f"{url}:{_DEFAULT_PORT}"
    directories = model_directories(options.repo) if options.repo else {}
    headers = requested_key(options)
    return Probe(url, timeout_s=options.timeout, directories=directories, headers=headers).run(options.model)


# Printing


def _report(verdicts: Sequence[Verdict]) -> str:
    headers = ("model", "version", "result", "ms", "answer")
    lines = [render_table(headers, [_row(each) for each in verdicts], output_width())]
    failed = [each for each in verdicts if not each.passed]
    lines.append(f"{len(verdicts) - len(failed)} passed, {len(failed)} failed")
    lines += [f"'{each.model}' version {each.version}: {_indented(each.reason)}" for each in failed]
    for advice in dict.fromkeys(each.advice for each in failed):
        names = ", ".join(f"'{each.model}'" for each in failed if each.advice == advice)
        lines.append(f"{names}: {advice}")
    return "\n".join([lines[0], *map(for_reading, lines[1:])])


def _row(verdict: Verdict) -> tuple[str, ...]:
    milliseconds = "-" if verdict.milliseconds is None else f"{verdict.milliseconds:.1f}"
    answer = verdict.answer or (() if verdict.passed else ("see below",))
    return verdict.model, verdict.version, "PASS" if verdict.passed else "FAIL", milliseconds, "\n".join(answer)


def _indented(reason: str) -> str:
    return "\n  ".join(reason.splitlines())


def _document(verdicts: Sequence[Verdict]) -> str:
    models = [
        {
            "model": each.model,
            "version": each.version,
            "passed": each.passed,
            "sent": each.sent,
            "milliseconds": None if each.milliseconds is None else round(each.milliseconds, 3),
            "answer": list(each.answer),
            "reason": each.reason,
            "advice": each.advice,
        }
        for each in verdicts
    ]
    return json.dumps({"passed": all(each.passed for each in verdicts), "models": models}, indent=2)
